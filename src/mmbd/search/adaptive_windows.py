"""Windows that keep taking inputs to some classes while a network is being repaired.

What `universal.AdaptivePerturbations` is for changes of whole inputs, for local ones: a window for each of
the classes that give way most is found by a race over positions, climbs by sign steps at every step of the
repair, and is raced anew, on the network as it has become by then, every so many steps, so that a repair
cannot pass by closing one position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of
from mmbd.model.samples import Samples
from mmbd.search.pool import margins
from mmbd.search.still_reached import MOST_WINDOWS, ROUNDS, share
from mmbd.search.window_climb import in_turn
from mmbd.search.window_places import Windows, sides_of
from mmbd.search.windows import race

MOST_INPUTS = 60  # that a race is run on
STRIDE = 0.25  # of a sign step, in halves of the range of values


@dataclass
class _Window:
    """A window on its way."""

    windows: Windows
    place: int
    target: int
    values: Tensor  # (channels, size)

    def stamped(self, inputs: Tensor, values: Tensor | None = None) -> Tensor:
        values = self.values if values is None else values
        which = torch.full((len(inputs),), self.place, device=inputs.device)
        return self.windows.stamped(inputs, which, values.expand(len(inputs), -1, -1))


class AdaptiveWindows:
    """Windows that adapt to a network, to the classes that yielded most to them before a repair.

    Args:
        classifier, samples: the network as it was, frozen, and clean samples.
        seed: of the order of inputs.
        sides: of the windows, in pixels or samples (clouds: points); by default those that `still_reached`
            tries. One is raced after the other.
        targets: the classes; by default those that at least half as many samples go to as to the easiest.
        again: steps between two races.

    Attributes:
        targets: by side, the classes.

    Raises:
        NotEvaluable: all samples are of one class, or no gradient reaches the inputs.
    """

    kind = "patch"

    def __init__(
        self,
        classifier: Classifier,
        samples: Samples,
        *,
        seed: int,
        sides: Sequence[int] | None = None,
        targets: Sequence[int] | None = None,
        again: int = 25,
    ) -> None:
        chosen = in_turn(samples.logits.argmax(1).cpu(), seed)[:MOST_INPUTS]
        self.samples = samples.at(chosen.to(samples.labels.device))
        self.seed, self.again, self.steps = seed, again, 0
        tried = sides_of(classifier.domain, seed) if sides is None else list(sides)
        self.found = {side: self._raced(classifier, side, targets) for side in tried}
        self.targets = {side: [row.target for row in rows] for side, rows in self.found.items()}
        self.adapted = {
            side: [replace(row, values=row.values.clone()) for row in rows]
            for side, rows in self.found.items()
        }
        self.turns = cycle(tried)

    def perturbed(self, network: Classifier, inputs: Tensor) -> list[Tensor]:
        """`inputs` (n, *shape) with windows that have taken a step against `network`; they take turns."""
        self.steps += 1
        if self.steps % self.again == 0:
            side = next(self.turns)
            self.adapted[side] = self._raced(network, side, self.targets[side])
        rows = [row for some in self.adapted.values() for row in some]
        which = torch.arange(len(inputs), device=inputs.device) % len(rows)
        parts = [(which == number).nonzero().flatten() for number in range(len(rows))]
        order = torch.cat(parts).argsort()
        free = [row.values.detach().requires_grad_() for row in rows]
        moved = [
            row.stamped(inputs[part], values) for row, part, values in zip(rows, parts, free, strict=True)
        ]
        aims = torch.cat([torch.full_like(part, row.target) for row, part in zip(rows, parts, strict=True)])
        logits = network(torch.cat(moved).contiguous())
        gains = -F.softplus(-margins(logits, aims)).sum()
        for row, slope in zip(rows, torch.autograd.grad(gains, free), strict=True):
            low, high = row.windows.low[row.place], row.windows.high[row.place]
            step = STRIDE * (high - low) / 2 * slope.sign()
            row.values = (row.values + step).maximum(low).minimum(high)
        stamped = [row.stamped(inputs[part]) for row, part in zip(rows, parts, strict=True)]
        return [torch.cat(stamped)[order].detach()]

    def outcome(self, before: Classifier, after: Classifier, samples: Samples) -> list[dict[str, Any]]:
        """What the windows achieved on `before`, and what those raced anew do on `after`, as rows."""
        rows: list[dict[str, Any]] = []
        for side, found in self.found.items():
            ended = {row.target: row for row in self._raced(after, side, self.targets[side])}
            for row in found:
                was, now = (
                    share(network, samples, one.stamped, row.target)
                    for network, one in ((before, row), (after, ended[row.target]))
                )
                rows.append(
                    {"kind": self.kind, "target": row.target, "radius": side, "before": was, "after": now}
                )
        return rows

    def _raced(self, network: Classifier, side: int, targets: Sequence[int] | None) -> list[_Window]:
        """The best window for each of the classes, or for those that lead."""
        samples = replace(self.samples, logits=logits_of(network, self.samples.inputs))
        with torch.enable_grad():
            run = race(
                network,
                samples,
                aims=list(range(network.classes) if targets is None else targets),
                seed=self.seed,
                side=side,
                rounds=ROUNDS,
                leading=4 if targets is None else len(targets),
                most=MOST_WINDOWS,
            )
        rows = [_Window(run.windows, run.found[aim].place, aim, run.found[aim].values) for aim in run.leading]
        if targets is not None:
            return rows
        shares = [share(network, samples, row.stamped, row.target) for row in rows]
        return [row for row, one in zip(rows, shares, strict=True) if one >= 0.5 * max(shares)]
