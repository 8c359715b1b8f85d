"""Whether a statement on a model stands: for these files, with this table, and by its own numbers.

Nothing of the model is read but its bytes, for their digest, and nothing is searched for: it takes a second.
So this is what an admission step asks. It finds a statement that is for other files, one whose
parts were changed, one made with another table, level or policy than is asked for, and an exception that has
expired since. Who wrote a statement it does not find: that is what signatures are for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.base.text import clean_text
from mmbd.null import tables
from mmbd.workflows.policy import Policy, today
from mmbd.workflows.statement import POLICY, SETTINGS, TABLE, Statement, statement

FAILED, REFUSED = 2, 3
CHUNK = 1 << 20
WORDS = {SETTINGS: "settings", TABLE: "table of clean networks", POLICY: "policy"}


@dataclass(frozen=True)
class Verification:
    """What came of it.

    Args:
        code: 2 where the statement does not stand, 3 where nobody can tell, else the exit code of its scan.
        against: what does not fit, in sentences; empty where it stands or nobody can tell.
        open: why nobody can tell; None where somebody can.
        notes: what to bear in mind.
    """

    code: int
    against: tuple[str, ...] = ()
    open: str | None = None
    notes: tuple[str, ...] = ()


def verify(
    made: Statement,
    model: str | Path,
    *,
    level: float | None = None,
    policy: Policy | None = None,
    day: str | None = None,
) -> Verification:
    """Hold a statement against a model, against itself, and against what is asked for.

    Args:
        made: the statement.
        model: the model's file, or the folder that holds all of its files.
        level: the false-positive rate that it has to have been made at.
        policy: the one that it has to have been made under, whose level counts too.
        day: YYYY-MM-DD, which its exception is held against; today by default.

    Raises:
        FileNotFoundError, Failed: the model cannot be read.
    """
    from mmbd.workflows.rederived import Underivable, disagreements

    report, day = made.report, today() if day is None else day
    against = [*_files(made, Path(model)), *_parts(made), *_asked(made, level, policy)]
    why_open = None
    try:
        against += disagreements(report)
    except Underivable as error:
        why_open = str(error)
    notes: list[str] = []
    if made.enveloped:
        notes.append("the statement's signature was not checked here")
    code = report.exit_code
    ruling = report.ruling
    if ruling is not None and ruling.exception is not None and ruling.exception.expired(day):
        code = report.scan_code or REFUSED
        notes.append(f"the exception that accepted it expired on {ruling.exception.expires}")
    if against:
        return Verification(FAILED, tuple(against), notes=tuple(notes))
    if why_open is not None:
        return Verification(REFUSED, open=why_open, notes=tuple(notes))
    return Verification(code, notes=tuple(notes))


def _files(made: Statement, model: Path) -> list[str]:
    """Where the model's files are others than the statement's."""
    names = list(made.subjects)
    folder, own = (model, model / names[0]) if model.is_dir() else (model.parent, model)
    said: list[str] = []
    for name, digest in made.subjects.items():
        place = own if name == names[0] else folder / name
        if not place.exists() and name != names[0]:
            said.append(f"it is for a model with the file {clean_text(name)}, which is not there")
            continue
        found = sha256(place)
        if found != digest:
            told = "another file" if name == names[0] else f"another {clean_text(name)}"
            said.append(f"it is for {told}, with the SHA-256 {clean_text(digest)}; this one has {found}")
    return [*said, *_others(folder, own, names)]


def _others(folder: Path, own: Path, names: list[str]) -> list[str]:
    """Weights in a hub's folder that would be taken instead of those that the statement names."""
    from mmbd.formats.hub_folder import FILE, WEIGHTS

    if own.name != FILE:
        return []
    known = next((place for place, name in enumerate(WEIGHTS) if name in names), len(WEIGHTS))
    first = next((name for name in WEIGHTS[:known] if (folder / name).exists()), None)
    return [] if first is None else [f"the folder holds {first}, which the statement does not know"]


def sha256(path: Path) -> str:
    """The digest of a regular file's bytes; FileNotFoundError or Failed where they cannot be read."""
    digest = hashlib.sha256()
    with reading.opened(path) as file:
        try:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        except OSError as error:
            raise Failed(f"{reading.named(path)}: the file cannot be read: {error}") from error
    return digest.hexdigest()


def _parts(made: Statement) -> list[str]:
    """Where the statement's own parts say otherwise than the report inside."""
    report, said = made.report, list[str]()
    try:
        anew = statement(report)
    except ValueError as error:
        return [str(error)]
    told, known = made.digests, Statement(anew, report).digests
    table = tables.digest(report.finding.decided_by or "")
    if told.get(TABLE) != table:
        theirs = clean_text(told.get(TABLE) or "none")
        said.append(f"it was made with another table of clean networks, {theirs}; this release has {table}")
    for name in sorted((told.keys() | known.keys()) - {TABLE}):
        if told.get(name) != known.get(name):
            said.append(f"its {WORDS.get(name, clean_text(name))} is not that of the report inside")
    if {item["digest"]["sha256"] for item in made.raw["subject"]} != {
        item["digest"]["sha256"] for item in anew["subject"]
    }:
        said.append("its subjects are not the files of the report inside")
    predicate, wanted = made.raw["predicate"], anew["predicate"]
    for name in ("result", "passedTests", "warnedTests", "failedTests"):
        if predicate.get(name) != wanted[name]:
            said.append(f"its {name} is not that of the report inside, {wanted[name] or 'none'}")
    return said


def _asked(made: Statement, level: float | None, policy: Policy | None) -> list[str]:
    """Where it was made otherwise than is asked for."""
    report, said = made.report, list[str]()
    wanted = {
        "level": level if level is not None else policy and policy.level,
        "detector": policy and policy.detector,
    }
    for name, value in wanted.items():
        if value is not None and getattr(report, name) != value:
            said.append(
                f"it was made at the {name} {clean_text(getattr(report, name))}; {value} is asked for"
            )
    if policy is not None and made.digests.get(POLICY) != policy.sha256:
        theirs = made.digests.get(POLICY)
        under = "without a policy" if theirs is None else f"under another policy, {clean_text(theirs)}"
        said.append(f"it was made {under}; {clean_text(policy.file, 200)} has {policy.sha256}")
    accepting = None if report.ruling is None else report.ruling.exception
    if policy is not None and accepting not in (None, policy.exception_for(report.model.digest)):
        said.append(f"its exception is none of {clean_text(policy.file, 200)}")
    return said
