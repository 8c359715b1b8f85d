"""MM-BD: estimate maximum margins, compare them with a null (paper, sections 5.1 and 5.2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any

from mmbd.base.choose import unknown
from mmbd.base.errors import NotEvaluable
from mmbd.base.progress import Progress
from mmbd.detectors.detector import Detector
from mmbd.detectors.mm_bd import facts
from mmbd.detectors.mm_bd.about import ABOUT
from mmbd.detectors.mm_bd.budget import Budget, plan
from mmbd.detectors.mm_bd.found import finding_of
from mmbd.detectors.mm_bd.meter import Meter
from mmbd.detectors.mm_bd.on_samples import no_use
from mmbd.detectors.mm_bd.search import Beside, search
from mmbd.detectors.mm_bd.searched import Searched
from mmbd.model.classifier import Classifier
from mmbd.model.domain import kind_of
from mmbd.model.samples import Samples
from mmbd.null import NULLS, Evidence, References
from mmbd.null.decide import Decision, decide
from mmbd.null.with_samples import NAME as WITH_SAMPLES
from mmbd.results.finding import Finding
from mmbd.search import precision as precisions
from mmbd.search.ascent import FAST, Ascent
from mmbd.search.marks import marks_evaluations
from mmbd.search.maximum_margins import Method, ascent_of
from mmbd.search.precision import Astray, Guide, Precision, guide_of
from mmbd.search.race import Race
from mmbd.search.universal_data_free import universal_evaluations

# The nulls that look at marks; with the joint one, those of which the table is of the default search.
MARKED = (None, WITH_SAMPLES, "combined")
TABLES = (*MARKED, "joint", "population")
HARD = "a class was reached from unusual starts alone, which universal perturbations do not have"


def mm_bd(
    classifier: Classifier,
    samples: Samples | None = None,
    *,
    level: float = 0.05,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
    method: Method = "fast",
    universal: bool | None = None,
    null: str | None = None,
    references: References | None = None,
    race: bool | None = None,
    batch: int | None = None,
    memory_limit: int | None = None,
    budget: float | None = None,
    precision: Precision = "float32",
    **settings: Any,
) -> Finding:
    """Maximise every class's margin by gradient ascent, and compare the largest with a null.

    Args:
        classifier: the model under inspection.
        samples: clean ones, which are not needed. With them windows and flows are searched for on
            these, too, for images (`search.marks_on_samples`), and the null "with-samples" decides.
        level: the false-positive rate asked for, in (0, 1).
        seed: of the random starts; everything follows from it.
        progress: called after every step.
        method: "fast", or "paper" for the procedure of the paper (about 100 times slower).
        universal: whether to search for universal perturbations as well; by default with the fast
            method only, and for images. By default these are the marks that the combined null needs
            (`search.marks`), with null="joint" or another null the gains that the joint null needs.
        null: which p-value decides, a name in `mmbd.null.NULLS`. By default "reference" where
            references are given and numerous enough for the level, else "with-samples" where samples
            are, else "combined"; without universal perturbations "population", and "bootstrap" for
            inputs that are no images. It flags sounds and point clouds, and clears them only where it
            is asked for.
            Tables compare the default search: with other settings it is run as well, so that more
            search never makes a verdict weaker.
        references: statistics of clean models of the same domain.
        race: whether only the classes that lead after a quick look at all are searched to the end
            (`mmbd.search.race`). By default so with 13 classes or more where a table of clean networks
            decides, which compares the classes that lead; nulls that compare all classes alike do not
            answer then.
        batch: the most searches at a time.
        memory_limit: bytes for activations.
        budget: seconds, for the default searches only: what does not fit is left out, see
            `budget.plan`, and the model is not called clean where that could have told otherwise.
        precision: "float32", or "bfloat16" for searches that a copy of the network in it leads, several
            times as fast where the processor computes in it; every number stays the network's own, in
            float32. "auto" is that for networks of 50 million multiplications an input or more, on
            processors that were measured (`search.precision`), and the fast method.
        **settings: fields of `Ascent` to override, such as restarts=8.

    Raises:
        ValueError: arguments that make no sense, or that contradict each other.
        NotEvaluable: the network's answers cannot be compared.
    """
    if null == "reference" and references is None:
        raise ValueError("null='reference' needs reference models")
    ascent = ascent_of(method, settings)
    limits = {"batch": batch, "memory_limit": memory_limit}
    if budget is not None:
        check_budget(budget, ascent)
    check_precision(precision, method)
    images = kind_of(classifier.domain) == "image"
    # What the shipped tables know is searched for too, unless the user names what decides.
    tables = TABLES if method == "fast" else (None,)
    default_too = images and ascent != FAST and null in tables
    universal = images and (method == "fast" or default_too) if universal is None else universal
    if null in TABLES[1:4] and images and not universal:
        raise ValueError(f"null={null!r} needs universal=True")
    beside: Beside = None
    if universal:
        beside = "marks" if null in MARKED and images else "gains"
    unused = None if samples is None else no_use(classifier, marks=beside == "marks")
    if null == WITH_SAMPLES and (samples is None or unused):
        raise ValueError(f"null={null!r} needs clean samples{f': {unused}' if unused else ''}")
    used = samples if unused is None else None
    # A table compares the classes that lead, and is of the default search.
    can_race = images and universal and ascent == FAST and references is None
    can_race = can_race and method == "fast" and null in tables
    if race and not can_race:
        raise ValueError("race=True is for images, the default search, and nulls with a table")
    rules = Race()
    if not can_race or race is False or classifier.classes < rules.fewest:
        rules = None
    needs = marks_evaluations if beside == "marks" else universal_evaluations
    guide = guide_of(classifier, precision) if method == "fast" else Guide()
    led: dict[str, Any] = limits | {"guide": guide.classifier}
    fits = None if budget is None else plan(classifier, budget, seed=seed, race=rules, beside=needs, **led)
    if fits is not None:
        ascent = ascent_of(method, {"restarts": fits.restarts})
        settings, rules = {"restarts": fits.restarts}, fits.race
        beside = beside if fits.whole else None
    found = _searched(
        classifier,
        guide,
        progress,
        ascent,
        seed=seed,
        method=method,
        settings=settings,
        beside=beside,
        default_too=default_too,
        race=rules,
        budget=fits,
        samples=used,
        **limits,
    )
    if unused is not None:
        found = replace(found, without_samples=unused)
    judged = _judged(found, level, null, references, classifier)
    settings = facts.settings_of(found, method)
    if budget is not None:
        settings["budget"] = {"seconds": budget, "left_out": found.left_out}
    return finding_of(classifier, found, judged, settings, asked=null is not None)


def _searched(
    classifier: Classifier,
    guide: Guide,
    progress: Callable[[Progress], None] | None,
    ascent: Ascent,
    *,
    beside: Beside,
    default_too: bool,
    race: Race | None,
    budget: Budget | None,
    samples: Samples | None,
    **how: Any,
) -> Searched:
    """What `search` finds, led by the guide; where that goes astray, by the network itself."""

    def once(led_by: Classifier | None) -> Searched:
        meter = Meter(
            classifier,
            progress,
            ascent,
            beside=beside,
            default_too=default_too,
            race=race,
            classes=None if budget is None or budget.classes is None else len(budget.classes),
            samples=samples is not None,
        )
        asked: dict[str, Any] = {"beside": beside, "default_too": default_too, "race": race}
        asked |= {"budget": budget, "samples": samples, "meter": meter, "guide": led_by}
        return search(classifier, **asked, **how)

    why_not = guide.why_not
    if guide.classifier is not None:
        try:
            return once(guide.classifier)
        except (Astray, NotEvaluable):
            why_not = "a copy of the network in bfloat16 went astray"
    return replace(once(None), unguided=why_not)


def _judged(
    found: Searched, level: float, null: str | None, references: References | None, classifier: Classifier
) -> Decision:
    """What the nulls say of one seed.

    Classes that were reached from unusual starts alone have no gain or mark to speak of: margins judge all
    classes, and what looks at more than margins those that have it, so that neither hides behind the other.
    """
    evidence = partial(
        Evidence,
        margins=found.measured,
        default=found.default_measured,
        level=level,
        names=classifier.class_names,
        kind=kind_of(classifier.domain),
        references=references,
        raced=found.raced is not None,
        marks=found.marked,
        without_marks=found.without_marks,
        on_samples=found.marked_on_samples,
    )
    if not found.reached.statistics:
        return decide(evidence(gains=found.gains), null)
    alone = decide(evidence(without_gains=HARD, marks=None, without_marks=HARD), null)
    rest = decide(evidence(gains=found.comparable_gains), null)
    return rest if rest.targets and not alone.targets else alone


def check_precision(precision: object, method: object) -> None:
    """ValueError for a precision that is none, or one that the paper's procedure does not have."""
    precisions.check(precision)
    if precision == "bfloat16" and method == "paper":
        raise ValueError("precision='bfloat16' is for the fast method: the paper's procedure is in float32")


def check_budget(budget: float, ascent: Ascent) -> None:
    """ValueError for a budget that makes no sense, or one for other searches than the default ones."""
    if not 0 < budget < math.inf:
        raise ValueError(f"budget must be more than 0 seconds, and finite, got {budget}")
    if ascent != FAST:
        raise ValueError(
            "a budget chooses how much of the default search is done: leave method, restarts, steps and "
            "whatever else changes it to it"
        )


def check(options: Mapping[str, Any]) -> None:
    """ValueError for options whose values make no sense; of those that settings alone can tell."""
    method, null = options.get("method", "fast"), options.get("null")
    if null is not None and null not in NULLS:
        raise ValueError(unknown("null", null, NULLS))
    if (race := options.get("race")) not in (None, True, False):
        raise ValueError(f"race must be true or false, got {race!r}")
    check_precision(options.get("precision", "float32"), method)
    usual = ascent_of(method, {})
    settings = {name: value for name, value in options.items() if hasattr(usual, name)}
    for name, value in settings.items():
        kind = type(getattr(usual, name))
        if not isinstance(value, (int, float) if kind is float else kind):
            wanted = {int: "a whole number", float: "a number"}.get(kind, "a name")
            raise ValueError(f"{name} must be {wanted}, got {value!r}")
    ascent = ascent_of(method, settings)
    if options.get("budget") is not None:
        check_budget(options["budget"], ascent)


MM_BD = Detector(
    find=mm_bd,
    version=4,
    about=ABOUT,
    takes_samples=True,
    per_class=10,
    kinds=frozenset(),
    more=tuple(item.name for item in fields(Ascent)),
    check=check,
)
