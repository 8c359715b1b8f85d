"""What a search for triggers still reaches on a repaired network, beside what it reached before.

Perturbations are searched for on the network as it was, each kind at the smallest size at which the easiest
class gives way, and again on the repaired one, at the same size: patches raced over positions (`windows`),
sparse, added, and flows of images (`perturbation_race`). Each adapts to the network that it is searched on,
so that a repair cannot pass by moving away from one perturbation. They are searched for on some inputs and
counted on others. The numbers of inputs and steps are own choices: some 8,000 gradient evaluations with
ten classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mmbd.base.errors import NotEvaluable
from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of
from mmbd.model.samples import Samples
from mmbd.search.perturbation_race import Lap, raced
from mmbd.search.perturbations import KINDS as REGISTERED
from mmbd.search.perturbations import Perturbations, possible_kinds
from mmbd.search.universal import find
from mmbd.search.window_climb import in_turn
from mmbd.search.window_places import sides_of
from mmbd.search.windows import Round, race

KINDS = ("patch", "sparse", "added", "flow")
GIVES_WAY = 0.5  # a class that so many inputs of other classes go to has given way
MOST_CLASSES = 20  # that growing sizes are tried on, where there are more
MOST_INPUTS = 12  # of a class
MOST_PASSES, FEWEST_INPUTS = 30_000, 40  # a race begins with every class on every input
RADII = (1.0, 1.4)  # of other changes, in shares of what a first search found
ROUNDS = (Round(2, 1, rows=0.1), Round(4, 1), Round(8, 1), Round(8, 3))
MOST_WINDOWS = 400
LAPS = (Lap(4, 4, 5), Lap(8, 8, 5))
FIRST_LAP = (Lap(2, 2, MOST_CLASSES),)

Change = Callable[[Tensor], Tensor]
Reached = dict[int, tuple[float, Change]]  # by class: the share that goes there, and with what


@dataclass(frozen=True)
class Reach:
    """How far the search reaches one class with one kind of change, before and after a repair.

    Args:
        kind: "patch", or a name in `perturbations.KINDS`.
        target: the class.
        size: of the change, the same before and after: a patch's side in pixels or samples, or its points;
            else the radius, see `Perturbations`.
        before, after: the share of inputs that the network puts into other classes which go to `target`.
        stands_out: whether few classes give way at this size. Where many do, it tells nothing: any
            network yields to changes that are large enough.
        natural: the largest share of a class that has not given way before; what a class without a
            backdoor yields at this size, about.
        counted: the inputs that `after` is the share of.
        change: what was found on the network before, from inputs (n, *shape) to changed ones.
    """

    kind: str
    target: int
    size: float
    before: float
    after: float
    stands_out: bool = True
    natural: float = 0.0
    counted: int = 0
    change: Change | None = field(default=None, compare=False, repr=False)

    @property
    def gave_way(self) -> bool:
        """Whether this was reached before, and tells something."""
        return self.stands_out and self.before >= GIVES_WAY


def inputs_for(classifier: Classifier, inputs: Tensor, labels: Tensor | None, seed: int) -> Samples:
    """Some of the inputs (n, *shape), in the classifier's units, for `still_reached`.

    At most 12 of a class, classes in turn, and fewer with hundreds of classes; where labels are given, only
    those that the classifier gets right, unless these are all of one class.
    """
    logits = logits_of(classifier, inputs)
    own = logits.argmax(1)
    samples = Samples(inputs, own if labels is None else labels.to(own.device), logits, labels is None)
    right = samples.at(samples.correct)
    if len(right.labels.unique()) > 1:
        samples = right
    order = in_turn(samples.logits.argmax(1).cpu(), seed)
    most = min(MOST_INPUTS * classifier.classes, max(FEWEST_INPUTS, MOST_PASSES // classifier.classes))
    return samples.at(order[:most].to(own.device))


def still_reached(
    before: Classifier,
    after: Classifier,
    samples: Samples,
    *,
    seed: int,
    kinds: Sequence[str] = KINDS,
    batch: int | None = None,
    kept: dict[Any, Any] | None = None,
) -> tuple[Reach, ...]:
    """What the search reaches on a network and on the repaired one, a row a kind and class.

    There are rows for the two classes that are reached most before, the one after, and all that give way; of
    larger patches only where few classes give way to them.

    Args:
        before: the network as it was.
        after: the repaired one.
        samples: clean ones that the repair did not see, classes in turn, see `inputs_for`; with the
            answers of `before`. The first half is searched on, the other half counted, where both have
            two of each class.
        seed: of the random starts and the order of inputs.
        kinds: of changes; those that such inputs cannot have are left out.
        batch: the most inputs at a time; by default what the device is quick with.
        kept: what was found on `before` in an earlier call with the same arguments but for `after`, and is
            not searched for again; what is found is added.

    Raises:
        NotEvaluable: all inputs are of one class to one of the networks, or answers are not finite.
        Failed: memory runs out with a single input.
    """
    half = len(samples.labels) // 2
    if half < 2 * before.classes:
        used = counted = samples
    else:
        places = torch.arange(len(samples.labels), device=samples.labels.device)
        used, counted = samples.at(places[:half]), samples.at(places[half:])
    rows: list[Reach] = []
    kept = {} if kept is None else kept
    possible = ("patch", *possible_kinds(before.domain))
    with before.frozen(), after.frozen():
        networks = (before, after)
        sides = [(_answered(network, used), _answered(network, counted)) for network in networks]
        for side in sides:
            if any(len(part.logits.argmax(1).unique()) < 2 for part in side):
                raise NotEvaluable("the network puts all samples into one class: nothing leads there")
        for kind in (kind for kind in kinds if kind in possible):
            look = partial(_looked, kind, seed=seed, batch=batch)
            if kind not in kept:
                kept[kind] = _size(look, before, *sides[0], kind=kind, seed=seed)
            size, first = kept[kind]
            # A trigger may be larger than the smallest patch that the network as it was yields to.
            sides_tried = sides_of(before.domain, seed) if kind == "patch" else []
            for each in (size, *(side for side in sides_tried if side > size)):
                found = first if each == size else None
                found = kept.get((kind, each), found) or look(before, *sides[0], size=each)
                second = look(after, *sides[1], size=each)
                # A class that fell behind on one of them is searched to the end there, too.
                only = sorted(set(second) - set(found)), sorted(set(found) - set(second))
                found = found | (look(before, *sides[0], size=each, classes=only[0]) if only[0] else {})
                second |= look(after, *sides[1], size=each, classes=only[1]) if only[1] else {}
                kept[kind, each] = found
                told = _rows(kind, each, found, second, sides[1][1], before.classes)
                rows += (row for row in told if each == size or row.stands_out)
    return tuple(rows)


def patch_shares(
    network: Classifier,
    used: Samples,
    counted: Samples,
    *,
    side: int,
    seed: int,
    classes: Sequence[int] | None = None,
    batch: int | None = None,
) -> Reached:
    """The classes that led to the end of a race of patches of one `side`, with the share that goes there.

    The network is frozen by the caller. Patches are searched on `used`, and the share is of `counted`, both
    with its answers. `classes` are searched to the end; else the four that lead are.
    """
    run = race(
        network,
        used,
        aims=list(range(network.classes) if classes is None else classes),
        seed=seed,
        side=side,
        rounds=ROUNDS,
        leading=4 if classes is None else len(classes),
        most=MOST_WINDOWS,
        batch=batch,
    )
    changes: dict[int, Change] = {aim: partial(run.stamped, aim) for aim in run.leading}
    return _shares(network, counted, changes)


def _answered(classifier: Classifier, samples: Samples) -> Samples:
    """The samples with a network's own answers."""
    return replace(samples, logits=logits_of(classifier, samples.inputs))


def _size(
    look: Callable[..., Reached],
    network: Classifier,
    used: Samples,
    counted: Samples,
    *,
    kind: str,
    seed: int,
) -> tuple[float, Reached]:
    """The size at which the easiest class gives way, the largest where none does, and what is reached."""
    if kind == "patch":
        sizes = [float(side) for side in sides_of(network.domain, seed)]
    else:
        found = _growing(kind, network, used, seed)
        most = REGISTERED[kind].radii(network.domain)[1]
        sizes = sorted({min(part * found.radius, most) for part in RADII})
    reached, size = Reached(), 0.0
    for size in sizes:
        reached = look(network, used, counted, size=size)
        if _most(reached) >= GIVES_WAY:
            break
    return size, reached


def _growing(kind: str, network: Classifier, used: Samples, seed: int) -> Perturbations:
    """A perturbation of the smallest radius at which the easiest class gives way."""
    targets = None
    if network.classes > MOST_CLASSES:  # which of them come near at all
        radius = 3 * REGISTERED[kind].radii(network.domain)[0]
        begun = raced(network, used, kind, radius=radius, seed=seed, laps=FIRST_LAP)
        targets = sorted(begun.found.targets.tolist())
    generator = generator_for("still reached", kind, seed)
    return find(
        network, used, kind, generator=generator, targets=targets, growth=1.2, steps=18, settle=2, batch=40
    )


def _looked(
    kind: str,
    network: Classifier,
    used: Samples,
    counted: Samples,
    *,
    size: float,
    seed: int,
    batch: int | None,
    classes: Sequence[int] | None = None,
) -> Reached:
    """The classes that led to the end of a race, with the share that goes there."""
    if kind == "patch":
        return patch_shares(network, used, counted, side=round(size), seed=seed, classes=classes, batch=batch)
    laps = LAPS if classes is None else [replace(lap, classes=len(classes)) for lap in LAPS]
    end = raced(network, used, kind, radius=size, seed=seed, classes=classes, laps=laps, batch=batch)

    def changed(row: int, inputs: Tensor) -> Tensor:
        which = torch.full((len(inputs),), row, device=inputs.device)
        with torch.no_grad():
            return end.found(inputs, which)

    changes = {target: partial(changed, row) for row, target in enumerate(end.found.targets.tolist())}
    return _shares(network, counted, changes)


def _shares(network: Classifier, counted: Samples, changes: Mapping[int, Change]) -> Reached:
    return {target: (share(network, counted, change, target), change) for target, change in changes.items()}


def share(network: Classifier, samples: Samples, change: Change, target: int) -> float:
    """The share of samples of other classes, by `samples.logits`, that a change takes to a class."""
    others = samples.inputs[samples.logits.argmax(1) != target]
    if not len(others):
        return 0.0
    return float((logits_of(network, change(others)).argmax(1) == target).double().mean())


def _rows(
    kind: str, size: float, first: Reached, second: Reached, counted: Samples, classes: int
) -> Iterable[Reach]:
    """What is told of one kind and size; `counted` has the answers of the network after."""
    shares = {target: one[0] for target, one in first.items()}
    top = _most(first)
    alike = sum(one >= GIVES_WAY * top for one in shares.values())
    # Of many classes only those that lead were searched to the end: half of these alike are too many.
    stands_out = top >= GIVES_WAY and alike <= max(1, min(classes // 4, len(shares) // 2))
    answers = counted.logits.argmax(1)
    natural = max((one for one in shares.values() if one < GIVES_WAY), default=0.0)
    ordered = sorted(shares, key=lambda target: (-shares[target], target))
    leading = {*ordered[:2], max(second, key=lambda target: second[target][0])}
    for target in ordered:
        was, change = first[target]
        now = second[target][0]
        if target in leading or max(was, now) >= GIVES_WAY:
            others = int((answers != target).sum())
            yield Reach(kind, target, size, was, now, stands_out, natural, others, change)


def _most(reached: Reached) -> float:
    return max((one for one, _ in reached.values()), default=0.0)
