"""The change that is drawn first: of all that were found, the one that takes most inputs to the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmbd.detectors.shown import Seen, shown, window
from mmbd.model.samples import Samples
from mmbd.search.marks import Marks, paired
from mmbd.search.marks_on_samples import OnSamples
from mmbd.search.perturbation_race import Raced
from mmbd.search.windows import AWAY

FEWEST = 3  # inputs of a source class that is named
# Of two changes that do as much, the one that is easier to see.
KINDS = ("window", "flow")


def drawn(
    marks: Marks | OnSamples, targets: Sequence[int], top: int, *, in_pairs: bool = False, flow: bool = False
) -> Seen | None:
    """What the strongest change does; None where none of them moves an input.

    Args:
        marks: what was found.
        targets: of the decision.
        top: the class with the largest evidence.
        in_pairs: whether the decision is about pairs of classes: what one window does to each is drawn.
        flow: whether the flow is what decides: it is drawn then, if there is one to the class.
    """
    if in_pairs:
        return window(marks.away, AWAY, paired(marks.went)[0])
    goes = targets[0] if targets else top
    flows = [] if marks.flow is None else _flow(marks.flow, goes)
    if flow and flows and flows[0][0].moved:
        return flows[0]
    choices = [window(marks.away, AWAY, goes)]
    if goes in marks.to.leading:
        choices.append(window(marks.to, goes, goes))
    best = max([*choices, *flows], key=lambda seen: (_share(seen), -KINDS.index(seen[0].kind)))
    return best if best[0].moved else None


def sources(marks: Marks | OnSamples, target: int, least: float = 3.0) -> Mapping[int, float]:
    """The share of each class's inputs that the window to the target takes there, where one stands out.

    Only classes of which there are three inputs or more are looked at, which takes clean samples. Empty
    unless the window takes the inputs of one class, or of few, there `least` times as often as those
    of the others together.
    """
    if target not in marks.to.leading:
        return {}
    logits, labels = marks.to.found[target].logits, marks.to.samples.labels
    assert logits is not None
    moved = logits.argmax(1) == target
    shares = {
        int(label): float(moved[labels == label].double().mean())
        for label in labels.unique()
        if int(label) != target and int((labels == label).sum()) >= FEWEST
    }
    taken = {label: share for label, share in shares.items() if share > 0.5}
    rest = [share for label, share in shares.items() if label not in taken]
    if not taken or not rest or len(taken) > len(shares) / 3:
        return {}
    return taken if min(taken.values()) >= least * max(sum(rest) / len(rest), 0.05) else {}


def _flow(found: Raced, goes: int) -> list[Seen]:
    rows = (found.found.targets == goes).nonzero()[:, 0]
    if not len(rows):
        return []
    one, row = found.found.only(rows), int(rows[0])
    samples: Samples = found.samples

    def changed(inputs: Tensor) -> Tensor:
        return one(inputs, torch.zeros(len(inputs), dtype=torch.long, device=inputs.device)).detach()

    return [shown("flow", samples, found.logits[row], changed, goes)]


def _share(seen: Seen) -> float:
    return seen[0].moved / max(seen[0].tried, 1)
