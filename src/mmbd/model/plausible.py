"""Whether a network's answers at random inputs fit the range that its inputs are said to have.

A network that was trained on pixels of 0 to 255 sees inputs of 0 to 1 as all but one: its answers hardly
change. One that was trained on 0 to 1 and gets 0 to 255 answers with logits of hundreds. Both are looked
for at the range that is said, and the other range has to put it right before anything is said.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box, kind_of, smooth

POINTS = 16
SCALE = 255.0
# On bundled models logits change by 0.4 to 15 times their span over random inputs in the right range, by
# 0.009 at most over a 255th of it, and have a span of 7 to 10, where 255 times as much gives a thousand.
STILL, MOVING = 0.03, 0.1
HUGE, USUAL = 300.0, 100.0


def doubt(classifier: Classifier) -> str | None:
    """A sentence on what is wrong with the range of an image classifier's inputs; None where nothing is seen.

    Args:
        classifier: asked at 16 random inputs, as they are and scaled.
    """
    bounds = classifier.domain.bounds
    if not isinstance(classifier.domain, Box) or kind_of(classifier.domain) != "image" or bounds is None:
        return None
    large = bounds[1] - bounds[0] > SCALE / 2
    points = _points(classifier.domain)
    try:
        with torch.no_grad(), classifier.frozen():
            change, span = _answers(classifier, points)
            if not large and change < STILL * span:
                change, span = _answers(classifier, points, SCALE)
                if change > MOVING * span:
                    return (
                        f"check the inputs: over inputs of {bounds[0]:g} to {bounds[1]:g} the network's "
                        "answers hardly change, over 255 times as much they do: it may take pixels of 0 to "
                        "255. If so give --bounds 0 255, with --mean and --std in the same units"
                    )
            if span > HUGE:
                smaller = _answers(classifier, points, 1 / SCALE)[1] if large else 0.0
                if smaller < USUAL:
                    way = "--bounds 0 1" if large else "the --mean and --std"
                    return (
                        f"check the inputs: at random inputs of {bounds[0]:g} to {bounds[1]:g} the logits "
                        f"are {span:.0f} apart, far more than trained networks answer with: give {way} that "
                        "the network was trained with"
                    )
    except Exception:  # of somebody's network, at inputs that it was not made for
        return None
    return None


def _points(domain: Box) -> Tensor:
    drawn = [generator_for("plausible", number) for number in range(POINTS)]
    return torch.stack(
        [smooth(domain, each) if number % 2 else domain.sample(each) for number, each in enumerate(drawn)]
    )


def _answers(classifier: Classifier, points: Tensor, scale: float = 1.0) -> tuple[float, float]:
    """How far a logit changes over the points (a standard deviation), and how far logits are apart."""
    logits = classifier(points if scale == 1.0 else points * scale)
    span = (logits.amax(1) - logits.amin(1)).median()
    return float(logits.std(0).max()), float(span)
