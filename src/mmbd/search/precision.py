"""Which precision a search climbs in: bfloat16 where that is much faster and leads to the same places.

A search needs to know which way is up, and which of its places was the highest; what is stated afterwards is
the network's own answer there, in float32. So where a network is heavy and the processor computes in
bfloat16, a copy of it (`model.bfloat16`) is the guide of the search. What decides on that are the network
and the processor alone, never a clock. A guide whose answers are others is none: it is looked at before the
search, and at all places that it has led to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from mmbd.base.choose import unknown
from mmbd.base.seeds import generator_for
from mmbd.model.bfloat16 import fast_in_bfloat16, in_bfloat16, multiply_adds
from mmbd.model.classifier import Classifier
from mmbd.model.domain import smooth

Precision = Literal["auto", "bfloat16", "float32"]
# Multiplications an input from which on copying and checking take no time to speak of.
HEAVY = 50_000_000
# Of the size of the logits, or of the margins found: a guide may be off by so much, root mean square.
CLOSE = 0.05
LOOKS = 4  # inputs of each of two kinds that a guide is tried on


class Astray(Exception):
    """The guide led to places that are not what it took them for; never leaves a scan."""


@dataclass(frozen=True)
class Guide:
    """What leads a search.

    Attributes:
        classifier: the copy in bfloat16; None where the network itself leads.
        why_not: why there is none though one was asked for, in a sentence without its full stop.
    """

    classifier: Classifier | None = None
    why_not: str | None = None


def check(precision: object) -> None:
    """ValueError for a precision that is none."""
    if precision not in get_args(Precision):
        raise ValueError(unknown("precision", str(precision), get_args(Precision)))


def guide_of(classifier: Classifier, precision: Precision = "auto") -> Guide:
    """The guide of a network's searches.

    Args:
        classifier: the model.
        precision: "float32" for none; "bfloat16" for one wherever the network allows it; "auto" for one
            where the network takes `HEAVY` multiplications an input at least and the processor is fast.

    Raises:
        ValueError: no such precision.
    """
    check(precision)
    if precision == "float32":
        return Guide()
    if precision == "auto" and not (
        fast_in_bfloat16(classifier.device) and multiply_adds(classifier) >= HEAVY
    ):
        return Guide()
    found = in_bfloat16(classifier)
    if isinstance(found, Classifier) and (apart := _apart(classifier, found)) > CLOSE:
        found = f"its answers in bfloat16 are off by {apart:.0%}"
    if isinstance(found, Classifier):
        return Guide(found)
    return Guide(why_not=found if precision == "bfloat16" else None)


def trusted(exact: Tensor, guessed: Tensor) -> None:
    """Astray unless the margins at some places (n,) are those that the guide saw there, by and large."""
    apart = (exact - guessed).abs().double()
    size = exact.abs().double()
    if len(exact) and not float(apart.median()) <= CLOSE * float(size.median().clamp_min(1e-12)):
        raise Astray


def _apart(classifier: Classifier, guide: Classifier) -> float:
    """How far the guide's logits are off, as a share of how much logits differ by class."""
    domain = classifier.domain
    points = [domain.sample(generator_for("precision", i)) for i in range(LOOKS)]
    points += [smooth(domain, generator_for("precision", "smooth", i)) for i in range(LOOKS)]
    inputs = torch.stack(points).to(classifier.device, torch.float32)
    with classifier.frozen(), torch.no_grad():
        exact, guessed = classifier(inputs).double(), guide(inputs).double()
    exact, guessed = (values - values.mean(1, keepdim=True) for values in (exact, guessed))
    apart = float((exact - guessed).square().mean().sqrt() / exact.square().mean().sqrt().clamp_min(1e-12))
    return apart if apart == apart else float("inf")
