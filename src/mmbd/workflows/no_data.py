"""Drawn inputs in place of clean samples, for those who have none.

Pictures of dead leaves, sounds of chirps, clicks and harmonics, clouds of solids (`search.scenes`): what a
network makes of them is its own affair, and its own answers are their labels. Bounds made from them stop what
goes beyond anything drawn; they know nothing of where a data set leaves its border empty, or of which
activations it needs. So a repair by them alone is weaker, and is never said to have reduced anything: neither
its accuracy nor what a trigger does to real inputs shows on drawn ones.
"""

from __future__ import annotations

from typing import Literal

from mmbd.base.errors import Failed
from mmbd.data.dataset import Dataset, split
from mmbd.model.classifier import Classifier
from mmbd.model.domain import kind_of
from mmbd.search.made_up import MADE_UP, made_up

PER_CLASS = 20
DRAWN: Literal["drawn"] = "drawn"  # in place of samples: nobody asks for it by mistake
ASIDE = 12  # of a class, for the search afterwards
# So many of those asked for are needed: with 21 of 200, of two classes, a CIFAR-10 network lost 32 points,
# with 50 and more others lost 0 to 18. More of the classes that there are did not help.
LEAST = 0.25
DRAWS = 4  # for each that is asked for: classes that drawn inputs hardly ever come into have fewer

# Said with every such repair; the figures are those of benchmarks/results/no_data.json.
WEAKER = (
    "made from drawn inputs alone, which is weaker than from clean samples: on five networks it left 32 to "
    "93% attack success, where 20 images a class left 0 to 3%, and cost up to 18 points of accuracy"
)
UNMEASURED = (
    "no clean sample was at hand, so the accuracy is not known, and what a search reaches from drawn inputs "
    "does not tell what a trigger does to real ones"
)


def too_few(samples: Dataset, per_class: int = PER_CLASS) -> str | None:
    """Why drawn inputs do not do for a repair, if they do not."""
    wanted = per_class * len(samples.names)
    if len(samples) >= LEAST * wanted:
        return None
    return (
        f"only {len(samples)} of {wanted} drawn inputs could be had, as nearly all go to few classes: bounds "
        "from them would take the accuracy along; give clean samples"
    )


def drawn(classifier: Classifier, per_class: int = PER_CLASS, *, seed: int) -> tuple[Dataset, Dataset]:
    """Drawn inputs to repair with, at most so many of each class, and others to search on, at most 12.

    Args:
        classifier: whose inputs they are to be; its answers are their labels.
        per_class: of the first; a class into which few of them fall has fewer, or none.
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
    most = per_class + ASIDE
    with classifier.frozen():
        made = made_up("scenes", classifier, most * classifier.classes, seed=seed, most=most, draws=DRAWS)
    labels = made.samples.labels.cpu()
    everything = Dataset(made.samples.inputs.cpu(), labels, classifier.class_names)
    return split(everything, per_class, seed=seed)
