"""A model file to a report and an exit code; whatever the file does, an answer and no traceback."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmbd.base import reading
from mmbd.base.errors import Failed, NotEvaluable, Refused
from mmbd.base.progress import ProgressCallback
from mmbd.base.text import clean_text
from mmbd.model.info import ModelInfo, unread
from mmbd.results.report import MOST_BYTES, Report

if TYPE_CHECKING:
    from mmbd.data.dataset import Dataset
    from mmbd.detectors.scan import ScanOptions
    from mmbd.formats.options import LoadOptions
    from mmbd.model.classifier import Classifier
    from mmbd.null import References
    from mmbd.workflows.policy import Policy
    from mmbd.workflows.ruled import Accuracy

Trust = Literal["code", "unsandboxed"]
CLEAN, BACKDOORED, FAILED, REFUSED, USAGE = range(5)
# With several models the worst wins.
SEVERITY = (CLEAN, FAILED, REFUSED, BACKDOORED)
# The rooms that detectors are made of; none of them holds a network's code.
DETECTING = ("mmbd.detectors.", "mmbd.search.", "mmbd.null.")


@dataclass(frozen=True)
class Outcome:
    """The report on one file, and the exit code it asks for."""

    report: Report
    code: int


def scan_file(
    path: str | Path,
    loading: LoadOptions,
    scanning: ScanOptions,
    *,
    samples: Callable[[Classifier], Any] | None = None,
    progress: ProgressCallback | None = None,
    trust: Trust | None = None,
    policy: Policy | None = None,
    labelled: Callable[[Classifier], Dataset] | None = None,
) -> Outcome:
    """Load and scan one file. Whatever is raised on the way becomes a report of a failure.

    Args:
        path: the model file or folder.
        loading: what the file does not say.
        scanning: the detector and its settings.
        samples: gives clean samples for the classifier, for detectors that need them.
        progress: called after every step.
        trust: run files that are programs of PyTorch's: "code" in a sandbox, "unsandboxed" also without
            where the system has none. By default they are refused.
        policy: what the report is held against. The scanning's settings are to be the policy's already;
            its formats and its accuracy are looked at here. A policy that names formats allows no programs.
        labelled: gives clean samples for the classifier, on which the policy's accuracy is measured.
    """
    if policy is None:
        return _scanned_file(path, loading, scanning, samples, progress, trust)
    from mmbd.workflows import ruled

    measured: list[Accuracy] = []

    def look(classifier: Classifier) -> None:
        if labelled is not None and policy.minimum_accuracy is not None:
            measured.append(ruled.accuracy(classifier, labelled(classifier)))

    if policy.formats is not None:
        loading, trust = replace(loading, formats=policy.formats), None
    found = _scanned_file(path, loading, scanning, samples, progress, trust, look).report
    if policy.exceptions:
        found = ruled.with_digest(found, path)
    report = ruled.ruled(found, policy, measured=measured[0] if measured else None)
    return Outcome(report, report.exit_code)


def _scanned_file(
    path: str | Path,
    loading: LoadOptions,
    scanning: ScanOptions,
    samples: Callable[[Classifier], Any] | None,
    progress: ProgressCallback | None,
    trust: Trust | None,
    look: Callable[[Classifier], None] | None = None,
) -> Outcome:
    """The outcome without a policy; `look` is called with the classifier before it is scanned."""
    from mmbd.detectors.scan import scan_by, unevaluable
    from mmbd.formats.loading import load_file

    def failed(reason: str, info: ModelInfo, code: int = FAILED) -> Outcome:
        return Outcome(unevaluable(reason, how=scanning, info=info), code)

    try:
        loaded = load_file(path, loading)
    except (NotEvaluable, Failed) as error:
        start = "failed: " if isinstance(error, Failed) else ""
        return failed(f"{start}{error}", unread(path), FAILED if start else REFUSED)
    except Refused as error:
        if trust is not None:
            return _trusted(path, loading, scanning, error, trust)
        return failed(f"refused: {error}", unread(path), REFUSED)
    except (Exception, SystemExit) as error:
        return failed(f"failed: {clean_text(str(path), 400)}: {raised(error)}", unread(path))
    try:
        if look is not None:
            look(loaded.classifier)
        clean = None if samples is None else samples(loaded.classifier)
        report = scan_by(loaded, scanning, samples=clean, progress=progress)
    except Failed as error:
        return failed(f"failed: {error}", loaded.model)
    except (Exception, SystemExit) as error:
        return failed(f"failed: {_blamed(error, scanning)} raised {raised(error)}", loaded.model)
    return Outcome(report, report.exit_code)


def _trusted(
    path: str | Path, loading: LoadOptions, scanning: ScanOptions, refusal: Refused, trust: Trust
) -> Outcome:
    """The outcome for a file that is a program, which somebody wants to be run."""
    from mmbd.detectors.scan import unevaluable
    from mmbd.workflows import trusted

    named = clean_text(str(path), 400)
    try:
        report = trusted.scan(path, loading, scanning, refusal, unsandboxed=trust == "unsandboxed")
        return Outcome(report, report.exit_code)
    except Refused as error:
        words, code = f"refused: {error}", REFUSED
    except NotEvaluable as error:
        words, code = f"{named}: {error}", REFUSED
    except Failed as error:
        words, code = f"failed: {named}: {error}", FAILED
    except (Exception, SystemExit) as error:
        words, code = f"failed: {named}: {raised(error)}", FAILED
    return Outcome(unevaluable(words, how=scanning, info=unread(path)), code)


def references(paths: Sequence[Path], loading: LoadOptions, scanning: ScanOptions) -> References:
    """Statistics of clean models of the same domain, from models or from reports on them.

    Args:
        paths: JSON reports, model files, or folders of either. In a folder, JSON that is no
            report (a model's card), artifacts of reports and files of other kinds are passed over.
        loading: as for the models under test.
        scanning: as for the models under test, so that the statistics compare.

    Raises:
        Failed: a named file is neither, a model or a JSON file cannot be read, a report is broken
            (also in a folder: with one reference less the p-value would be another), or settings
            differ.
    """
    from mmbd.detectors import DETECTORS
    from mmbd.formats.table import SUFFIXES
    from mmbd.null.references import References
    from mmbd.results import artifacts

    reports: list[tuple[Path, Report]] = []
    # References are compared by MM-BD's margins, whichever detector wants them; each is scanned once.
    ours = scanning.row.find is DETECTORS["mm-bd"].find
    options = {name: value for name, value in scanning.options.items() if ours and name != "null"}
    detector = scanning.detector if ours else "mm-bd"
    wanted = replace(
        scanning, detector=detector, seeds=1, budget=None, options=options | {"universal": False}
    )
    for path in paths:
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        for file in inside:
            if file.suffix == ".json":
                report = _reference(file, named=file is path)
                if report is not None:
                    reports.append((file, report))
            elif file is path or (file.suffix in SUFFIXES and not file.name.endswith(artifacts.SUFFIX)):
                reports.append((file, _scanned(file, loading, wanted)))
    if not reports:
        raise Failed(f"no reference models or reports in {', '.join(map(str, paths))}")
    return References.from_reports(reports)


def _reference(file: Path, *, named: bool) -> Report | None:
    """The report in a JSON file; None for other JSON in a folder, where nobody named it."""
    where = reading.named(file)
    try:
        text = reading.text(file, MOST_BYTES)
        if not named and not claims_to_be_a_report(text):
            return None
        return Report.from_json(text)
    except (OSError, ValueError) as error:
        said = reading.said(error) if isinstance(error, ValueError) else str(error)
        said = said.removeprefix(f"{where}: ")
        hint = "" if named else "; mend it, or take it out of the folder"
        raise Failed(f"reference {where}: {said}{hint}") from error


def claims_to_be_a_report(text: str) -> bool:
    """Whether JSON says that it is a report, be it a broken one; what is no JSON may be one."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return True
    return (
        isinstance(found, dict) and "schema" in found and not found.keys().isdisjoint({"verdict", "finding"})
    )


def _scanned(file: Path, loading: LoadOptions, scanning: ScanOptions) -> Report:
    from mmbd.detectors.scan import scan_by
    from mmbd.formats.loading import load_file

    try:
        return scan_by(load_file(file, loading), scanning)
    except (Refused, NotEvaluable, Failed) as error:
        raise Failed(f"reference {file}: {error}") from error
    except (Exception, SystemExit) as error:
        raise Failed(f"reference {file}: {_blamed(error, scanning)} raised {raised(error)}") from error


def _blamed(error: BaseException, scanning: ScanOptions) -> str:
    """Whose code raised the error that is being handled: the network's, or the detector's.

    A network may raise anything, and even call sys.exit. The detector is to blame for wrong values and
    types that its own code complains of.
    """
    *_, (frame, _) = traceback.walk_tb(sys.exc_info()[2])
    place = str(frame.f_globals.get("__name__"))
    own = place.startswith(DETECTING) or place == scanning.row.find.__module__
    complaint = issubclass(type(error), ValueError | TypeError)
    return f"the detector {scanning.name}" if own and complaint else "the model"


def raised(error: BaseException) -> str:
    """What somebody's code raised, in one clean line."""
    try:
        words = str(error).strip()
    except Exception:  # exceptions can be somebody's code, too
        words = ""
    return f"{type(error).__name__}: {clean_text(words or 'no message', 600)}"


def worst(codes: Iterable[int]) -> int:
    """The exit code for several models: 1 over 3 over 2 over 0."""
    return max(codes, key=SEVERITY.index, default=CLEAN)
