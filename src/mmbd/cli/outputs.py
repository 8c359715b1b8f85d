"""The files of a scan: where each report goes is settled before the first model is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmbd.base.text import clean_text
from mmbd.cli import naming, places, streams
from mmbd.cli.options import Usage

if TYPE_CHECKING:
    from mmbd.results.report import Report

SARIF = (".sarif", ".json")


@dataclass(frozen=True)
class Outputs:
    """Files by model, in the order of the command line, and the one about all."""

    models: tuple[Path, ...]
    files: tuple[tuple[Path, ...], ...]
    sarif: Path | None

    def write(self, number: int, report: Report) -> bool:
        """Write what one model's report goes to; whether that worked, else it has been said."""
        done = True
        for files in self.files:
            file, model = files[number], self.models[number]
            done &= _attempt(file, lambda file=file: report.save(file))
            if file.name != f"{model.name}{file.suffix}" and len(self.models) > 1:
                streams.complain(f"{clean_text(model, 400)}: report in {clean_text(file, 400)}")
        return done

    def write_all(self, reports: Sequence[Report]) -> bool:
        """Write what is about all models."""
        from mmbd.base.writing import write_text
        from mmbd.render.sarif import sarif

        file = self.sarif
        return file is None or _attempt(file, lambda: write_text(file, sarif(reports) + "\n"))


def plan(
    models: Sequence[Path],
    *,
    json_to: str | None,
    html_to: str | None,
    sarif_to: str | None,
    inputs: Sequence[Path],
) -> Outputs:
    """Check every place, and make the folders.

    Args:
        models: as given.
        json_to: a file, a folder, or "-", which is none.
        html_to: a file or a folder.
        sarif_to: a file.
        inputs: all that is read, which may not be overwritten.

    Raises:
        Usage: a place that cannot be.
        Failed: a folder that cannot be written to.
    """
    given = [("--json", ".json", None if json_to == "-" else json_to), ("--html", ".html", html_to)]
    wanted = [(option, suffix, place) for option, suffix, place in given if place is not None]
    if len(models) > 1 and not all(_is_folder(place) for _, _, place in wanted):
        raise Usage("with several models, --json and --html take a folder (or --json -)")
    if html_to == "-":
        raise Usage("--html -: expected a file or a folder; --json - prints")
    # All files are looked at before the first folder is made.
    sarif = None if sarif_to is None else places.file("--sarif", sarif_to, SARIF, inputs)
    single = {
        option: places.file(option, place, [suffix], inputs, other=", or a folder")
        for option, suffix, place in wanted
        if not _is_folder(place)
    }
    if sarif is not None and sarif in single.values():
        raise Usage(f"--sarif {clean_text(sarif, 200)}: --json goes there already")
    found: list[tuple[Path, ...]] = []
    for option, suffix, place in wanted:
        if option in single:
            found.append((single[option],))
            continue
        files = naming.reports(models, places.folder(option, place), suffix)
        for file in files:
            places.check_apart(option, file, inputs)
        found.append(tuple(files))
    return Outputs(tuple(models), tuple(found), sarif)


def _is_folder(place: str) -> bool:
    """A folder that is there, whatever its name, or a name without a suffix."""
    path = Path(place)
    if os.path.lexists(path):
        return path.is_dir()
    return place.endswith(("/", os.sep)) or not path.suffix


def _attempt(file: Path, act: Callable[[], object]) -> bool:
    try:
        act()
    except Exception as error:  # a full disk, a folder that has gone, or a bug in a renderer
        words = clean_text(error, 400) or type(error).__name__
        streams.complain(f"cannot write {clean_text(file, 400)}: {words}")
        return False
    return True
