"""A manifest: the models of a fleet in TOML, with what their files do not say and how to scan them.

    [defaults]                           # optional: any field of a model, for all that do not say otherwise
    data = "clean/cifar10"
    labels = { team = "vision" }

    [[model]]
    path = "cats/v7.safetensors"         # a file, or the folder of one model; the one field that must be
    name = "cats"                        # over all its versions; the path by default
    arch = "resnet18"                    # and arch_args, input, bounds, mean, std, classes, class_names,
    input = "3x32x32"                    # entry, output, ends_in, as_claimed, device: as of mmbd scan
    detector = "mm-bd"                   # and options (a table), level, seed, seeds, budget, per_class
    group = "cifar10"
    references = "group"                 # the others of its group; or paths of clean models and reports
    policy = "mmbd.toml"                 # passed on to a gate

Relative paths begin at the manifest's folder. Everything is checked before anything is scanned: an unknown
field is refused with the nearest known one, as are missing files, models given twice and values that make no
sense.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmbd.base import reading
from mmbd.base.choose import unknown
from mmbd.base.text import clean_text
from mmbd.detectors.scan import ScanOptions, require_needs
from mmbd.formats.class_names import read_class_names
from mmbd.formats.options import LoadOptions
from mmbd.workflows.fleet.entry import Entry

GROUP = "group"  # the value of `references` that means the others of the group
# Fields of a model, and what kind of value each has.
LOADING = {
    **dict.fromkeys(("arch", "entry", "ends_in", "device"), "a text"),
    "arch_args": "a table",
    "input": "lengths such as [3, 32, 32]",
    "bounds": "two numbers",
    **dict.fromkeys(("mean", "std"), "a number or numbers"),
    "classes": "a whole number",
    "class_names": "a path or a list of texts",
    "output": "a text or a whole number",
    "as_claimed": "true or false",
}
SCANNING = {
    "detector": "a text",
    "options": "a table",
    **dict.fromkeys(("level", "budget"), "a number"),
    **dict.fromkeys(("seed", "seeds"), "a whole number"),
}
OTHERS = {
    **dict.fromkeys(("path", "name", "group", "policy", "data"), "a text"),
    "per_class": "a whole number",
    "references": '"group", a path or a list of paths',
    "labels": "a table of texts and numbers",
}
FIELDS = {**OTHERS, **LOADING, **SCANNING}


def read(path: Path, loading: LoadOptions, scanning: ScanOptions) -> list[Entry]:
    """The models of a manifest.

    Args:
        path: the file.
        loading: what holds where the manifest says nothing.
        scanning: the same.

    Raises:
        ValueError: whatever is wrong with it, in one line.
    """
    try:
        raw = tomllib.loads(reading.text(path))
    except (OSError, RecursionError) as error:
        raise ValueError(f"{reading.named(path)}: the manifest cannot be read: {error}") from error
    except ValueError as error:
        words = clean_text(str(error), 300).removeprefix(f"{reading.named(path)}: ")
        raise ValueError(f"{reading.named(path)}: {words}") from error
    try:
        return _entries(raw, path.parent, loading, scanning)
    except (ValueError, OSError) as error:
        raise ValueError(f"{reading.named(path)}: {error}") from error


def _entries(
    raw: Mapping[str, Any], folder: Path, loading: LoadOptions, scanning: ScanOptions
) -> list[Entry]:
    _known(raw, ("model", "defaults"), "the manifest")
    defaults, models = raw.get("defaults", {}), raw.get("model", [])
    if not isinstance(defaults, dict):
        raise ValueError("defaults: expected a table, [defaults]")
    _known(defaults, [name for name in FIELDS if name not in ("path", "name")], "[defaults]")
    if not isinstance(models, list) or not all(isinstance(model, dict) for model in models) or not models:
        raise ValueError("no models: write every model as a block of its own, [[model]]")
    found: dict[str, Entry] = {}
    said: dict[str, str] = {}
    for number, model in enumerate(models, start=1):
        shown = model.get("name", model.get("path"))
        where = f"model {number}" + (f" ({clean_text(shown, 80)})" if isinstance(shown, str) else "")
        _known(model, FIELDS, where)
        labels = {**_table(defaults, "labels", "[defaults]"), **_table(model, "labels", where)}
        try:
            entry = _entry({**defaults, **model, "labels": labels}, folder, loading, scanning)
        except (ValueError, OSError) as error:
            raise ValueError(f"{where}: {error}") from error
        if entry.name in found:
            raise ValueError(f"{where}: an earlier model is called {clean_text(entry.name)!r}, too")
        # The same file may be scanned in two ways, but not twice in one.
        way = repr(replace(entry, name="", path=entry.path.resolve(), labels={}))
        if way in said:
            raise ValueError(f"{where}: the same file with the same settings as {clean_text(said[way])!r}")
        found[entry.name], said[way] = entry, entry.name
    return list(found.values())


def _entry(given: Mapping[str, Any], folder: Path, loading: LoadOptions, scanning: ScanOptions) -> Entry:
    for name, value in given.items():
        _require(name, value)
    if "path" not in given:
        raise ValueError("the path is missing")
    how = {name: given[name] for name in SCANNING if name in given}
    if "options" in how:
        how["options"] = {**scanning.options, **how["options"]}
    scan = replace(scanning, **how)
    references = given.get("references", [])
    in_group = references == GROUP
    if in_group and not given.get("group"):
        raise ValueError('references = "group" needs a group')
    if in_group and "race" in (scan.row.takes or ()):  # what falls behind in a race compares with nothing
        scan = replace(scan, options={"race": False, **scan.options})
    paths = [] if in_group else [references] if isinstance(references, str) else references
    data = None if "data" not in given else _there(folder, given["data"], "data")
    require_needs(replace(scan, options={**scan.options, "references": ()}) if paths else scan, data)
    policy = given.get("policy")
    return Entry(
        name=given.get("name", given["path"]),
        path=_there(folder, given["path"], "path"),
        loading=_loading(given, folder, loading),
        scanning=scan,
        data=data,
        per_class=given.get("per_class"),
        references=tuple(_there(folder, one, "references") for one in paths),
        group=given.get("group", ""),
        leave_one_out=in_group,
        labels=given["labels"],
        policy=None if policy is None else str(_there(folder, policy, "policy")),
    )


def _loading(given: Mapping[str, Any], folder: Path, loading: LoadOptions) -> LoadOptions:
    told = {name: given[name] for name in LOADING if name in given}
    if "input" in told:
        told["input_shape"] = _shape(told.pop("input"))
    if "bounds" in told and not told["bounds"][0] < told["bounds"][1]:
        raise ValueError(f"bounds: expected the lower one first, got {told['bounds']}")
    for name in ("bounds", "mean", "std"):
        if isinstance(told.get(name), list):
            told[name] = tuple(map(float, told[name]))
    names = told.get("class_names")
    if isinstance(names, str):
        told["class_names"] = read_class_names(_there(folder, names, "class_names"))
    file, colon, factory = told.get("arch", "").rpartition(":")
    if colon and file.endswith(".py"):
        told["arch"] = f"{_there(folder, file, 'arch')}:{factory}"
    elif told.get("arch", "").endswith(".json"):
        told["arch"] = str(_there(folder, told["arch"], "arch"))
    return replace(loading, **told)


def _there(folder: Path, given: str, field: str) -> Path:
    """A path that begins at the manifest's folder; ValueError where nothing is."""
    path = folder / given
    try:
        path.stat()
    except (OSError, ValueError):
        raise ValueError(f"{field}: there is no {clean_text(str(path), 200)}") from None
    return path


def _shape(value: object) -> tuple[int, ...]:
    lengths = value.lower().split("x") if isinstance(value, str) else value
    assert isinstance(lengths, list)
    try:
        found = tuple(map(int, lengths))
    except (TypeError, ValueError):
        found = ()
    if not found or min(found) < 1:
        raise ValueError(f"input: expected {LOADING['input']}, got {reading.brief(value)}")
    return found


def _known(
    table: Mapping[str, Any], known: Mapping[str, Any] | list[str] | tuple[str, ...], where: str
) -> None:
    names = list(known)
    for name in table:
        if name not in names:
            raise ValueError(f"{where}: {unknown('field', name, names)}")


def _table(raw: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    found = raw.get(name, {})
    if not isinstance(found, dict):
        raise ValueError(f"{where}: {name}: expected a table, got {reading.brief(found)}")
    return found


def _number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(float(value))  # pyright: ignore[reportArgumentType]


def _require(name: str, value: Any) -> None:
    """ValueError where a field's value is not of its kind, or out of its range."""
    several = isinstance(value, list)
    fits = {
        "a text": lambda: isinstance(value, str) and bool(value),
        "a whole number": lambda: type(value) is int and value >= (0 if name == "seed" else 1),
        "a number": lambda: _number(value) and value > 0,
        "true or false": lambda: isinstance(value, bool),
        "a table": lambda: isinstance(value, dict),
        "two numbers": lambda: several and len(value) == 2 and all(map(_number, value)),
        "a number or numbers": lambda: _number(value) or (several and value and all(map(_number, value))),
        "a text or a whole number": lambda: isinstance(value, str) or type(value) is int,
        "a path or a list of texts": lambda: isinstance(value, str) or _texts(value),
        OTHERS["references"]: lambda: (isinstance(value, str) and bool(value)) or _texts(value),
        OTHERS["labels"]: lambda: _labels(value),
        LOADING["input"]: lambda: isinstance(value, str | list),
    }
    if not fits[FIELDS[name]]():
        raise ValueError(f"{name}: expected {FIELDS[name]}, got {reading.brief(value)}")


def _texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) and one for one in value)


def _labels(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(one, str | bool) or _number(one) for one in value.values()
    )
