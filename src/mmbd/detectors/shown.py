"""What a reader is shown first: a change that was found, what it does to the inputs, and some of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mmbd.model.samples import Samples
from mmbd.results.examples import examples_of
from mmbd.results.finding import Artifact
from mmbd.results.shown import Shown, ShownKind
from mmbd.search.windows import Race

EXAMPLES = 3

Seen = tuple[Shown, tuple[Artifact, ...]]


def shown(
    kind: ShownKind,
    samples: Samples,
    logits: Tensor,
    changed: Callable[[Tensor], Tensor],
    goes: Mapping[int, int] | int,
    *,
    places: int | None = None,
    where: str | None = None,
) -> Seen:
    """What a change does, and some inputs with it, those first that it moves.

    Args:
        kind: of change.
        samples: the inputs (n, *shape) without it, with the classifier's answers.
        logits: (n, classes) with it.
        changed: inputs (m, *shape) with it.
        goes: the class that inputs go to, or the class by their own one.
        places: how many of an input's places it changes; None for all.
        where: where they are, in words.
    """
    labels, tops = samples.logits.argmax(1), logits.argmax(1)
    wanted = torch.full_like(labels, -1)
    for source in labels.unique().tolist():
        destination = goes if isinstance(goes, int) else goes.get(source, -1)
        wanted[labels == source] = -1 if destination == source else destination
    moved = tops == wanted
    rows = (~moved).to(torch.int8).argsort(stable=True)[:EXAMPLES]
    before = samples.inputs[rows]
    classes = tuple(zip(labels[rows].tolist(), tops[rows].tolist(), strict=True))
    one = isinstance(goes, int)
    found = Shown(
        kind,
        target=goes if one else None,
        moved=int(moved.sum()),
        tried=int((wanted >= 0).sum()) if one else len(labels),
        places=places,
        where=where,
        examples=classes,
    )
    return found, examples_of(before, changed(before), classes)


def window(found: Race, aim: int, goes: Mapping[int, int] | int) -> Seen:
    """The same of the window of an aim that came to the end of a race."""
    one = found.found[aim]
    assert one.logits is not None
    return shown(
        "window",
        found.samples,
        one.logits,
        lambda inputs: found.stamped(aim, inputs),
        goes,
        places=found.windows.index.shape[1],
        where=found.windows.told(one.place),
    )
