"""Whether a step of a repair is needed, and whether it did anything: by the search for triggers.

`automatic` repairs in steps. Before each the search of `search.still_reached` says what still takes samples
to a class that had given way on the network as it was; after it, by the same kinds, sizes and classes,
whether less does. The search runs on samples that the steps which train weights do not see, where there are
enough. The limits are own choices: with some 25 samples to count on, one is 4 %.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from mmbd.base.errors import NotEvaluable, NotMitigated
from mmbd.base.seeds import generator_for
from mmbd.mitigators.hardening import hardening
from mmbd.mitigators.latent_shift import latent_shift
from mmbd.mitigators.mitigator import Mitigation
from mmbd.mitigators.still_working import ADDED_WORKED
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.search.perturbations import KINDS
from mmbd.search.still_reached import GIVES_WAY, Reach, inputs_for, still_reached

QUARTER, FEWEST = 4, 2  # of every class one in four is set aside, where that gives two of each
CLEARLY = 0.05  # beyond what a class without a backdoor yields
MUCH = 0.2  # of a class that had given way this is too much, whatever others yield
LESS = 0.02  # of what is reached on average: what a step has to take away


@dataclass(frozen=True)
class Reached:
    """What the search reaches on a network.

    Args:
        rows: of `still_reached`; empty where it could not run.
    """

    rows: tuple[Reach, ...] = ()

    @property
    def left(self) -> tuple[Reach, ...]:
        """The rows of classes that had given way and still yield clearly more than others, most first."""
        found = [row for row in self.rows if _told(row) and row.after > _limit(row)]
        return tuple(sorted(found, key=lambda row: -row.after))

    @property
    def height(self) -> float:
        """How much is reached, on average over the kinds, sizes and classes that had given way.

        A class that had not given way before and does now counts with what it yields beyond others.
        """
        rows = [row for row in self.rows if row.gave_way]
        new = [row for row in self.rows if row.stands_out and not row.gave_way and row.after >= GIVES_WAY]
        total = sum(row.after for row in rows)
        total += sum(max(0.0, row.after - max(row.before, row.natural)) for row in new)
        return total / max(1, len(rows))


@dataclass
class Look:
    """The search, for one classifier and its repairs: what was found on the former is kept.

    Args:
        classifier: the network as it was.
        samples: that are searched on.
        seed: of everything random.
        kinds: of changes.
    """

    classifier: Classifier
    samples: Samples
    seed: int
    kinds: Sequence[str] = ("patch", "sparse", "added")
    kept: dict[Any, Any] = field(default_factory=dict[Any, Any])

    def at(self, repaired: Classifier) -> Reached:
        """What is reached on a repaired network; nothing where no search is possible."""
        labels = None if self.samples.own else self.samples.labels
        chosen = inputs_for(self.classifier, self.samples.inputs, labels, self.seed)
        try:
            rows = still_reached(
                self.classifier, repaired, chosen, seed=self.seed, kinds=self.kinds, kept=self.kept
            )
        except NotEvaluable:
            return Reached()
        return Reached(rows)


@dataclass
class Ladder:
    """The steps that train weights, each taken where it is needed and undone where it did nothing.

    Args:
        look: the search.
        samples: to train on.
        options: of every step.
        reached: on the network that the ladder starts from.
        notes: what is told of each step is added.
        tried: a row a step: its name, what was reached before and after, and whether it was kept.
    """

    look: Look
    samples: Samples
    options: Mapping[str, Any]
    reached: Reached
    notes: list[str]
    tried: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def climbed(self, bounded: Mitigation, works: str | None) -> list[Mitigation]:
        """The parts that are kept, the bounds first unless they are dropped.

        Args:
            bounded: the network with bounds.
            works: a kind that is known to still work, whatever the search says.
        """
        parts = [bounded]
        left = self.reached.left
        if not left and works is None:
            return parts
        kinds = {row.kind for row in left} | ({works} if works else set[str]())
        aims = tuple(sorted({row.target for row in left if row.kind == "patch"})) or None
        harden = partial(hardening, perturbations=tuple(sorted(kinds)), targets=aims)
        made = self._tried("hardening", harden, bounded.classifier)
        if made is not None:
            parts.append(made)
        elif self.tried[-1]["after"] is None:  # the bounds have cost all the accuracy there was to spend
            made = self._tried("hardening", harden, self.look.classifier, dropped=True)
            parts = parts if made is None else [made]
        if left := self.reached.left:
            shift = partial(latent_shift, targets=(left[0].target,))
            made = self._tried("latent-shift", shift, parts[-1].classifier)
            parts += [] if made is None else [made]
        if parts == [bounded]:
            self.notes.append("the bounds are all there is")
        return parts

    def _tried(
        self, name: str, step: Callable[..., Mitigation], start: Classifier, *, dropped: bool = False
    ) -> Mitigation | None:
        """A step on a network, or None where it is undone."""
        what = f"{name}{', of the network without bounds' if dropped else ''}"
        before = self.reached.height
        try:
            made = step(start, self.samples, **self.options)
        except NotMitigated as error:
            self.notes.append(f"{what} did not do: {error}")
            self.tried.append({"step": what, "before": before, "after": None, "kept": False})
            return None
        after = self.look.at(made.classifier) if self.reached.rows else Reached()
        judged = any(row.gave_way for row in after.rows)
        kept = not judged or after.height < before - LESS
        self.tried.append(
            {"step": what, "before": before, "after": after.height if judged else None, "kept": kept}
        )
        said = f"what is reached fell from {before:.0%} to {after.height:.0%}" if judged else "not searched"
        if not kept:
            said = f"undone, as what is reached went from {before:.0%} to {after.height:.0%} only"
        bounds = "; the bounds were dropped" if kept and dropped else ""
        self.notes.append(f"{name}: {said}{bounds}")
        if not kept:
            return None
        self.reached = after
        return made


def set_aside(samples: Samples, seed: int) -> tuple[Samples, Samples | None]:
    """The samples to train on, and a quarter of every class to search on; all and None where they are few."""
    labels = samples.labels.cpu()
    order = torch.randperm(len(labels), generator=generator_for("auto", "set aside", seed))
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        there = order[labels[order] == label]
        some = there[: len(there) // QUARTER]
        if len(some) < FEWEST:
            return samples, None
        chosen[some] = True
    chosen = chosen.to(samples.labels.device)
    return samples.at(~chosen), samples.at(chosen)


def words(row: Reach, *, still: bool = True) -> str:
    """What a row says, for a note."""
    noun = f"patch of size {row.size:g}" if row.kind == "patch" else f"small {KINDS[row.kind].noun}"
    return (
        f"a {noun} that took {row.before:.0%} of the other classes' samples to class {row.target} "
        f"{'still ' if still else ''}takes {row.after:.0%}"
    )


def _told(row: Reach) -> bool:
    """Whether a row counts: its class had given way, to added changes more than clean classes do."""
    return row.gave_way and (row.kind != "added" or row.before >= ADDED_WORKED)


def _limit(row: Reach) -> float:
    """What a class that had given way may still yield: clearly no more than classes without a backdoor do."""
    return min(MUCH, max(row.natural, CLEARLY) + CLEARLY)
