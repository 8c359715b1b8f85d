"""A model of a fleet, as a folder or a manifest names it: where it is, and how it is to be scanned."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmbd.detectors.scan import ScanOptions
from mmbd.formats.options import LoadOptions

Label = str | int | float | bool


@dataclass(frozen=True)
class Entry:
    """A model of a fleet.

    Args:
        name: what it is called in the fleet, over all its versions; unique. By default its path below the
            fleet's folder.
        path: the file, or the folder of one model.
        loading: what the file does not say.
        scanning: the detector and its settings.
        data: clean samples of its task; None without.
        per_class: how many of every class to use; as many as the detector takes by default.
        references: clean models or reports to compare with.
        group: models of one group belong together; "" for none.
        leave_one_out: whether the others of its group serve as its references.
        labels: the user's own words on it, by name.
        policy: the policy that a gate is to apply, by path; it is passed on and not read.
    """

    name: str
    path: Path
    loading: LoadOptions = field(default_factory=LoadOptions)
    scanning: ScanOptions = field(default_factory=ScanOptions)
    data: Path | None = None
    per_class: int | None = None
    references: tuple[Path, ...] = ()
    group: str = ""
    leave_one_out: bool = False
    labels: Mapping[str, Label] = field(default_factory=dict[str, Label])
    policy: str | None = None


def share(entries: Sequence[Entry], part: tuple[int, int] | None) -> list[Entry]:
    """Shard i of n, counted from 1; all shards together are all entries.

    Which one an entry is in follows from its name alone, so that it is in one of them even where the folder
    changes between their starts. Those of one group stay together where they are each other's references.
    """
    if part is None:
        return list(entries)
    number, count = part
    return [entry for entry in entries if _place(entry) % count == number - 1]


def _place(entry: Entry) -> int:
    team = f"group {entry.group}" if entry.leave_one_out else f"model {entry.name}"
    return int.from_bytes(hashlib.sha256(team.encode("utf-8", "surrogateescape")).digest()[:8], "big")
