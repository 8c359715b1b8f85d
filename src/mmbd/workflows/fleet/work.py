"""What a worker does with one model: scan it, see that it stayed the same, and send report and row.

A worker holds no connection to the store: what it made goes to the driver, which alone writes. Models are
read in a sandbox of the worker's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from mmbd.base.errors import Failed
from mmbd.base.text import clean_text
from mmbd.detectors.scan import ScanOptions, unevaluable
from mmbd.model.info import unread
from mmbd.results import artifacts
from mmbd.results.fleet import LONGEST, Row, Word, digest, thinned
from mmbd.results.kept import Key
from mmbd.results.report import Report
from mmbd.workflows import scan_file as gate
from mmbd.workflows.fleet.asked import Asker, Task
from mmbd.workflows.fleet.digests import Digests
from mmbd.workflows.fleet.entry import Entry

CHANGED = "failed: the file changed while it was being scanned: scan it again when nothing writes to it"
REASON = 600  # characters of it in a row


@dataclass(frozen=True)
class Done:
    """What came of a task.

    Args:
        key: of the result; with another digest than the task's, where the file had changed before.
        row: for the index, not numbered yet.
        report: as JSON.
        pictures: its artifacts, as the bytes of a safetensors file.
        lasts: whether the result holds for as long as the key does.
    """

    key: Key
    row: Row
    report: str
    pictures: bytes | None
    lasts: bool = True


@dataclass
class Work:
    """Scans the models that it is given.

    Args:
        sandboxed: whether files are read in a sandbox.
        forked: whether the process that makes sandboxes may be forked: nothing but threads that wait runs
            beside a worker of `base.pool`. Elsewhere it is started anew, which takes seconds, once.
    """

    sandboxed: bool = True
    forked: bool = True
    _references: dict[Any, Any] = field(default_factory=dict[Any, Any])
    _stands: bool = False

    def __call__(self, task: Task) -> Done:
        if self.sandboxed and not self._stands:
            from mmbd.formats.sandbox.reading import stand

            stand(forked=self.forked)
            self._stands = True
        entry = task.entry
        started = monotonic()
        for _ in range(2):  # a file that has just been replaced is given a second chance
            before = Digests().model(entry.path)
            report, code = self._scanned(entry)
            after = Digests().model(entry.path)
            if before == after and _of(report, entry, before):
                key = task.key if before == task.key.model else Asker(Digests()).key(entry, before)
                return done(entry, key, report, code, monotonic() - started)
        report = unevaluable(CHANGED, how=entry.scanning, info=unread(entry.path))
        found = done(entry, task.key, report, gate.FAILED, monotonic() - started)
        return replace(found, lasts=False)

    def _scanned(self, entry: Entry) -> tuple[Report, int]:
        how = entry.scanning
        try:
            if entry.references:
                how = replace(how, options={**how.options, "references": self._known(entry, how)})
        except Failed as error:
            return unevaluable(f"failed: {error}", how=how, info=unread(entry.path)), gate.FAILED
        clean = None
        if entry.data is not None:
            clean = partial(
                _drawn, path=entry.data, per_class=entry.per_class or how.row.per_class, seed=how.seed
            )
        outcome = gate.scan_file(entry.path, entry.loading, how, samples=clean)
        return outcome.report, outcome.code

    def _known(self, entry: Entry, how: ScanOptions) -> Any:
        """The references, which a worker reads once for all models that have the same."""
        which = (entry.references, repr(entry.loading), repr(how.options), how.level, how.seed)
        if which not in self._references:
            self._references[which] = gate.references(entry.references, entry.loading, how)
        return self._references[which]


def _drawn(classifier: Any, *, path: Path, per_class: int, seed: int) -> Any:
    from mmbd.workflows import sampling

    try:
        return sampling.drawn(path, classifier, per_class, seed=seed)
    except (ValueError, OSError) as error:
        words = str(error)
        raise Failed(words if str(path) in words else f"{path}: {words}") from error


def _of(report: Report, entry: Entry, digest: str) -> bool:
    """Whether a report is on these bytes; of several files only the one that was read is known."""
    read = report.model.sha256
    if read is None or entry.path.is_dir():
        return True
    return read == digest or Digests().file(entry.path) == read


def done(entry: Entry, key: Key, report: Report, code: int, seconds: float) -> Done:
    """A report with its row, ready to be kept."""
    row = row_of(entry, key, report, code, seconds)
    pictures, said = None, None
    drawable = [one for one in report.finding.artifacts if bool(one.tensor.isfinite().all())]
    if drawable:
        pictures, said = artifacts.packed(drawable, f"{row.page}{artifacts.SUFFIX}")
    return Done(key, row, report.to_json(said), pictures)


def failure(entry: Entry, key: Key, reason: str, seconds: float) -> Done:
    """What is kept of a scan that ended without an answer of its own."""
    report = unevaluable(f"failed: {reason}", how=entry.scanning, info=unread(entry.path))
    return done(entry, key, report, gate.FAILED, seconds)


def row_of(entry: Entry, key: Key, report: Report, code: int, seconds: float) -> Row:
    """The row of a report."""
    names = report.class_names
    targets = tuple(
        str(label) if names[label] == str(label) else f"{label} {clean_text(names[label], 40)}"
        for label in report.targets[:9]
    )
    return Row(
        name=entry.name,
        number=0,
        file=str(entry.path)[:LONGEST],
        sha256=key.model,
        word=_word(report, code),
        code=code,
        detector=report.detector,
        level=report.level,
        seed=key.seed,
        settings=digest(key),
        p_value=report.p_value,
        decided_by=report.finding.decided_by,
        targets=targets,
        classes=len(names),
        statistic=report.finding.columns[0].name if report.finding.columns else "",
        statistics=thinned(report.statistics) if report.statistics else (),
        reason=None if report.reason is None else clean_text(report.reason, REASON),
        seconds=round(seconds, 3),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        group=entry.group,
        labels=entry.labels,
        policy=entry.policy,
        report=True,
    )


def _word(report: Report, code: int) -> Word:
    if code == gate.FAILED:
        return "failed"
    return "refused" if (report.reason or "").startswith("refused: ") else report.verdict
