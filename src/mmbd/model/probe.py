"""A first look at a network: where its logits are, how many there are, how many inputs it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from mmbd.base.errors import Failed, NotEvaluable
from mmbd.base.seeds import generator_for
from mmbd.model import outputs
from mmbd.model.domain import Domain

POINTS = 3
# How many inputs a network takes at a time: any number, one (exported with a fixed batch), or two
# at least (a squeeze takes the batch away too).
Rows = Literal["any", "one", "two"]


class Network(Protocol):
    """What a first look needs of a classifier that is about to be."""

    domain: Domain
    dtype: torch.dtype

    def answer(self, normalised: Tensor) -> Any: ...
    def normalised(self, inputs: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Reading:
    """How a network is to be read: where its logits are in its output, and inputs at a time."""

    place: outputs.Place = ()
    rows: Rows = "any"


def reading(classifier: Network, wanted: int | str | None, classes: int | None) -> tuple[Reading, int]:
    """Run a few random inputs through; returns how to read the network, and its class count.

    Args:
        classifier: frozen by the caller, without a reading yet.
        wanted: which tensor of the output holds the logits, if that is given.
        classes: how many there must be, where that is known.

    Raises:
        Failed: the network does not take such inputs.
        NotEvaluable: what it returns are not logits.
    """
    points = torch.stack([classifier.domain.sample(generator_for("probe", i)) for i in range(POINTS)])
    with torch.no_grad():
        found, logits = _first_answers(classifier, points, wanted, classes)
    if logits.shape[1] < 2:
        raise NotEvaluable(
            f"the model has {logits.shape[1]} output; a class each is expected: "
            "give the network one output a class"
        )
    if not torch.isfinite(logits).all():
        raise NotEvaluable(
            "the model's outputs on random inputs are NaN or infinite: see that the weights are "
            "whole, and that --bounds, --mean and --std (bounds=, mean= and std= in Python) are "
            "those of its training"
        )
    slack = 1e-2 if torch.finfo(classifier.dtype).bits == 16 else 1e-3
    if bool((logits >= 0).all()) and bool(((logits.sum(1) - 1).abs() < slack).all()):
        raise NotEvaluable(
            "the outputs are probabilities (they sum to 1), not logits: their margins cannot "
            "exceed 1 and their gradients vanish. Leave the final softmax out, or say --ends-in "
            "softmax (ends_in='softmax' in Python), which undoes it; log-softmax is fine"
        )
    if (what := _bound(classifier, found, points)) is not None:
        raise outputs.refusal(what, float(logits.min()), float(logits.max()))
    return found, int(logits.shape[1])


def _first_answers(
    classifier: Network, points: Tensor, wanted: int | str | None, classes: int | None
) -> tuple[Reading, Tensor]:
    """How to read the network, and the logits (batch, classes) of the points as read so."""

    def logits(rows: Tensor) -> tuple[outputs.Place, Tensor]:
        output = classifier.answer(classifier.normalised(rows))
        place = outputs.find(output, len(rows), wanted=wanted, classes=classes)
        return place, outputs.logits(outputs.reach(output, place), len(rows)).float()

    try:
        place, together = logits(points)
    except NotEvaluable:
        raise
    except (Exception, SystemExit) as error:  # the model is somebody else's code
        try:
            place, _ = logits(points[:1])
            one_by_one = torch.cat([logits(point)[1] for point in points.split(1)])
        except (Exception, SystemExit):  # not that either: the first error says more
            raise _said(error, points) from error
        return Reading(place, "one"), one_by_one
    try:
        alone = outputs.reach(classifier.answer(classifier.normalised(points[:1])), place)
    except (LookupError, AttributeError):
        alone = None
    except (Exception, SystemExit) as error:
        raise _said(error, points[:1]) from error
    single = isinstance(alone, Tensor) and alone.dim() > 1 and alone.shape[0] == 1
    return Reading(place, "any" if single else "two"), together


def _said(error: BaseException, points: Tensor) -> Failed:
    return Failed(
        f"the model does not accept inputs of shape {tuple(points.shape)}: {type(error).__name__}: {error}"
    )


def _bound(classifier: Network, found: Reading, points: Tensor) -> str | None:
    """What bounds the outputs, if anything does."""
    few = points[:1] if found.rows == "one" else points
    try:
        with torch.inference_mode(False), torch.enable_grad():
            inputs = classifier.normalised(few.clone().requires_grad_())
            return outputs.bounded_by(outputs.reach(classifier.answer(inputs), found.place))
    except (Exception, SystemExit):  # no gradient, for example: the search says so
        return None
