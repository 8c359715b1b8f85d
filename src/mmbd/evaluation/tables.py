"""From answers to the paper's tables: per attack, per group and overall, for every detector.

What counts:

* A **detection** is a backdoored model that is flagged with a right target: the class that the
  detector names first, its most suspicious one, is among the true targets. One is enough where
  there are several (multi-target, all-to-all); further names neither help nor hurt. Where the
  detector names no class, or the zoo does not know the targets, the flag alone decides, and
  `by_flag_alone` says how often.
* A **false positive** is a clean model that is flagged, whatever class is named.
* **No answer** is neither: a miss if the model is backdoored, no alarm if it is clean, and counted
  in `unanswered`. In ROC curves it ranks below every score; as a probability it is 1/2.
* A model that could not be opened counts nowhere, for any detector; nor do excluded models.
* An attack's row sets its models against the ordinary clean ones (all clean ones, where there are
  none); a difficulty's row, such as class imbalance, has clean models only.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from mmbd.evaluation import metrics
from mmbd.evaluation.metrics import Estimate, Rate, Uniformity
from mmbd.evaluation.probabilities import UNKNOWN, empirical, posterior
from mmbd.results.report import Report

OVERALL = "all"
ORDINARY = "clean"
Part = Callable[[list["Result"]], list["Result"]]


@dataclass(frozen=True)
class Result:
    """The truth about a model, and what one detector said about it.

    Args:
        model: its name in the zoo.
        backdoored, attack, true_targets, group, seed: the truth, see `mmbd.zoo.Entry`.
        detector: its name in the evaluation.
        report: what it said; None where it failed, or where the model could not be opened.
        error: what went wrong, if anything did.
        opened: whether the model could be opened; if not, it counts nowhere.
    """

    model: str
    backdoored: bool
    attack: str
    true_targets: tuple[int, ...]
    group: str
    seed: int | None
    detector: str
    report: Report | None
    error: str | None = None
    opened: bool = True

    @property
    def flagged(self) -> bool:
        """Whether the detector calls the model backdoored."""
        return self.report is not None and self.report.verdict == "backdoored"

    @property
    def suspect(self) -> int | None:
        """The class that the detector names first, flagged or not; None where it names none."""
        if self.report is None:
            return None
        return next(iter(self.report.targets or self.report.finding.ranking), None)

    @property
    def comparable(self) -> bool:
        """Whether the named class can be compared with the truth."""
        return self.suspect is not None and bool(self.true_targets)

    @property
    def located(self) -> bool:
        """Whether the class named first is a right one; also where nothing can be compared."""
        return not self.comparable or self.suspect in self.true_targets

    @property
    def answer(self) -> Report | None:
        """The report, if it is a verdict either way."""
        return self.report if self.report and self.report.verdict != "not evaluable" else None

    @property
    def score(self) -> float:
        """The answer's score for ROC curves; -inf without an answer."""
        score = self.answer and self.answer.finding.score
        return -math.inf if score is None or math.isnan(score) else score

    @property
    def p_value(self) -> float | None:
        """The p-value that the answer rests on; None without an answer or without a p-value."""
        return self.answer and self.answer.p_value

    @property
    def seconds(self) -> float | None:
        """How long the answer took; None without an answer."""
        return self.answer.run.seconds if self.answer and self.answer.run else None


@dataclass(frozen=True)
class Figures:
    """How one detector does on one part of a zoo.

    Args:
        detector: its name.
        part: the attack, difficulty or group, or "all".
        detection: backdoored models flagged with a right target.
        by_flag_alone: how many of those hits had no target to compare.
        false_positives: clean models flagged.
        unanswered: how many of the backdoored, and how many of the clean models got no answer; all
            of them are in n all the same.
        auc: the area under the ROC curve of the scores, whatever class is named (TrojAI's norm), with
            the interval of `metrics.auc_interval`; None without scores of both kinds.
        located_auc: the same where a backdoored model with a wrong target ranks below all others,
            so that a threshold has to find model and class.
        partial_auc: the area up to a false-positive rate of 0.25; at most 0.25.
        cross_entropy: in nats, of the probabilities of `probabilities`.
        brier: the mean squared error of the same probabilities.
        calibrated_here: those probabilities come from the scores of this zoo's clean models.
        uniformity: how far the p-values of the part's clean models are from uniform ones.
        seconds: the median time an answer took.
        roc: the curve's corners, (false-positive rate, true-positive rate).
    """

    detector: str
    part: str
    detection: Rate
    by_flag_alone: int
    false_positives: Rate
    unanswered: tuple[int, int]
    auc: Estimate | None
    located_auc: float | None
    partial_auc: float | None
    cross_entropy: Estimate | None
    brier: float | None
    calibrated_here: bool
    uniformity: Uniformity | None
    seconds: float | None
    roc: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Tables:
    """Figures of every detector: overall, by attack and by group; detectors in the order given."""

    overall: tuple[Figures, ...]
    attacks: tuple[Figures, ...]
    groups: tuple[Figures, ...]


def tables(results: Iterable[Result]) -> Tables:
    """Work out every figure; rows come in the order in which attacks and groups first appear."""
    counted: dict[str, list[Result]] = {}
    for result in results:
        models = counted.setdefault(result.detector, [])
        if result.opened:
            models.append(result)
    probabilities = {name: _probabilities(models) for name, models in counted.items()}

    def rows(parts: Iterable[tuple[str, Part]]) -> tuple[Figures, ...]:
        return tuple(
            figures(
                name, title, members(models), probabilities[name], calibrated_here=not _with_p_values(models)
            )
            for title, members in parts
            for name, models in counted.items()
        )

    seen = [result for models in counted.values() for result in models]
    attacks = dict.fromkeys(r.attack for r in seen if r.backdoored)
    kinds = dict.fromkeys(r.attack for r in seen if not r.backdoored)
    groups = dict.fromkeys(r.group for r in seen)
    return Tables(
        overall=rows([(OVERALL, list)]),
        attacks=rows((name, partial(_attack, name)) for name in attacks)
        + rows((name, partial(_clean, name)) for name in kinds),
        groups=rows((name, partial(_group, name)) for name in groups) if len(groups) > 1 else (),
    )


def figures(
    detector: str,
    part: str,
    members: Sequence[Result],
    probabilities: Mapping[str, float],
    *,
    calibrated_here: bool = False,
) -> Figures:
    """The figures of one detector on some models, by model name the probabilities it gives."""
    bad = [r for r in members if r.backdoored]
    good = [r for r in members if not r.backdoored]
    hits = [r for r in bad if r.flagged and r.located]
    scored = any(r.score > -math.inf for r in members) and bool(bad and good)
    positives, negatives = [r.score for r in bad], [r.score for r in good]
    located = [r.score if r.located else -math.inf for r in bad]
    known = [r for r in members if r.model in probabilities]
    given, truths = [probabilities[r.model] for r in known], [r.backdoored for r in known]
    area = metrics.auc(positives, negatives) if scored else None
    times = [r.seconds for r in members if r.seconds is not None]
    return Figures(
        detector=detector,
        part=part,
        detection=Rate.of(len(hits), len(bad)),
        by_flag_alone=sum(not r.comparable for r in hits),
        false_positives=Rate.of(sum(r.flagged for r in good), len(good)),
        unanswered=(sum(r.answer is None for r in bad), sum(r.answer is None for r in good)),
        auc=None if area is None else Estimate(area, *metrics.auc_interval(area, len(bad), len(good))),
        located_auc=metrics.auc(located, negatives) if scored else None,
        partial_auc=metrics.partial_auc(positives, negatives) if scored else None,
        cross_entropy=metrics.cross_entropy(given, truths) if given else None,
        brier=metrics.brier(given, truths) if given else None,
        calibrated_here=bool(given) and calibrated_here,
        uniformity=metrics.uniformity([r.p_value for r in good if r.p_value is not None]),
        seconds=statistics.median(times) if times else None,
        roc=metrics.roc(positives, negatives) if scored else (),
    )


def _probabilities(results: Sequence[Result]) -> dict[str, float]:
    """By model, the probability of being backdoored that its answer speaks for."""
    if _with_p_values(results):
        return {r.model: UNKNOWN if r.p_value is None else posterior(r.p_value) for r in results}
    clean = {r.model: r.score for r in _ordinary(results)}
    if not clean or all(r.score == -math.inf for r in results):
        return {}
    found: dict[str, float] = {}
    for r in results:
        others = [score for model, score in clean.items() if model != r.model]
        found[r.model] = UNKNOWN if r.score == -math.inf else posterior(empirical(r.score, others))
    return found


def _with_p_values(results: Iterable[Result]) -> bool:
    return any(r.p_value is not None for r in results)


def _ordinary(results: Sequence[Result]) -> list[Result]:
    clean = [r for r in results if not r.backdoored]
    return [r for r in clean if r.attack == ORDINARY] or clean


def _attack(name: str, results: Sequence[Result]) -> list[Result]:
    return [r for r in results if r.backdoored and r.attack == name] + _ordinary(results)


def _clean(name: str, results: Sequence[Result]) -> list[Result]:
    return [r for r in results if not r.backdoored and r.attack == name]


def _group(name: str, results: Sequence[Result]) -> list[Result]:
    return [r for r in results if r.group == name]
