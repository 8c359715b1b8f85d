"""Where results go, looked at before any work begins, as that may take hours."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.base.text import clean_text
from mmbd.cli.options import Usage

HEADER = 1 << 20  # bytes of the list of tensors in a file of artifacts; there are some dozens at most


def file(
    option: str, given: str | Path, suffixes: Sequence[str], inputs: Iterable[Path] = (), *, other: str = ""
) -> Path:
    """The file that an option names, once it can be written.

    Args:
        option: for messages, such as "--json".
        given: as on the command line.
        suffixes: what its name may end in.
        inputs: what is read, and may not be overwritten.
        other: what else the option takes, for the message.

    Raises:
        Usage: another ending, no such folder, no regular file, or an input.
        Failed: nothing can be written in its folder.
    """
    path = Path(given)
    shown = f"{option} {clean_text(given, 200)}"
    if path.is_dir():
        raise Usage(f"{shown}: that is a folder, expected a file")
    name = path.name.lower()
    if not any(name.endswith(suffix) and name != suffix for suffix in suffixes):
        raise Usage(f"{shown}: expected a name that ends in {_either(suffixes)}{other}")
    check_apart(option, path, inputs)
    if path.exists() and not path.is_file():
        raise Usage(f"{shown}: no regular file")
    if not path.parent.is_dir():
        raise Usage(f"{shown}: there is no folder {clean_text(path.parent, 200)}: make it first")
    if _special(path.parent):
        raise Usage(f"{shown}: nothing is written to {path.parent.resolve()}")
    check_writable(option, path.parent)
    return path


def folder(option: str, given: str | Path, *, make: bool = True) -> Path:
    """The folder that an option names, once it can be written to.

    Args:
        option: for messages.
        given: as on the command line.
        make: make it, where it is not there; otherwise see whether that will be possible.

    Raises:
        Usage: something else has that name.
        Failed: it cannot be made, or not written to.
    """
    path = Path(given)
    shown = f"{option} {clean_text(given, 200)}"
    if os.path.lexists(path) and not path.is_dir():
        raise Usage(f"{shown}: that is a file, expected a folder")
    try:
        if make:
            path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failed(f"{shown}: the folder cannot be made: {error.strerror}") from error
    there = next(place for place in (path, *path.absolute().parents) if place.is_dir())
    check_writable(option, there)
    return path


def check_apart(option: str, path: Path, inputs: Iterable[Path]) -> None:
    """Usage where `path` is one of the inputs, by whatever name."""
    for one in inputs:
        if path.exists() and one.exists() and path.samefile(one):
            raise Usage(
                f"{option} {clean_text(path, 200)}: that is an input, {clean_text(one, 200)}: "
                "give another name"
            )


def check_artifacts(option: str, report: Path, inputs: Iterable[Path]) -> Path:
    """The file that keeps the artifacts of the report at `report`, if it may be replaced.

    Raises:
        Usage: it is one of the inputs, or something else than artifacts of an earlier report.
    """
    from mmbd.results.artifacts import SUFFIX

    place = report.with_name(report.stem + SUFFIX)
    check_apart(option, place, inputs)
    if os.path.lexists(place) and not _holds_artifacts(place):
        raise Usage(
            f"{option} {clean_text(report, 200)}: its pictures go to {clean_text(place.name, 200)}, which is "
            "there and was not written with a report: give another name, or move that file"
        )
    return place


def _holds_artifacts(place: Path) -> bool:
    """Whether a file is what `results.artifacts.write` makes: tensors that are all called artifact.N."""
    try:
        start = reading.start(place, HEADER)
        names = json.loads(start[8 : 8 + int.from_bytes(start[:8], "little")])
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(names, dict) and all(name.removeprefix("artifact.").isdecimal() for name in names)


def check_writable(option: str, place: Path) -> None:
    """Make a file in a folder and take it away again; Failed where that does not work."""
    probe = place / f".{secrets.token_hex(8)}.mmbd"
    try:
        with probe.open("xb"):
            pass
        probe.unlink()
    except OSError as error:
        raise Failed(
            f"{option}: cannot write to the folder {clean_text(place, 200)}: {error.strerror}"
        ) from error


def _special(place: Path) -> bool:
    """Whether names there are no files: replacing /dev/stdout would take it from everybody."""
    top = place.resolve().parts[1:2]
    return os.name == "posix" and top in {("dev",), ("proc",), ("sys",)} and not _shm(place)


def _shm(place: Path) -> bool:
    return place.resolve().parts[1:3] == ("dev", "shm")


def _either(words: Sequence[str]) -> str:
    return f"one of {', '.join(words)}" if len(words) > 2 else " or ".join(words)
