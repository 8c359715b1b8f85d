"""Drawn inputs in place of clean samples, for those who have none.

Pictures of dead leaves, sounds of chirps, clicks and harmonics, clouds of solids (`search.scenes`): what a
network makes of them is its own affair, and its own answers are their labels. Bounds made from them stop what
goes beyond anything drawn; they know nothing of where a data set leaves its border empty, or of which
activations it needs. So a repair by them alone is weaker, and is never said to have reduced anything: neither
its accuracy nor what a trigger does to real inputs shows on drawn ones.
"""

from __future__ import annotations

from typing import Literal

import torch

from mmbd.base.errors import Failed
from mmbd.base.seeds import generator_for
from mmbd.data.dataset import Dataset
from mmbd.model.classifier import Classifier
from mmbd.model.domain import kind_of
from mmbd.search.made_up import MADE_UP, made_up

PER_CLASS = 20
DRAWN: Literal["drawn"] = "drawn"  # in place of samples: nobody asks for it by mistake
ASIDE = 12  # times the number of classes are for the search afterwards
MOST = 4  # times as many may be of one class: all classes alike left 21 pictures to some networks
DRAWS = 4  # for each that is asked for: classes that drawn inputs hardly ever come into have fewer

# Said with every such repair; the figures are those of benchmarks/results/no_data.json.
WEAKER = (
    "made from drawn inputs alone, which is weaker than from clean samples: on four networks it left 32 to "
    "93% attack success, where 20 images a class left 0 to 3%, and cost up to 18 points of accuracy"
)
UNMEASURED = (
    "no clean sample was at hand, so the accuracy is not known, and what a search reaches from drawn inputs "
    "does not tell what a trigger does to real ones"
)


def drawn(classifier: Classifier, per_class: int = PER_CLASS, *, seed: int) -> tuple[Dataset, Dataset]:
    """Drawn inputs to repair with, at most so many times the number of classes, and others to search on.

    Args:
        classifier: whose inputs they are to be; its answers are their labels.
        per_class: of the first, on average; few or none may be of some classes, and more of others.
        seed: of the drawing.

    Raises:
        Failed: there are no such inputs of the classifier's kind.
        NotEvaluable: the classifier's answers are not finite.
    """
    domain = classifier.domain
    if not MADE_UP["scenes"].possible(domain):
        raise Failed(
            f"inputs of the kind {kind_of(domain)} cannot be drawn, only images, sounds and point clouds: "
            "give clean samples"
        )
    wanted, count = per_class * classifier.classes, (per_class + ASIDE) * classifier.classes
    with classifier.frozen():
        made = made_up("scenes", classifier, count, seed=seed, most=MOST * (per_class + ASIDE), draws=DRAWS)
    labels = made.samples.labels.cpu()
    everything = Dataset(made.samples.inputs.cpu(), labels, classifier.class_names)
    order = torch.randperm(len(labels), generator=generator_for("no data", seed))
    repairing = order[: round(len(order) * wanted / count)]
    return everything.take(repairing), everything.take(order[len(repairing) :])
