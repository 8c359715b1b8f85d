"""Whether two files hold the same classifier: the same logits on random inputs and where each is surest.

Is the ONNX file that runs the checkpoint that was scanned? Two networks that agree on ordinary inputs may
differ where a backdoor lives. So they are compared on random inputs, and on those that gradient ascent finds
for the largest margin of every class, of the one and of the other (MM-BD, section IV).
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.base.seeds import generator_for
from mmbd.base.text import clean_text
from mmbd.model.domain import smooth

if TYPE_CHECKING:
    from mmbd.formats.loaded import Loaded
    from mmbd.formats.options import LoadOptions
    from mmbd.model.classifier import Classifier

RANDOM = 32
MOST_CLASSES = 50
HEAD = 1 << 20
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Difference:
    """How far two classifiers' logits are apart on inputs of one kind.

    Args:
        inputs: which inputs: "random", "surest for A" or "surest for B".
        count: how many.
        largest: the largest absolute difference of a logit.
        relative: that, divided by how far the logits of either range there, the wider one.
        same_class: the share of inputs that both put into one class.
    """

    inputs: str
    count: int
    largest: float
    relative: float
    same_class: float


@dataclass(frozen=True)
class Comparison:
    """Two classifiers compared; `apart` says why they cannot be the same, where the first look tells."""

    differences: tuple[Difference, ...]
    tolerance: float
    apart: str | None = None

    @property
    def same(self) -> bool:
        """Whether every difference is within the tolerance; one that is no number never is."""
        return self.apart is None and all(each.relative <= self.tolerance for each in self.differences)


def load_each(path: Path, options: LoadOptions) -> Loaded:
    """One of the files; what the user says of a network is not for files that describe theirs.

    Raises:
        Failed, Refused, NotEvaluable: as `mmbd.load`.
    """
    from mmbd.formats.identify import identify
    from mmbd.formats.loading import load_file
    from mmbd.formats.table import FORMATS

    described = False
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            row = FORMATS.get(identify(reading.start(path, HEAD), status.st_size))
            described = row is not None and row.build is not None
    except (Failed, OSError, ValueError):
        pass  # loading says it better
    return load_file(path, replace(options, arch=None, arch_args={}, entry=None) if described else options)


def compare(one: Classifier, other: Classifier, *, tolerance: float = TOLERANCE, seed: int = 0) -> Comparison:
    """Compare two classifiers on the same inputs, 32 random ones and the surest of up to 50 classes of each.

    Args:
        one: inputs are drawn from its domain.
        other: on the same domain.
        tolerance: of the relative difference of logits.
        seed: of the random inputs and the starts of the searches.

    Raises:
        Failed: inputs of other shapes or ranges, so that nothing can be compared.
        NotEvaluable: no gradient reaches the inputs of either.
    """
    if one.domain.shape != other.domain.shape or one.domain.bounds != other.domain.bounds:
        raise Failed(
            f"A takes inputs {one.domain!r}, B {other.domain!r}: give --input and --bounds, so that both get "
            "the same"
        )
    if one.classes != other.classes:
        return Comparison((), tolerance, f"A has {one.classes} classes, B {other.classes}")
    drawn = [generator_for("compare", seed, number) for number in range(RANDOM)]
    random = torch.stack(
        [
            smooth(one.domain, each) if number % 2 else one.domain.sample(each)
            for number, each in enumerate(drawn)
        ]
    )
    kinds = {"random": random, "surest for A": _surest(one, seed), "surest for B": _surest(other, seed)}
    return Comparison(tuple(_difference(one, other, *each) for each in kinds.items()), tolerance)


def _surest(classifier: Classifier, seed: int) -> Tensor:
    """The inputs of largest margin that were found, of classes spread over all of them."""
    from mmbd.search.maximum_margins import maximum_margins

    step = -(-classifier.classes // MOST_CLASSES)
    found = maximum_margins(classifier, seed=seed, restarts=1, classes=range(0, classifier.classes, step))
    return torch.stack(list(found.inputs.values()))


def _difference(one: Classifier, other: Classifier, kind: str, inputs: Tensor) -> Difference:
    apart = 0.0
    pair: list[Tensor] = []
    # Together and one by one: a network may answer otherwise when it is asked for one input.
    for size in (16, 1):
        with torch.no_grad(), one.frozen(), other.frozen():
            pair = [torch.cat([each(part).cpu() for part in inputs.split(size)]) for each in (one, other)]
        now = float((pair[0] - pair[1]).abs().max())
        apart = now if not now <= apart else apart  # NaN stays
    scale = max(1e-30, *(float(logits.max() - logits.min()) for logits in pair))
    agree = float((pair[0].argmax(1) == pair[1].argmax(1)).float().mean())
    return Difference(kind, len(inputs), apart, apart / scale, agree)


def words(found: Comparison) -> list[str]:
    """What was found, a line for each kind of inputs."""
    if found.apart is not None:
        return [clean_text(found.apart, 200)]
    return [
        f"{each.inputs}: {each.count} inputs, logits at most {each.largest:.3g} apart "
        f"({each.relative:.2g} of their range), {100 * each.same_class:.0f} % in the same class"
        for each in found.differences
    ]
