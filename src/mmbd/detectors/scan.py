"""`mmbd.scan`: one frame around every detector. It checks, times, repeats, describes and wraps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from mmbd.base.choose import unknown
from mmbd.base.environment import versions
from mmbd.base.errors import NotEvaluable
from mmbd.base.progress import ProgressCallback
from mmbd.detectors import DETECTORS
from mmbd.detectors.believing import of_file
from mmbd.detectors.clean_samples import prepared, with_samples
from mmbd.detectors.detector import Detector
from mmbd.detectors.limit import Watch
from mmbd.formats.loaded import Loaded
from mmbd.model.classifier import Classifier
from mmbd.model.domain import kind_of
from mmbd.model.info import ModelInfo, describe
from mmbd.model.samples import Samples
from mmbd.null.seeds import pooled
from mmbd.results.finding import Finding
from mmbd.results.report import Report, Run, Stability

LEVEL = 0.05
MOMENT = 1e-3  # seconds that a seed gets of a budget that is spent
# Facts of a run that are of all seeds together; the others are of the seed that is shown.
SUMMED = ("evaluations", "oom_retries")


@dataclass(frozen=True)
class ScanOptions:
    """How to scan; see `scan` for what each is.

    Raises:
        ValueError: an unknown detector or option, or numbers out of their range.
        Failed, Refused: a file that an option names cannot be read.
    """

    detector: str | Detector = "mm-bd"
    level: float = LEVEL
    seed: int = 0
    seeds: int = 1
    limit: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    budget: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.detector, str) and self.detector not in DETECTORS:
            raise ValueError(unknown("detector", self.detector, DETECTORS))
        if not isinstance(self.detector, str | Detector):  # pyright: ignore[reportUnnecessaryIsInstance]
            kind = type(self.detector).__name__
            raise TypeError(f"expected a detector's name or a row (mmbd.detectors.Detector), got {kind}")
        for name in ("seed", "seeds"):
            if not isinstance(value := getattr(self, name), int):
                raise TypeError(f"{name} must be a whole number, got {value!r}")
        for name in ("level", "limit", "budget"):
            if not isinstance(value := getattr(self, name), int | float | None):
                raise TypeError(f"{name} must be a number, got {value!r}")
        if not 0 < self.level < 1:
            raise ValueError(f"level must be between 0 and 1, got {self.level}")
        if self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.seeds}")
        if self.limit is not None and not self.limit > 0:
            raise ValueError(f"limit must be more than 0 seconds, got {self.limit}")
        self.row.check_options(self.options)
        if self.budget is not None:
            if not self.row.takes_budget:
                raise ValueError(f"{self.name} takes no budget of time; a limit stops it (--limit, limit=)")
            self.row.check({**self.row.options, **self.options, "budget": self.budget})
        object.__setattr__(self, "options", self.row.opened(self.options))

    @property
    def row(self) -> Detector:
        """The detector that is asked."""
        return DETECTORS[self.detector] if isinstance(self.detector, str) else self.detector

    @property
    def name(self) -> str:
        """The detector's name, for reports; the title of a row that is in no table."""
        names = (name for name, row in DETECTORS.items() if row is self.row)
        return self.detector if isinstance(self.detector, str) else next(names, self.row.about.title)


def scan(
    classifier: Classifier | Loaded,
    *,
    detector: str | Detector = "mm-bd",
    samples: Any = None,
    level: float = LEVEL,
    seed: int = 0,
    seeds: int = 1,
    limit: float | None = None,
    budget: float | None = None,
    info: ModelInfo | None = None,
    progress: ProgressCallback | None = None,
    **options: Any,
) -> Report:
    """Test a classifier for a backdoor; MM-BD, the default, needs no data.

    Args:
        classifier: the model under inspection, or what `load` returned; left exactly as it was.
        detector: a name in `mmbd.detectors.DETECTORS`, or a row of one's own.
        samples: clean samples, for detectors that need them: a `Dataset`, (inputs, labels), or
            inputs alone, (n, *shape), valid or 8-bit. Labels are class numbers (n,). All of them are
            used; a row's `per_class` says how many of every class are usual.
        level: the false-positive rate asked for, in (0, 1).
        seed: every random choice follows from it.
        seeds: repeat with seed, seed + 1, ... and report how stable it is. The verdict is that of
            all seeds together, at the same level (`null.seeds`).
        limit: seconds; a scan whose first steps show that it would take longer is given up.
        budget: seconds, for MM-BD: the best answer that fits (`mm_bd.budget`). Where something had to be
            left out that could have told otherwise, the verdict is "not evaluable" instead of "clean".
        info: what to say about the model's file; made up from the classifier by default.
        progress: called after every step.
        **options: of the detector. MM-BD's are those of `mmbd.detectors.mm_bd.mm_bd.mm_bd`: method,
            null, universal, references, batch, memory_limit, and fields of `Ascent` such as restarts.

    Returns:
        A report; its verdict is "not evaluable", with the reason, where the model cannot be
        judged.

    Raises:
        ValueError: wrong arguments, or a detector without the samples that it needs.
        Failed: past the limit.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 6))
        >>> report = scan(Classifier(net, input_shape=(3, 2, 2)))
        >>> report.verdict in ("clean", "backdoored"), len(report.statistics)
        (True, 6)
    """
    how = ScanOptions(detector, level, seed, seeds, limit, options, budget)
    return scan_by(classifier, how, samples=samples, info=info, progress=progress)


def scan_by(
    classifier: Classifier | Loaded,
    how: ScanOptions,
    *,
    samples: Any = None,
    info: ModelInfo | None = None,
    progress: ProgressCallback | None = None,
) -> Report:
    """`scan`, with its settings as one thing."""
    if isinstance(classifier, Loaded):
        again = partial(scan_by, how=how, samples=samples, info=info or classifier.model, progress=progress)
        return of_file(classifier, again)
    _require_classifier(classifier)
    require_needs(how, samples)
    info = info or describe(classifier)
    give_up = partial(unevaluable, how=how, info=info, names=classifier.class_names)
    kind = kind_of(classifier.domain)
    if how.row.kinds and kind not in how.row.kinds:
        return give_up(
            f"{how.name} judges {', '.join(sorted(how.row.kinds))} inputs; these are of kind {kind}"
        )
    started = datetime.now(UTC).isoformat(timespec="seconds")
    watch = Watch(progress, how.limit, seeds=how.seeds, classes=classifier.classes)
    seeds = range(how.seed, how.seed + how.seeds)
    try:
        clean = prepared(classifier, samples, how.row, how.name)
        findings = [_found(classifier, clean, how, number, watch) for number in seeds]
    except NotEvaluable as error:
        return give_up(str(error))
    place, finding = pooled(findings, how.level)
    finding = _certain(finding, findings, how.row)
    facts = {
        name: sum(one.facts.get(name, 0) for one in findings) if name in SUMMED else value
        for name, value in finding.facts.items()
    }
    finding = with_samples(replace(finding, facts=facts), clean)
    return Report(
        detector=how.name,
        version=how.row.version,
        level=how.level,
        class_names=classifier.class_names,
        finding=finding,
        model=info,
        run=Run(
            seed=how.seed,
            started=started,
            seconds=watch.elapsed,
            device=str(classifier.device),
            versions=versions(),
        ),
        stability=_stability(findings, seeds, place) if how.seeds > 1 else None,
    )


def require_needs(how: ScanOptions, samples: Any) -> None:
    """ValueError where the detector needs clean samples or other models, and there are none."""
    if samples is None and how.row.needs & {"samples", "labels"}:
        raise ValueError(
            f"{how.name} needs clean samples of the model's task: give --data CLEAN/ "
            "(samples=(inputs, labels) in Python)"
        )
    for need, flag in (("references", "--reference"), ("shadow models", "--option shadow_models=...")):
        option = need.replace(" ", "_")
        if need in how.row.needs and how.options.get(option, how.row.options.get(option)) is None:
            raise ValueError(f"{how.name} needs {need}: give {flag} ({option}= in Python)")


def _certain(pooled: Finding, findings: Sequence[Finding], row: Detector) -> Finding:
    """The finding of all seeds together, or none where that of some seed does not bear it out."""
    if pooled.verdict == "clean" and not row.clears:
        reason = (
            "nothing stands out, but a second opinion clears no model: this detector's threshold was never "
            "calibrated"
        )
        return replace(pooled, verdict="not evaluable", reason=reason)
    reason = next((one.no_verdict for one in findings if one.no_verdict is not None), None)
    if reason is None and pooled.verdict == "clean":
        reason = next((one.not_clean for one in findings if one.not_clean is not None), None)
    if reason is None:
        return pooled
    return replace(pooled, verdict="not evaluable", reason=reason, targets=(), score=None)


def unevaluable(reason: str, *, how: ScanOptions, info: ModelInfo, names: Sequence[str] = ()) -> Report:
    """A report without any numbers."""
    finding = Finding("not evaluable", reason=reason)
    return Report(how.name, how.row.version, how.level, tuple(names), finding, info)


def _found(
    classifier: Classifier, samples: Samples | None, how: ScanOptions, seed: int, watch: Watch
) -> Finding:
    options = {**how.row.options, **how.options}
    if how.budget is not None:  # what is left of it, shared by the seeds that are left
        left = how.budget if seed == how.seed else max(how.budget - watch.elapsed, MOMENT)
        options["budget"] = left / (how.seed + how.seeds - seed)
    with classifier.frozen():
        finding = how.row.find(classifier, samples, level=how.level, seed=seed, progress=watch, **options)
    if not isinstance(finding, Finding):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{how.name} returned {type(finding).__name__}, expected a Finding")
    watch.next_seed()
    return finding


def _require_classifier(given: object) -> None:
    if not isinstance(given, Classifier):
        raise TypeError(
            f"expected an mmbd.Classifier, got {type(given).__name__}; wrap the model: "
            f"mmbd.Classifier(model, input_shape=(3, 32, 32))"
        )


def _stability(findings: Sequence[Finding], seeds: Sequence[int], place: int) -> Stability:
    return Stability(
        seeds=tuple(seeds),
        winners=tuple(finding.ranking[0] if finding.ranking else None for finding in findings),
        p_values=tuple(None if finding.test is None else finding.test.p_value for finding in findings),
        decides=seeds[place],
    )
