"""A first look at a network: where its logits are, how many there are, how many inputs it takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from mmbd.base.errors import Failed, NotEvaluable
from mmbd.base.seeds import generator_for
from mmbd.model.domain import Domain
from mmbd.model.logits import Reading, at, bounded_by, checked, find_place, reading_of, refusal

POINTS = 3


class Network(Protocol):
    """What this module needs of a `Classifier` that is not complete yet."""

    domain: Domain
    dtype: torch.dtype

    def answer(self, normalised: Tensor) -> Any: ...
    def normalised(self, inputs: Tensor) -> Tensor: ...


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
        raise refusal(what, float(logits.min()), float(logits.max()))
    return found, int(logits.shape[1])


def _first_answers(
    classifier: Network, points: Tensor, wanted: int | str | None, classes: int | None
) -> tuple[Reading, Tensor]:
    """How to read the network, and the logits (batch, classes) of the points as read so."""

    def read(rows: Tensor) -> tuple[Reading, Tensor]:
        output = classifier.answer(classifier.normalised(rows))
        place = find_place(output, len(rows), wanted=wanted, classes=classes)
        found = reading_of(output, place)
        return found, checked(found.logits(output), len(rows)).float()

    try:
        found, together = read(points)
    except NotEvaluable:
        raise
    except (Exception, SystemExit) as error:  # the model is somebody else's code
        try:
            found, _ = read(points[:1])
            one_by_one = torch.cat([read(point)[1] for point in points.split(1)])
        except (Exception, SystemExit):  # not that either: the first error says more
            raise _refused(error, points) from error
        return replace(found, rows="one"), one_by_one
    try:
        alone = at(classifier.answer(classifier.normalised(points[:1])), found.place)
    except (LookupError, AttributeError):
        alone = None
    except (Exception, SystemExit) as error:
        raise _refused(error, points[:1]) from error
    single = isinstance(alone, Tensor) and alone.dim() > 1 and alone.shape[0] == 1
    return replace(found, rows="any" if single else "two"), together


def _refused(error: BaseException, points: Tensor) -> Failed:
    return Failed(
        f"the model does not accept inputs of shape {tuple(points.shape)}: {type(error).__name__}: {error}"
    )


def _bound(classifier: Network, found: Reading, points: Tensor) -> str | None:
    """What bounds the outputs, such as "a sigmoid"; None where nothing is seen to."""
    few = points[:1] if found.rows == "one" else points
    try:
        with torch.inference_mode(False), torch.enable_grad():
            inputs = classifier.normalised(few.clone().requires_grad_())
            return bounded_by(at(classifier.answer(inputs), found.place))
    except (Exception, SystemExit):  # no gradient, for example: the search says so
        return None
