"""`mmbd report`: stored reports, shown and written again in any form."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.base.text import clean_text
from mmbd.cli import streams
from mmbd.cli.options import INPUT, OUTPUT, Plain
from mmbd.cli.outputs import EVERYTHING_PRINTED, Destinations, plan
from mmbd.cli.scan import show
from mmbd.workflows import scan_file as gate

if TYPE_CHECKING:
    from mmbd.results.report import Report

# Other results that are stored as JSON, by what only they have.
OTHERS = {
    frozenset(("record", "held_out")): "the record of a repair (mmbd fix)",
    frozenset(("zoo", "tables")): "an evaluation (mmbd evaluate)",
}


def report(
    stored: Annotated[list[Path], Plain, INPUT],
    /,
    *,
    to: Annotated[Destinations, OUTPUT] = EVERYTHING_PRINTED,
) -> int:
    """Show reports that mmbd scan has stored, and write them again in other forms.

    Reports of older releases are read too (schema 2), and written as this release writes them.

    Exit codes are those of the verdicts: 0 clean, 1 backdoored, 3 not evaluable; 2 where a report
    cannot be read, 4 usage. With several reports the worst decides: 1 over 3 over 2 over 0.

    Args:
        stored: JSON reports, or folders of them. In a folder, JSON that is no report is passed over.
        to: Where the reports go.
    """
    from mmbd.render.terminal import line

    found: list[tuple[Path, Report]] = []
    codes: list[int] = []
    for path in stored:
        for file in _files(path):
            try:
                found.append((file, _read(file)))
            except Failed as error:
                streams.complain(clean_text(error, 1000))
                codes.append(gate.FAILED)
    if not found:
        if not codes:
            raise Failed(f"no reports in {', '.join(reading.named(path) for path in stored)}")
        return gate.FAILED
    files, reports = [file for file, _ in found], [one for _, one in found]
    outputs = plan(
        "report",
        to.wanted,
        [file.with_suffix("") for file in files],
        [*files, *map(_artifacts, files)],
        about=[Path(one.model.file or one.model.name) for one in reports],
    )
    console = streams.console()
    done = True
    models = Counter(one.model.file or one.model.name for one in reports)
    for number, one in enumerate(reports):
        if outputs.printed is None and models[one.model.file or one.model.name] > 1:
            streams.say(f"{line(one)} [{clean_text(files[number], 400)}]")
        elif outputs.printed is None:
            show(one, console, brief=to.quiet or len(reports) > 1)
        done &= outputs.write(number, one)
    done &= outputs.write_all(reports)
    return gate.worst([*codes, *(one.exit_code for one in reports), *([] if done else [gate.FAILED])])


def _files(path: Path) -> list[Path]:
    """The file of a report, or those in a folder."""
    if not path.is_dir():
        return [path]
    return [file for file in sorted(path.iterdir()) if file.suffix == ".json" and _may_be_a_report(file)]


def _may_be_a_report(file: Path) -> bool:
    """Whether it says that it is one, or cannot be read, which is for `_read` to say."""
    from mmbd.results.report import MOST_BYTES

    try:
        return gate.claims_to_be_a_report(reading.text(file, MOST_BYTES))
    except (OSError, ValueError):
        return True


def _read(file: Path) -> Report:
    """A stored report; Failed where it cannot be read, which names the file."""
    from mmbd.results.report import Report

    where = reading.named(file)
    try:
        return Report.load(file)
    except (OSError, ValueError) as error:
        said = reading.said(error) if isinstance(error, ValueError) else str(error)
        said = _other_result(file) or said.removeprefix(f"{where}: ")
        raise Failed(f"{where}: {said}") from error


def _other_result(file: Path) -> str:
    """What a file is that holds another kind of result; empty where it does not say."""
    from mmbd.results.report import MOST_BYTES

    try:
        fields = json.loads(reading.text(file, MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return ""
    for keys, what in OTHERS.items():
        if isinstance(fields, dict) and keys <= fields.keys():
            return f"this is {what}, expected a report that mmbd scan has stored"
    return ""


def _artifacts(file: Path) -> Path:
    from mmbd.results.artifacts import SUFFIX

    return file.with_name(file.stem + SUFFIX)
