"""What reports say about the two forms of TrojanNetDetector."""

from __future__ import annotations

from mmbd.detectors.detector import About
from mmbd.detectors.reversed_triggers import TRIGGER_WORDS

LIMITED = About(
    title="TrojanNetDetector: whether all images and each one leave for a class in the same way",
    source="Practical Detection of Trojan Neural Networks: Data-Limited and Data-Free Cases, ECCV 2020",
    rule=(
        "One perturbation of all images and those of single images make the network answer alike for one "
        "class (TrojanNetDetector, ECCV 2020)."
    ),
    mark=(
        "Whatever moves images to the class that a backdoor leads to makes use of the trigger: a "
        "perturbation of all images, and one of a single image. The network answers both alike."
    ),
    backdoored=(
        "This scan searched for such perturbations, class by class, and compared the answers. {outliers} "
        "{chance}"
    ),
    clean=(
        "This scan searched for such perturbations, class by class, and the answers differ. {chance} "
        "Triggers that are no small patches, or brighter than their surroundings, are not found so."
    ),
    statistics="How alike the answers to both kinds of perturbations are",
    columns={
        "similarity": (
            "The statistic of a class is a lower quartile over images: the cosine of the network's answers "
            "to the image under the perturbation of all images, and under its own one."
        ),
        "mask area": "The mask area is the sum of the smallest universal mask, over pixels and channels.",
        "taken alone": "Taken alone is the share of images that their own perturbation takes to the class.",
    },
    artifacts=(
        "The smallest universal perturbations",
        "A mask, a pattern and a clean image with the pattern under the mask. It moves images away from "
        "their classes, but none of the class that it belongs to.",
    ),
    suspect="This perturbation moves images of other classes; the {column} of the class is {value}.",
    traces=(
        "How the masks' areas went",
        "The area of the mask after the run with each of the weights tried.",
    ),
    step="weight",
    tested="How alike the answers are",
    tests={"similarity": ("similarity", "the original's threshold")},
    advice=TRIGGER_WORDS["advice"],
)

FREE = About(
    title="TrojanNetDetector without data: which logit rises with the features before the last layer",
    source="Practical Detection of Trojan Neural Networks: Data-Limited and Data-Free Cases, ECCV 2020",
    rule=(
        "The logit of one class rises far more than others where the features before the last layer are "
        "excited (TrojanNetDetector, ECCV 2020)."
    ),
    mark=(
        "Features that answer to a trigger can be excited far more than others, and the logit of the class "
        "that the backdoor leads to rises with them."
    ),
    backdoored=(
        "This scan excited the features before the last layer from random inputs. {outliers} {chance} The "
        "authors' own threshold, 100 logits, belongs to their network."
    ),
    clean=(
        "This scan excited the features before the last layer from random inputs, and no class gained by it "
        "in a way that the others did not. {chance}"
    ),
    statistics="How far the logit of a class rises with the features",
    columns={
        "logit increase": (
            "The statistic of a class is the mean increase of its logit from random inputs to those that "
            "excite the features before the last layer most."
        ),
        "anomaly index": (
            "The anomaly index says how many robust standard deviations it lies above the median of all "
            "classes."
        ),
    },
    artifacts=(
        "What excites the features",
        "One of the random inputs with a pattern under a mask, and these two. They were searched for all "
        "classes together and are shown at the class whose logit rose most.",
    ),
    suspect="This input excites the features before the last layer; the {column} of the class is {value}.",
    traces=(
        "How the features were excited",
        "The weighted features less the masks' norm: first from every random input alone, in the second "
        "half from the mean of their masks and patterns.",
    ),
    tested="How far the logit of one class rises",
    tests={
        "MAD": ("anomaly index", "the other classes of the same model"),
        "logit increase": ("logit increase", "a threshold that belongs to the authors' network"),
    },
)
