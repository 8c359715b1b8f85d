"""Inputs before and after the perturbation that decides, as artifacts of a finding.

They come in pairs: of each example of `Shown.examples`, in that order, one of the kind `BEFORE` under the
class that it was in, and one of the kind `AFTER` under the class that it goes to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmbd.results.finding import Artifact
from mmbd.results.shown import Shown

if TYPE_CHECKING:  # reading and rendering a report needs no torch
    from torch import Tensor

BEFORE, AFTER = "input before", "input after"


def examples_of(before: Tensor, after: Tensor, classes: Sequence[tuple[int, int]]) -> tuple[Artifact, ...]:
    """The artifacts of examples: pairs of an input before and after.

    Args:
        before: (n, *shape) inputs, in the units of the model's.
        after: the same with the perturbation.
        classes: n pairs of the class before and after; `Shown.examples` are the same.
    """
    return tuple(
        Artifact(kind, label, tensor.detach().cpu().clone().contiguous())
        for old, new, labels in zip(before, after, classes, strict=True)
        for kind, label, tensor in ((BEFORE, labels[0], old), (AFTER, labels[1], new))
    )


def pairs_of(shown: Shown, artifacts: Sequence[Artifact]) -> list[tuple[Artifact, Artifact]]:
    """The inputs before and after of every example; none where some are missing or do not belong.

    A report may be read without its artifacts, and those that are not finite are never kept: pictures
    under the wrong class would be worse than none.
    """
    before, after = ([one for one in artifacts if one.kind == kind] for kind in (BEFORE, AFTER))
    named = [(one.label, other.label) for one, other in zip(before, after, strict=False)]
    if len(before) != len(after) or named != list(shown.examples):
        return []
    shapes = {one.tensor.shape for one in (*before, *after)}
    return list(zip(before, after, strict=True)) if len(shapes) == 1 else []
