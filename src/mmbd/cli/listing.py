"""`mmbd list`: what can be named on the command line, one line each, from the tables themselves."""

from __future__ import annotations

import inspect
import json as to_json
from functools import partial
from importlib import import_module
from typing import Annotated, Any, Literal

from mmbd.base.text import clean_text
from mmbd.cli import streams
from mmbd.cli.options import OUTPUT, Plain

# By the word on the command line: the tables, each with a word for its rows where there are several.
# They are imported when they are shown.
TABLES: dict[str, tuple[tuple[str, str], ...]] = {
    "detectors": (("", "mmbd.detectors:DETECTORS"),),
    "attacks": (("", "mmbd.attacks:ATTACKS"), ("clean", "mmbd.attacks:HARD_CLEAN")),
    "methods": (("", "mmbd.mitigators:MITIGATORS"),),
    "networks": (("", "mmbd.nets:ARCHITECTURES"),),
    "presets": (("", "mmbd.zoo.presets:PRESETS"),),
    "formats": (("read", "mmbd.formats.table:FORMATS"), ("written", "mmbd.formats.export:EXPORTS")),
    "nulls": (("", "mmbd.null:NULLS"),),
    "data": (("samples", "mmbd.data.read:READERS"), ("zoo", "mmbd.zoo.read:READERS")),
    "reports": (("", "mmbd.render.save:RENDERERS"),),
}
Table = Literal[
    "detectors", "attacks", "methods", "networks", "presets", "formats", "nulls", "data", "reports"
]


def list_(table: Table, /, *, json: Annotated[bool, Plain, OUTPUT] = False) -> int:
    """List what other commands take by name, one line each: the name, and what it is.

    Args:
        table: detectors (mmbd scan --detector), nulls (mmbd scan --null), methods (mmbd fix --method),
            attacks and kinds of difficult clean models (mmbd train --attack), networks (--arch),
            presets (mmbd train --preset), formats (of model files, read and written), data (kinds of
            samples and of zoos that are read), or reports (what --out writes).
        json: Print a JSON list of objects with name, kind and title.
    """
    found = rows(table)
    if json:
        streams.say(to_json.dumps(found, indent=1))
        return 0
    width = max(len(row["name"]) for row in found)
    for row in found:
        kind = f"{row['kind']}: " if row["kind"] else ""
        streams.say(f"{row['name']:{width}}  {kind}{row['title']}".rstrip())
    return 0


def rows(table: str) -> list[dict[str, str]]:
    """What is in a table: name, title, and kind where the table has several."""
    found: list[dict[str, str]] = []
    for kind, place in TABLES[table]:
        module, _, name = place.partition(":")
        for key, row in getattr(import_module(module), name).items():
            shown = " ".join(key) if isinstance(key, tuple) else str(key)
            found.append({"name": clean_text(shown), "kind": kind, "title": title(row)})
    return found


def title(row: Any) -> str:
    """What a row is, in one line: its own title, or the first line of its function's docstring.

    Preset options, by which rows of one title differ, come behind its name; behind it all come what it
    compares a model with, what it needs and its suffixes.
    """
    words = getattr(row, "title", None) or getattr(getattr(row, "about", None), "title", None)
    if words is None:
        function = row.func if isinstance(row, partial) else row
        words = (inspect.getdoc(function) or "").partition("\n")[0]
    if preset := [f"{name}={value}" for name, value in getattr(row, "options", {}).items()]:
        name, colon, rest = words.partition(": ")
        words = f"{name} with {', '.join(preset)}{colon}{rest}"
    basis, needs = getattr(row, "basis", ""), sorted(getattr(row, "needs", ()))
    notes = [f"needs {', '.join(needs)}"] if needs else []
    notes += getattr(row, "suffixes", ())
    more = f" ({', '.join(notes)})" if notes else ""
    return clean_text(f"{words}{': ' if basis else ''}{basis}{more}", 300)
