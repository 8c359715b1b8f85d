"""Local patch: one small window that takes inputs out of their class, or into one; needs no data.

A trigger like that of BadNets (Gu et al. 2017) sits in a few places and works on any input. So a window is
filled to take as many inputs as possible out of their class, to wherever (`search.windows`, aim `AWAY`).
Where they go tells one target class from an attack of all classes on all (one destination for each
source). The same is then done for every class, in a race, and the leading two are compared. The inputs
are made up and firmly in their classes (`search.made_up`), or clean samples. All thresholds are own choices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmbd.base.choose import unknown
from mmbd.base.errors import NotEvaluable
from mmbd.base.progress import ProgressCallback, spent
from mmbd.detectors import options as checks
from mmbd.detectors.detector import About, Detector
from mmbd.detectors.shown import window
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.results.finding import Column, Finding, Matrix, Test
from mmbd.search.made_up import MADE_UP, made_up
from mmbd.search.marks import paired, shares_to, went
from mmbd.search.window_climb import in_turn
from mmbd.search.windows import AWAY, Race, race

FEWEST = 3  # classes: with two, the leading one has one other to be compared with
MOST_ROWS = 100  # of a matrix: larger ones cannot be read
EXPECTED = 2700  # gradient evaluations of a run with ten classes
# What each statistic has to exceed. Of inputs, most; clean networks' largest lift was seen at up to 1.6
# times the second.
SHARE, LEAD = 0.5, 1.7

CAVEATS = (
    "The thresholds are choices of this project and were never calibrated: how often clean models pass "
    "them is not known.",
    "A clean network without pooling, or a narrow one, may give way to a window anywhere.",
    "Made-up inputs may hold a trigger themselves: pairs of classes may then be seen the wrong way round.",
    "All-to-all attacks with a trigger of its own for each pair are not found: no window works on all.",
)

ABOUT = About(
    title="Local patch: where one small window takes made-up inputs; needs no data",
    source="own; triggers in a few places (Gu et al. 2017), searched for from the model alone",
    rule="One small window takes inputs that are firmly in their classes to other ones.",
    mark=(
        "A trigger in a few places works on whatever input it is put on. So a small window exists that takes "
        "inputs out of their classes, where in a clean model they stay."
    ),
    statistics="How far a window lifts each class",
    columns={
        "lift": (
            "The lift of a class is how much higher the mean margin of the class is, over inputs of other "
            "classes, with the window that was found for it. Classes that fell behind were given up early."
        ),
        "share": (
            "The share of a class is how many of the inputs of other classes go there under the one window "
            "that takes as many inputs as possible out of their classes."
        ),
    },
    suspect="This window takes inputs to the class; its {column} is {value}.",
    tests={
        "one class": ("largest share to one class", "a threshold of own choice; not calibrated"),
        "a class for each": ("share in pairs of classes", "a threshold of own choice; not calibrated"),
        "lead": ("largest lift over the second", "a threshold of own choice; not calibrated"),
    },
    step="gradient evaluation",
)


def find(
    classifier: Classifier,
    samples: Samples | None = None,
    *,
    level: float = 0.05,
    seed: int = 0,
    progress: ProgressCallback | None = None,
    kind: str = "firm",
    inputs: int = 20,
    side: int | None = None,
    share: float = SHARE,
    lead: float = LEAD,
    batch: int | None = None,
) -> Finding:
    """Whether a small window takes most inputs to one class, or each class's to another one.

    Args:
        classifier: the model under inspection.
        samples: clean ones, if there are any; inputs are made up otherwise.
        level: not used: thresholds decide.
        seed: of the inputs and their order.
        progress: called after every step.
        kind: of made-up inputs, a name in `mmbd.search.made_up.MADE_UP`.
        inputs: how many are made up, or taken of the samples that the classifier gets right.
        side: of the window in pixels or samples, or its points; see `search.window_places.windows_of`.
        share: backdoored where more of the inputs go to one class, or to one class for each source.
        lead: backdoored where the largest lift is more than so many times the second.
        batch: the most inputs at a time.

    Raises:
        ValueError: options that make no sense.
        NotEvaluable: fewer than three classes, inputs of fewer, or no gradient reaches them.
    """
    settings = {"kind": kind, "inputs": inputs, "side": side, "share": share, "lead": lead}
    _check(settings)
    if classifier.classes < FEWEST:
        raise NotEvaluable(f"{classifier.classes} classes are too few to tell one from the others")
    tell = spent(progress, "windows", EXPECTED)
    chosen, before = _inputs(classifier, samples, kind, inputs, seed, batch)
    if len(chosen.labels.unique()) < FEWEST:
        raise NotEvaluable(f"{len(chosen.labels)} inputs are of fewer than {FEWEST} classes")
    tell(before)
    away = race(
        classifier,
        chosen,
        aims=[AWAY],
        seed=seed,
        side=side,
        batch=batch,
        progress=lambda evaluations: tell(before + evaluations),
    )
    so_far = before + away.evaluations
    to = race(
        classifier,
        chosen,
        aims=range(classifier.classes),
        seed=seed,
        side=side,
        batch=batch,
        progress=lambda evaluations: tell(so_far + evaluations),
    )
    facts = {
        "evaluations": so_far + to.evaluations,
        "passes": away.passes + to.passes,
        "oom_retries": away.oom_retries + to.oom_retries,
        "inputs": len(chosen.labels),
        "window": ", ".join(f"{at:g}" for at in away.windows.corners[away.found[AWAY].place]),
    }
    return _finding(away, to, settings, facts)


def _finding(away: Race, to: Race, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> Finding:
    counts = went(away)
    shares, (pairs, in_pairs), leading = shares_to(counts), paired(counts), to.leading
    first, second = (max(to.found[aim].lift, 0.0) for aim in leading[:2])
    # A lift of next to nothing is not infinitely more than none.
    lead = first / max(second, 0.05 * first) if first > 0 else 0.0
    tests = (
        Test("one class", float(shares.max()), threshold=settings["share"]),
        Test("a class for each", in_pairs, threshold=settings["share"]),
        Test("lead", lead, threshold=settings["lead"]),
    )
    scores = {test.name: (test.statistic or 0.0) / (test.threshold or 1.0) for test in tests}
    deciding = max(scores, key=lambda name: scores[name])
    flagged = scores[deciding] > 1
    lifts = [to.found[aim].lift for aim in sorted(to.found)]
    top = int(shares.argmax()) if deciding == "one class" else leading[0]
    ranking = sorted(range(len(lifts)), key=lambda label: (label != top, -lifts[label], label))
    targets = tuple(sorted(set(pairs.values()))) if deciding == "a class for each" else (top,)
    picked, aim = (to, top) if deciding == "lead" else (away, AWAY)
    shown, artifacts = window(picked, aim, pairs if deciding == "a class for each" else top)
    return Finding(
        verdict="backdoored" if flagged else "clean",
        targets=targets if flagged else (),
        ranking=tuple(ranking),
        score=scores[deciding],
        decided_by=deciding,
        tests=tests,
        columns=(Column("lift", tuple(lifts), "logits"), Column("share", tuple(shares.tolist()))),
        matrices=_matrices(counts),
        artifacts=artifacts,
        shown=shown,
        caveats=CAVEATS,
        settings=settings,
        facts={
            **facts,
            "left": float((counts.sum() - counts.diagonal().sum()) / counts.sum()),
            "pairs": ", ".join(f"{source} -> {to_}" for source, to_ in sorted(pairs.items())),
        },
    )


def _matrices(counts: Tensor) -> tuple[Matrix, ...]:
    """The share of each source's inputs that go to each other class."""
    if len(counts) > MOST_ROWS:
        return ()
    shares = counts.double() / counts.sum(1, keepdim=True)
    return (Matrix.of("source -> destination", shares.fill_diagonal_(torch.nan), "share"),)


def _inputs(
    classifier: Classifier, samples: Samples | None, kind: str, count: int, seed: int, batch: int | None
) -> tuple[Samples, int]:
    """The inputs that windows are tried on, and the gradient evaluations that these took."""
    if samples is None:
        made = made_up(kind, classifier, count, seed=seed, batch=batch)
        return made.samples, made.evaluations
    right = samples.correct.nonzero()[:, 0]
    if not len(right):
        raise NotEvaluable("the classifier gets no clean sample right")
    rows = right[in_turn(samples.labels[right].cpu(), seed)[:count].to(right.device)]
    return samples.at(rows), 0


def _check(options: Mapping[str, Any]) -> None:
    checks.whole(options, "inputs", least=FEWEST)
    checks.whole(options, "side", "batch")
    checks.positive(options, "share", "lead")
    if options.get("kind", "firm") not in MADE_UP:
        raise ValueError(unknown("kind of made-up inputs", options["kind"], MADE_UP))


LOCAL_PATCH = Detector(find=find, version=1, about=ABOUT, kinds=frozenset(), clears=False, check=_check)
