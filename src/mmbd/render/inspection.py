"""What `mmbd inspect` found, for people: a headline a file, and a line a fact."""

from __future__ import annotations

from collections.abc import Iterator

from mmbd.base.text import brief, clean_text, count, listed, size
from mmbd.workflows.inspect_file import READABLE, Inspection

SHOWN = 10
LONG = 400


def inspection(found: Inspection) -> str:
    """One file as lines of plain text, ready to print."""
    facts = list(_facts(found))
    width = max((len(name) for name, _ in facts), default=0)
    lines = [_headline(found), *(f"  {name:{width}}  {value}" for name, value in facts)]
    lines += [f"  - {clean_text(note, 1000)}" for note in found.notes]
    return "\n".join(lines)


def _headline(found: Inspection) -> str:
    name = clean_text(found.file, LONG)
    if found.state != READABLE:
        reason = (found.reason or "").removeprefix(f"{found.file}: ")
        reason = reason.removeprefix("refused, and nothing in it was run: ")
        return f"{found.state}: {name}: {clean_text(reason, 2000)}"
    needed = f"; to scan it give {' and '.join(found.needed)}" if found.needed else ""
    return f"{found.state}: {name}: {clean_text(found.format, 200)}{needed}"


def _facts(found: Inspection) -> Iterator[tuple[str, str]]:
    if found.path not in (None, found.file):
        yield "file", clean_text(found.path, LONG)
    if found.bytes is not None:
        yield "size", size(found.bytes)
    if found.sha256 is not None:
        yield "SHA-256", clean_text(found.sha256)
    for name, digest in found.beside.items():
        yield "beside it", f"{clean_text(name)}, SHA-256 {clean_text(digest)}"
    if found.architecture is not None:
        yield "architecture", clean_text(found.architecture, 200)
    if found.tensors is not None:
        yield "tensors", count(found.tensors)
    if found.parameters is not None:
        yield ("parameters" if found.architecture is not None else "numbers"), count(found.parameters)
    if found.input_shape is not None:
        yield "inputs", "x".join(map(str, found.input_shape)) + _range(found)
    if found.classes is not None:
        names = f" ({listed(found.class_names, SHOWN)})" if found.class_names else ""
        yield "classes", f"{count(found.classes)}{names}"
    if found.claimed:
        yield "by its own words", listed(found.claimed, 20)
    if found.assumed:
        yield "assumed", clean_text("; ".join(found.assumed), LONG)
    if found.doubts:
        yield "doubtful", clean_text("; ".join(found.doubts), LONG)
    if found.would_run:
        yield "would run", listed(found.would_run, SHOWN)


def _range(found: Inspection) -> str:
    said = "" if found.bounds is None else " from {} to {}".format(*map(brief, found.bounds))
    if found.mean is not None:
        said += f", mean {' '.join(map(brief, found.mean))}"
    if found.std is not None:
        said += f", std {' '.join(map(brief, found.std))}"
    return said
