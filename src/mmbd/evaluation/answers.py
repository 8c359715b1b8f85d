"""What detectors say about one model of a zoo, kept on disk so that a run can be continued.

One JSON file an answer, written whole or not at all, under the detector's name. The file's name
ends in the digest of everything that the answer depends on (`identity`), so nothing stale is read.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmbd.base import reading
from mmbd.base.environment import environment
from mmbd.base.errors import Failed, NotEvaluable, Refused
from mmbd.base.writing import write_text
from mmbd.detectors.detector import Detection, Detector
from mmbd.model.classifier import Classifier
from mmbd.results.identity import fingerprint, settings
from mmbd.zoo import Entry, Zoo

SCHEMA = 1


@dataclass(frozen=True)
class Answer:
    """What one detector said about one model, or why it could not.

    Args:
        detector: its name.
        detection: None where the model could not be opened, so that nobody was asked. A detector
            that fails has given no answer: flagged None, with the reason.
        error: what went wrong, if anything did.
        kept: read from disk, not computed in this run.
    """

    detector: str
    detection: Detection | None
    error: str | None = None
    kept: bool = False

    @classmethod
    def failed(cls, detector: str, error: str) -> Answer:
        """The detector saw the model and did not get through."""
        return cls(detector, Detection(flagged=None, reason=f"failed: {error}"), error)


@dataclass(frozen=True)
class Job:
    """How every model is to be judged.

    Args:
        zoo: the entries, or what reads them (in another process, which cannot be sent entries).
        detectors: by name.
        level: the false-positive rate asked of them.
        seed: of their random choices.
        folder: where answers are kept; None for nowhere.
    """

    zoo: Zoo | Callable[[], Zoo]
    detectors: Mapping[str, Detector]
    level: float
    seed: int
    folder: Path | None = None


class Judge:
    """Answers about (model, detector), by their names; nothing that either raises gets out.

    The model opened last stays open for the next detector.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._settings: dict[str, str | None] = {}
        self._entries: dict[str, Entry] | None = None
        self._open: tuple[str, Classifier | str, str | None] | None = None

    def __call__(self, task: tuple[str, str]) -> Answer:
        model, name = task
        classifier, digest = self._opened(model)
        if isinstance(classifier, str):
            return Answer(name, None, classifier)
        job, file = self.job, None
        if job.folder is not None and digest is not None:
            if name not in self._settings:
                detector = job.detectors[name]
                self._settings[name] = settings(detector, level=job.level, seed=job.seed)
            how = self._settings[name]
            file = _file(job.folder, name, model, f"{how} {digest}") if how else None
        if file and (kept := _read(file)) is not None:
            return Answer(name, kept, kept=True)
        started = time.perf_counter()
        try:
            found = job.detectors[name](classifier, level=job.level, seed=job.seed)
            detection = from_plain(plain(found))  # just as it will be read back
        except NotEvaluable as error:
            detection = Detection(flagged=None, reason=str(error))
        except Exception as error:  # one broken model or detector never stops a run
            return Answer.failed(name, _words(error))
        # Everybody's time is taken by the same clock.
        detection = replace(detection, seconds=time.perf_counter() - started)
        return Answer(name, detection, _write(file, model, name, job, detection) if file else None)

    def _opened(self, model: str) -> tuple[Classifier | str, str | None]:
        """The classifier and its fingerprint, or why there is none."""
        if self._open is None or self._open[0] != model:
            self._open = None  # one model at a time in memory
            try:
                if self._entries is None:
                    zoo = self.job.zoo if isinstance(self.job.zoo, Zoo) else self.job.zoo()
                    self._entries = {entry.name: entry for entry in zoo.entries}
                if model not in self._entries:
                    raise Failed(f"{model} is no longer in the zoo")
                classifier = self._entries[model].open()
                kept = self.job.folder is not None
                self._open = model, classifier, fingerprint(classifier) if kept else None
            except Exception as error:  # the file is anything, and so is what a reader makes of it
                self._open = model, _words(error), None
        return self._open[1:]


def plain(detection: Detection) -> dict[str, Any]:
    """A detection as JSON has it; NaN becomes None, an infinite score the largest float.

    Raises:
        TypeError, ValueError: not a detection, or no p-value between 0 and 1.
    """
    if not isinstance(detection, Detection):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"expected a Detection, got {type(detection).__name__}")
    score, p_value = _finite(detection.score), _finite(detection.p_value)
    if p_value is not None and not 0 <= p_value <= 1:
        raise ValueError(f"the detector gave a p-value of {p_value}")
    return {
        "flagged": None if detection.flagged is None else bool(detection.flagged),
        "targets": [int(target) for target in detection.targets],
        "score": score,
        "p_value": p_value,
        "statistics": [_finite(value) for value in detection.statistics],
        "reason": detection.reason,
        "seconds": float(detection.seconds),
        "details": _tidy(dict(detection.details)),
    }


def from_plain(raw: Mapping[str, Any]) -> Detection:
    """Back from JSON; raises KeyError, TypeError or ValueError for anything else."""
    return Detection(
        flagged=raw["flagged"],
        targets=tuple(raw["targets"]),
        score=raw["score"],
        p_value=raw["p_value"],
        statistics=tuple(raw["statistics"]),
        reason=raw["reason"],
        seconds=float(raw["seconds"]),
        details=dict(raw["details"]),
    )


def _file(folder: Path, detector: str, model: str, key: str) -> Path:
    digest = hashlib.sha256(key.encode()).hexdigest()[:20]
    return folder / _slug(detector) / f"{_slug(model)}-{digest}.json"


def _slug(name: str) -> str:
    """A name as part of a file name, whatever is in it."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[:80].lstrip(".") or "_"


def _read(file: Path) -> Detection | None:
    """What the file says; None where there is none or it is damaged, so that it is made again."""
    try:
        raw = reading.json_value(file, finite=True)
        if raw["schema"] != SCHEMA:
            return None
        # Through `plain` again: who knows who wrote the file.
        return from_plain(plain(from_plain(_checked(raw["detection"]))))
    except Exception:  # whatever it is, it is no answer
        return None


def _checked(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The kinds that `plain` makes; ValueError for others, which it would take for these."""
    targets, seconds = raw["targets"], raw["seconds"]
    sound = (
        raw["flagged"] in (None, True, False)
        and all(type(target) is int and 0 <= target < reading.MAX_CLASSES for target in targets)
        and isinstance(raw["reason"], str | None)
        and type(seconds) in (int, float)
        and 0 <= seconds < math.inf
    )
    if not sound:
        raise ValueError("not what a detection looks like")
    return raw


def _write(file: Path, model: str, detector: str, job: Job, detection: Detection) -> str | None:
    """Keep an answer; returns what went wrong: a full disk costs the file, not the answer."""
    content = {
        "schema": SCHEMA,
        "model": model,
        "detector": detector,
        "level": job.level,
        "seed": job.seed,
        "detection": plain(detection),
        "environment": environment(),
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.is_file():  # the folder is for answers: a FIFO or a link to a device goes
            file.unlink(missing_ok=True)
        write_text(file, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        return f"the answer could not be kept: {error}"
    return None


def _finite(value: float | None) -> float | None:
    if value is None or math.isnan(value):
        return None
    return max(-sys.float_info.max, min(float(value), sys.float_info.max))


def _tidy(value: Any) -> Any:
    """As JSON: NaN and infinity become null, what JSON does not know a number or a short text."""
    if isinstance(value, Mapping):
        return {str(key): _tidy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_tidy(item) for item in value]
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)[:200]


def _words(error: Exception) -> str:
    known = isinstance(error, Failed | Refused | NotEvaluable)
    return str(error) if known and str(error) else f"{type(error).__name__}: {error}"
