"""What the searches under one seed found, and which of it counts."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import torch

from mmbd.model import logits
from mmbd.null import Marked, Measured
from mmbd.null.combined import AWAY, FLOW, GAIN, HEAD, WINDOW
from mmbd.null.null import UNSEARCHED
from mmbd.null.settings import gains_key, margins_key, marks_key
from mmbd.null.with_samples import search_key
from mmbd.search.harder import Reached
from mmbd.search.marks import Marks, in_pairs, shares_to
from mmbd.search.marks_on_samples import OnSamples
from mmbd.search.maximum_margins import MaximumMargins, Method
from mmbd.search.recheck import Recheck
from mmbd.search.universal_data_free import UniversalGains, together


@dataclass(frozen=True)
class Searched:
    """What one seed found.

    Attributes:
        method: of the search that was asked for, "fast" or "paper".
        margins: the search for maximum margins that was asked for; its inputs and statistics are
            those of classes that had to be searched harder, too.
        reached: what came of those.
        recheck: the network's answers at the maximising inputs.
        default: the search that the shipped tables were made with, where `margins` is another.
        universal: the universal perturbations; None where they were not searched for.
        raced: the classes that were searched to the end after a quick look at all; None where all were.
        left_out: what there was no time for; None where nothing was left out.
        unsearched_gains: whether that is the universal perturbations alone.
        marks: windows and universal perturbations; None where they were not searched for.
        without_marks: why not, then.
        on_samples: windows and flows on clean samples; None where there were none, or they did not do.
        without_samples: why they did not do, in a sentence without its full stop; None where they did, or
            there were none.
        head: the share of random inputs of the last linear layer that each class wins, (classes,); None
            where that says nothing.
        guided: whether a copy of the network in bfloat16 led the searches; numbers are in float32.
        unguided: why it did not though it was asked for, in a sentence without its full stop.
    """

    method: Method
    margins: MaximumMargins
    reached: Reached
    recheck: Recheck
    default: Searched | None = None
    universal: UniversalGains | None = None
    raced: tuple[int, ...] | None = None
    left_out: str | None = None
    unsearched_gains: bool = False
    marks: Marks | None = None
    without_marks: str = UNSEARCHED
    on_samples: OnSamples | None = None
    without_samples: str | None = None
    head: tuple[float | None, ...] | None = None
    guided: bool = False
    unguided: str | None = None

    @property
    def statistics(self) -> dict[int, float]:
        """The maximum margins that count, by class."""
        return {
            label: value
            for label, value in enumerate(self.margins.statistics.tolist())
            if self.margins.valid[label] and math.isfinite(value) and label not in self.reached.fixed
        }

    @property
    def measured(self) -> Measured:
        """The maximum margins that count, and their settings."""
        return Measured(self.statistics, margins_key(self.method, asdict(self.margins.ascent)))

    @property
    def default_measured(self) -> Measured | None:
        """The margins that shipped tables compare with, where they are of a search of their own."""
        if self.default is None:
            return None
        return self.default.measured

    @property
    def gains(self) -> Measured | None:
        """The universal-perturbation gains that count; None where nothing was searched for."""
        if self.universal is None:
            return None
        found, fixed = self.universal, set(self.reached.fixed)
        kept = [label for label in range(len(found.added)) if label not in fixed]
        index = torch.tensor(kept, dtype=torch.int64)
        values = together(found.added[index], found.sparse[index]).tolist()
        by_class = {label: gain for label, gain in zip(kept, values, strict=True) if math.isfinite(gain)}
        return Measured(by_class, gains_key(asdict(found.search)))

    @property
    def comparable_gains(self) -> Measured | None:
        """The gains of the classes that the usual starts reach.

        The search for universal perturbations does not reach the others either, so that their gains
        would say nothing, and their margins times those less than the margins.
        """
        gains = self.gains
        if gains is None:
            return None
        hard = self.reached.statistics
        kept = {label: gain for label, gain in gains.by_class.items() if label not in hard}
        return replace(gains, by_class=kept)

    @cached_property
    def marked(self) -> Marked | None:
        """The marks that count, by class; None where they were not searched for.

        Classes that only unusual starts reach have none to speak of, as with gains.
        """
        found = self.marks
        if found is None:
            return None
        out = set(self.reached.fixed) | set(self.reached.statistics)
        kept = [label for label in range(len(self.margins.valid)) if label not in out]
        went = found.went
        by_mark = {
            GAIN: found.lifts.tolist(),
            WINDOW: found.window_lifts(len(self.margins.valid)).tolist(),
            AWAY: shares_to(went).tolist(),
        }
        if found.flow is not None:
            by_mark[FLOW] = found.flow.shares.tolist()
        if self.head is not None:
            by_mark[HEAD] = [share or 0.0 for share in self.head]
        pairs, share = in_pairs(went)
        return Marked(
            {mark: {label: values[label] for label in kept} for mark, values in by_mark.items()},
            share,
            pairs,
            marks_key(found.search),
        )

    @cached_property
    def marked_on_samples(self) -> Marked | None:
        """The marks on clean samples that count, by class; None without samples."""
        found, marked = self.on_samples, self.marked
        if found is None or marked is None:
            return None
        went = found.went
        by_mark = {
            WINDOW: found.window_lifts(len(self.margins.valid)).tolist(),
            AWAY: shares_to(went).tolist(),
        }
        if found.flow is not None:
            by_mark[FLOW] = found.flow.shares.tolist()
        pairs, share = in_pairs(went)
        kept = list(marked.by_mark[GAIN])
        return Marked(
            {mark: {label: values[label] for label in kept} for mark, values in by_mark.items()},
            share,
            pairs,
            search_key(found.search),
        )

    @property
    def unsearched(self) -> tuple[int, ...]:
        """Classes that could be a target, for all that was seen."""
        return self.reached.unsearched

    @property
    def no_verdict(self) -> str | None:
        """Why nothing can be said of this network, whatever the statistics are."""
        if self.recheck.drowned is not None:
            return self.recheck.drowned
        looked_at = self.recheck
        stop = logits.seem_bounded(looked_at.logits, looked_at.labels) if len(looked_at.logits) else None
        if stop is None:
            return None
        return (
            f"{stop}, so they are bounded (probabilities, squashed or clipped) and not logits: "
            "leave out what bounds them at the network's end"
        )
