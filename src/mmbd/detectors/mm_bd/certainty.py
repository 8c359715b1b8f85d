"""Whether a decision may stand, and what to bear in mind about it."""

from __future__ import annotations

from collections.abc import Sequence

from mmbd.base.text import clean_text
from mmbd.detectors.mm_bd.facts import mishaps
from mmbd.detectors.mm_bd.power import known, statement
from mmbd.detectors.mm_bd.searched import Searched
from mmbd.model.domain import Domain, kind_of
from mmbd.null import NULLS
from mmbd.null.decide import Decision
from mmbd.null.with_samples import NAME

ALL_TO_ALL = "An all-to-all attack, in which every class is a target, needs reference models to be seen."
SELDOM_ALL_TO_ALL = (
    "An all-to-all attack, in which every class is a target, is seldom seen without reference models."
)
BY_ONE_WINDOW = (
    "An all-to-all attack, in which every class is a target, is seen where one window takes clean samples of "
    "most classes each to a class of their own; another change that does so needs reference models."
)
BLIND_SPOTS = (
    "A trainer who knew this test and fought it can pass it.",
    "A backdoor that seldom works (attack success rate below about 80 %) may not stand out.",
    "Strong class imbalance in training can make a clean model's largest class stand out.",
)
POOR_FIT = "A clean model that fits its training data poorly (below about 90 %) is flagged more often."
ONE_MARK = "Imbalance of the training data, or of the last layer's first weights, makes marks stand out, too."

NO_IMAGES = (
    "The inputs are no images, of which the tables of clean classifiers are: without reference "
    "models the model's own statistics judge it, and with ten classes they find little."
)

# Kinds of inputs of which clean networks were looked at: a class has ten or twenty times another's margin in
# all of them, where the bootstrap takes all classes for alike. It flagged none of eight attacked ones.
UNLIKE = {"sound": "sounds", "points": "point clouds"}


def not_clean(
    judged: Decision, found: Searched, names: Sequence[str], *, kind: str, asked: bool
) -> str | None:
    """Why the model may not be called clean: what was searched would not bear it out.

    Args:
        judged: the decision.
        found: what was searched for.
        names: of all classes.
        kind: of the model's inputs, see `Domain.kind`.
        asked: whether the null that decides was asked for by name.
    """
    # References are compared by their margins alone, whatever else there would have been.
    if found.left_out is not None and not (found.unsearched_gains and judged.decided_by == "reference"):
        return found.left_out
    if left := sorted(found.unsearched):
        return (
            f"{len(left)} of {len(names)} classes could not be searched ({_listed(left, names)}): no "
            "start has a gradient there, so nothing is known of them. Try more --restarts"
        )
    if unjudged := _unjudged(judged, found, len(names)):
        return (
            f"the {judged.decided_by} null had no number of {len(unjudged)} of {len(names)} classes "
            f"({_listed(unjudged, names)}), so nothing is known of them. Try another --null or --seed"
        )
    if kind in UNLIKE and NULLS[judged.decided_by].alone and not asked:
        return (
            f"no null that can clear a classifier of {UNLIKE[kind]} was at hand: the {judged.decided_by} "
            "null, which takes all classes for alike, found none of 8 backdoored ones of sounds and point "
            "clouds. Give clean reference models (--reference DIR), or ask for it by name "
            f"(--null {judged.decided_by})"
        )
    return None


def _unjudged(judged: Decision, found: Searched, classes: int) -> list[int]:
    """Classes that the null which decides was not told of, though inputs move them."""
    still = set(found.reached.fixed)
    return [label for label in range(classes) if label not in judged.values.keys() | still]


def _listed(labels: Sequence[int], names: Sequence[str]) -> str:
    """The first five classes by number and name, and how many more there are."""
    more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
    return ", ".join(_named(label, names) for label in labels[:5]) + more


def _named(label: int, names: Sequence[str]) -> str:
    return str(label) if names[label] == str(label) else f"{label} {clean_text(names[label])!r}"


def caveats(shown: Searched, judged: Decision, *, clean: bool, domain: Domain) -> tuple[str, ...]:
    """What to bear in mind, in sentences; for a clean model of images, what would have been found.

    Args:
        shown: what was searched for.
        judged: the decision.
        clean: whether it may be called clean.
        domain: of the inputs.
    """
    references = judged.decided_by == "reference"
    own = () if kind_of(domain) == "image" or references else (NO_IMAGES,)
    all_to_all = {"combined": SELDOM_ALL_TO_ALL, NAME: BY_ONE_WINDOW}
    by_marks = judged.decided_by in all_to_all
    weak = _weakness(judged) if clean else ()
    if clean and known(judged.decided_by):
        weak = (statement(domain.shape, len(shown.margins.valid), judged.decided_by), *weak)
    every = () if references else (all_to_all.get(judged.decided_by, ALL_TO_ALL),)
    last = ONE_MARK if by_marks else POOR_FIT
    return (*mishaps(shown), *weak, *every, *BLIND_SPOTS, last, *own)


def _weakness(judged: Decision) -> tuple[str, ...]:
    """How little a null sees that knows this model alone, where it says "clean"."""
    if not NULLS[judged.decided_by].alone:
        return ()
    return (
        f"The {judged.decided_by} null knows nothing but this model's own "
        f"{len(judged.values)} classes: with ten, only a target many times above the others "
        "is found by it. That nothing was found says little.",
    )
