"""What the scan of a model depends on, as the key of its result: digests of file, data and settings.

The settings are those of the detector that are no defaults, what the user says that the file does not, the
tables of clean networks that judge, and the references. The detector's own version is a part of every key.
Limits on time and memory are none: a result is as good whatever it was allowed to take.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from mmbd.base.errors import Failed
from mmbd.base.jsonable import jsonable
from mmbd.formats.options import LoadOptions
from mmbd.results import identity
from mmbd.results.store import Key
from mmbd.workflows.fleet.digests import Digests
from mmbd.workflows.fleet.entry import Entry

# Of loading: how a file is read, and not what it is taken for.
READING = ("sandbox", "max_bytes", "device")
# Options that hold other models, which count by the digests of their files.
OTHERS = ("references",)


@dataclass(frozen=True)
class Task:
    """The scan of a model, as a worker gets it: `digest` is of the file as it was when this was asked."""

    key: Key
    entry: Entry


@dataclass
class Asker:
    """Gives keys; digests of data and references are taken once a run."""

    digests: Digests
    _data: dict[Path, str] = field(default_factory=dict[Path, str])
    _settings: dict[tuple[int, ...], tuple[Any, str]] = field(
        default_factory=dict[tuple[int, ...], tuple[Any, str]]
    )

    def task(self, entry: Entry) -> Task:
        """What is to be done for an entry; Failed or OSError where a file of its cannot be read."""
        return Task(self.key(entry, self.digests.model(entry.path)), entry)

    def key(self, entry: Entry, digest: str) -> Key:
        """The key of the result for a model with this digest."""
        data = "" if entry.data is None else self._digest(entry.data)
        how = entry.scanning
        name = how.detector if isinstance(how.detector, str) else (identity.function(how.row.find) or "")
        return Key(digest, data, name, how.row.version, self._text(entry), how.level, how.seed)

    def _text(self, entry: Entry) -> str:
        """The settings as canonical JSON; those of many entries that share theirs are written once."""
        shared = (id(entry.scanning), id(entry.loading), *map(id, entry.references), entry.per_class or 0)
        if shared not in self._settings:
            parts = (entry.scanning, entry.loading, entry.references)  # kept, so that no other gets their ids
            self._settings[shared] = parts, self._written(entry)
        return self._settings[shared][1]

    def _written(self, entry: Entry) -> str:
        how = entry.scanning
        options = {
            name: value for name, value in {**how.row.options, **how.options}.items() if name not in OTHERS
        }
        method = identity.settings(how.row.find, options)
        if method is None:
            raise Failed(f"options of {how.name} that cannot be told from others: {sorted(options)}")
        found: dict[str, Any] = {
            "method": json.loads(method),
            "file": _told(entry.loading),
            "null": tables(),
            "references": sorted(self._digest(path) for path in entry.references),
            "per class": entry.per_class if entry.data else None,
            "seeds": how.seeds if how.seeds > 1 else None,
            "budget": how.budget,
        }
        return json.dumps({name: value for name, value in found.items() if value}, sort_keys=True)

    def _digest(self, path: Path) -> str:
        if path not in self._data:
            self._data[path] = self.digests.data(path)
        return self._data[path]


@cache
def tables() -> str:
    """A digest of all tables of clean networks that come with the package."""
    digest = hashlib.sha256()
    for file in sorted(files("mmbd.null").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".json"):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _told(loading: LoadOptions) -> Mapping[str, Any]:
    """What the user says of the file; an architecture from a file of Python counts by what is in it."""
    told = {
        each.name: getattr(loading, each.name)
        for each in fields(loading)
        if each.name in loading.given and each.name not in READING
    }
    arch = told.get("arch")
    if isinstance(arch, str):
        file = Path(arch.rpartition(":")[0] or arch)
        if file.suffix in (".py", ".json") and file.is_file():
            told["arch"] = [file.name, arch.rpartition(":")[2], hashlib.sha256(file.read_bytes()).hexdigest()]
    elif arch is not None:
        told["arch"] = identity.function(arch)
    return jsonable(told)
