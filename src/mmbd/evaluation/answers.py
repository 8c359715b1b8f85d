"""What detectors say about the models of a zoo, kept in a store so that a run can be continued."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmbd.base.errors import Failed, NotEvaluable, Refused
from mmbd.data.dataset import Dataset, split
from mmbd.data.read import load
from mmbd.detectors.scan import ScanOptions, scan_by, unevaluable
from mmbd.model.classifier import Classifier
from mmbd.model.info import describe
from mmbd.results import identity
from mmbd.results.report import Report
from mmbd.results.store import Key, Store
from mmbd.workflows import sampling
from mmbd.zoo import Entry, Zoo


@dataclass(frozen=True)
class Answer:
    """What one detector said about one model, or why it could not.

    Args:
        detector: its name in this evaluation.
        report: its report; None where the model could not be opened or the detector failed.
        error: what went wrong, if anything did.
        opened: whether the model could be opened, so that the detector was asked at all.
        stored: the report was read from the store, not computed in this run.
    """

    detector: str
    report: Report | None
    error: str | None = None
    opened: bool = True
    stored: bool = False


@dataclass
class _Opened:
    """The model that is open, with what is known of it so far."""

    entry: Entry
    classifier: Classifier
    digest: str | None
    samples: dict[int, tuple[Dataset, str]] = field(default_factory=dict[int, tuple[Dataset, str]])


class Runner:
    """Answers the questions (model, detector), by their names; nothing that either raises gets out.

    The model opened last stays open for the next detector. A runner can be sent to other processes
    as long as its parts can.

    Args:
        zoo: the entries, or what reads them (in another process, which cannot be sent entries).
        detectors: how each is asked, by its name in this evaluation.
        samples: clean samples for all models, or where they are (read in each model's size); each
            model's own by default.
        per_class: take so many of them of every class; as many as each detector takes by default.
        store: where reports are kept; None for nowhere.
    """

    def __init__(
        self,
        zoo: Zoo | Callable[[], Zoo],
        detectors: Mapping[str, ScanOptions],
        *,
        samples: Dataset | Path | None = None,
        per_class: int | None = None,
        store: Store | None = None,
    ) -> None:
        self.zoo, self.detectors, self.store = zoo, dict(detectors), store
        self.samples, self.per_class = samples, per_class
        self._entries: dict[str, Entry] | None = None
        self._latest: tuple[str, _Opened | str] | None = None
        self._read: tuple[object, Dataset] | None = None
        self._methods: dict[str, tuple[str | None, str | None]] = {}

    def __call__(self, task: tuple[str, str]) -> Answer:
        model, name = task
        opened = self._opened(model)
        if isinstance(opened, str):
            return Answer(name, None, opened, opened=False)
        how = self.detectors[name]
        try:
            samples, digest = self._samples(opened, how)
        except NotEvaluable as error:
            names = opened.classifier.class_names
            return Answer(
                name, unevaluable(str(error), how=how, info=describe(opened.classifier), names=names)
            )
        except Exception as error:  # the data are anything, and so is what a reader makes of them
            return Answer(name, None, f"the clean samples cannot be used: {_words(error)}")
        try:
            key = self._key(name, opened, digest)
            kept = self._kept(key)
            if kept is not None:
                return Answer(name, kept, stored=True)
            report = _ranked(scan_by(opened.classifier, how, samples=samples))
            text = report.to_json()
            answer = Answer(name, Report.from_json(text))  # checked, just as it will be read back
        except Exception as error:  # one broken model or detector never stops a run
            return Answer(name, None, _words(error))
        if self.store is None or key is None:
            return answer
        return replace(answer, error=self.store.put(key, text))

    def _opened(self, model: str) -> _Opened | str:
        """The model, or why it cannot be opened."""
        if self._latest is None or self._latest[0] != model:
            self._latest = None  # one model at a time in memory
            try:
                if self._entries is None:
                    zoo = self.zoo if isinstance(self.zoo, Zoo) else self.zoo()
                    self._entries = {entry.name: entry for entry in zoo.entries}
                if model not in self._entries:
                    raise Failed(f"{model} is no longer in the zoo")
                classifier = self._entries[model].open()
                digest = None if self.store is None else identity.fingerprint(classifier)
                self._latest = model, _Opened(self._entries[model], classifier, digest)
            except Exception as error:  # the file is anything, and so is what a reader makes of it
                self._latest = model, _words(error)
        return self._latest[1]

    def _samples(self, opened: _Opened, how: ScanOptions) -> tuple[Dataset | None, str]:
        """The clean samples for a detector that needs some, and their digest.

        They are drawn once for all detectors that take as many of every class.

        Raises:
            NotEvaluable: there are none for this model.
        """
        if not how.row.needs & {"samples", "labels"}:
            return None, ""
        count = self.per_class or how.row.per_class
        if count not in opened.samples:
            found = self._drawn(opened, how, count)
            opened.samples[count] = found, identity.samples(found.inputs, found.labels)
        return opened.samples[count]

    def _drawn(self, opened: _Opened, how: ScanOptions, per_class: int) -> Dataset:
        """Some of the samples given, made to suit the model, or of its own, which do already."""
        if self.samples is not None:
            source = self._given(self.samples, opened.classifier)
            return sampling.drawn(source, opened.classifier, per_class, seed=how.seed)
        if opened.entry.samples is None:
            raise NotEvaluable(
                f"{how.name} needs clean samples, and the zoo does not say where this model's are: "
                "give some that suit all models (--data; samples= in Python)"
            )
        return split(opened.entry.samples(), per_class, seed=how.seed, leave=False)[0]

    def _given(self, samples: Dataset | Path, classifier: Classifier) -> Dataset:
        """The samples for all models; those of a file are read once for models of one size."""
        if isinstance(samples, Dataset):
            return samples
        size = sampling.reading(classifier.domain)
        if self._read is None or self._read[0] != size:
            self._read = None  # one copy at a time in memory
            self._read = size, load(samples, **size)
        return self._read[1]

    def _key(self, name: str, opened: _Opened, samples: str) -> Key | None:
        """What the report is kept by; None where it is not kept, or model or detector have no digest."""
        if self.store is None or opened.digest is None:
            return None
        how = self.detectors[name]
        if name not in self._methods:
            own = None if isinstance(how.detector, str) else identity.function(how.row.find)
            method = how.detector if isinstance(how.detector, str) else own
            options = {**how.row.options, **how.options}
            self._methods[name] = method, identity.settings(how.row.find, options)
        method, settings = self._methods[name]
        if method is None or settings is None:
            return None
        return Key(opened.digest, samples, method, how.row.version, settings, how.level, how.seed)

    def _kept(self, key: Key | None) -> Report | None:
        """The stored report; None for none, or one that is damaged, so that it is made again."""
        stored = None if self.store is None or key is None else self.store.get(key)
        try:
            return None if stored is None else Report.from_json(stored.value)
        except (ValueError, RecursionError):
            return None


def _ranked(report: Report) -> Report:
    """The report with a score that JSON can hold: an infinite one ranks as the largest number does."""
    score = report.finding.score
    if score is None or not math.isinf(score):
        return report
    return report.revised(score=math.copysign(sys.float_info.max, score))


def _words(error: Exception) -> str:
    known = isinstance(error, Failed | Refused | NotEvaluable)
    return str(error) if known and str(error) else f"{type(error).__name__}: {error}"
