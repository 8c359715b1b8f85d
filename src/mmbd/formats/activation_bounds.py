"""Bounds on activations in a file of `mmbd`: where they are kept, and how they are put back.

The bounds themselves are tensors beside the network's, under reserved names; the metadata says
which activation each is for. Both are checked against the activations that the network really has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mmbd.base.text import clean_text, listed
from mmbd.formats.advice import broken
from mmbd.model.classifier import Classifier

UPPER, LOWER = "mmbd.upper.", "mmbd.lower."
KINDS: dict[str, type] = {"name": str, "index": int, "fold": bool}


@dataclass(frozen=True)
class ActivationBounds:
    """Which activation has bounds: its name and number (see `model.activations`), and whether they fold.

    The network's inputs are called "inputs", and their number is -1.
    """

    name: str
    index: int
    fold: bool = False


def apart(network: nn.Module) -> tuple[nn.Module, tuple[ActivationBounds, ...], dict[str, Tensor]]:
    """A network without its bounds, what the metadata says of these, and their tensors as in a file."""
    from mmbd.model.bounded import Bounded, numbered

    if not isinstance(network, Bounded):
        return network, (), {}
    limits = sorted(network.limits, key=lambda limit: limit.activation.index)
    tensors = {f"{UPPER}{numbered(limit.activation.index)}": limit.upper for limit in limits}
    for limit in limits:
        if limit.lower is not None:
            tensors[f"{LOWER}{numbered(limit.activation.index)}"] = limit.lower
    words = (ActivationBounds(limit.activation.name, limit.activation.index, limit.fold) for limit in limits)
    return network.network, tuple(words), tensors


def entries(raw: Any) -> tuple[ActivationBounds, ...]:
    """The metadata's words about bounds, checked; ValueError says what is wrong."""
    for item in raw if isinstance(raw, list) else [None]:
        if not isinstance(item, dict) or {key: type(value) for key, value in item.items()} != KINDS:
            raise ValueError(
                "mmbd metadata: activation_bounds must be a list of objects with a name (text), an index "
                "(a whole number) and fold (true or false)"
            )
    return tuple(ActivationBounds(**item) for item in raw)


def split(value: Any) -> tuple[dict[str, Tensor], Any]:
    """The bounds in what a file holds, and the rest of it."""
    if not isinstance(value, Mapping):
        return {}, value
    kept = {name: item for name, item in value.items() if str(name).startswith((UPPER, LOWER))}
    return kept, {name: item for name, item in value.items() if name not in kept}


def restored(
    classifier: Classifier, described: Sequence[ActivationBounds], bounds: Mapping[str, Tensor]
) -> Classifier:
    """The classifier with the bounds that its file describes.

    Raises:
        Failed: they are not those of its activations, or no bounds at all.
    """
    if not described and not bounds:
        return classifier
    from mmbd.model import activations
    from mmbd.model.bounded import Bounded, Limit, numbered

    network = classifier.model
    assert isinstance(network, nn.Module)
    hidden = activations.find(classifier)
    there = (activations.inputs_of(classifier), *hidden)
    found = {(activation.index, activation.name): activation for activation in there}
    left = dict(bounds)
    limits: list[Limit] = []
    for entry in described:
        activation, name = found.get((entry.index, entry.name)), clean_text(entry.name, 80)
        if activation is None:
            raise broken(
                f"the file has bounds for {name!r} as activation {clean_text(str(entry.index), 20)}, "
                f"counted from 0; this network has {listed(one.name for one in hidden) or 'none'}"
            )
        number = numbered(activation.index)
        upper = left.pop(f"{UPPER}{number}", None)
        if upper is None:
            raise broken(f"the file lacks the bounds of {name!r}, or names it twice")
        limits.append(Limit(activation, upper, left.pop(f"{LOWER}{number}", None), entry.fold))
    if left:
        raise broken(f"the file does not say which activation this bounds: {listed(left)}")
    try:
        bounded = Bounded(network, limits).to(classifier.device)
    except Exception as error:  # numbers of whoever wrote the file
        raise broken(f"the file's bounds do not fit, {clean_text(str(error), 300)}") from error
    return classifier.around(bounded)
