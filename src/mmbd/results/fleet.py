"""A fleet's rows: what an index shows of every version of every model, a row a scan, beside the reports.

A row is small, so that thousands are read in a moment, without torch. Rows of one model are numbered: the
clock that wrote them may have jumped.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any, Literal, get_args

from mmbd.base.jsonable import jsonable
from mmbd.results.kept import Key
from mmbd.results.store import Store

Word = Literal["clean", "backdoored", "not evaluable", "refused", "failed"]
METHOD, VERSION = "fleet row", 1
MOST_STATISTICS = 48  # of a sparkline
LONGEST = 4000  # characters of a text


@dataclass(frozen=True)
class Row:
    """One scan of one version of a model.

    Args:
        name: of the model in the fleet, over all its versions.
        number: of this row among those of the model, from 1.
        file: its path, as it was scanned.
        sha256: the digest of the file, or of all of its files; "" where it could not be read.
        word: the verdict, or why there is none.
        code: the exit code of `mmbd scan` for it: 0 clean, 1 backdoored, 2 failed, 3 refused or open.
        detector, level, seed: how it was scanned.
        settings: a digest of these and all other settings, the data and the detector's version.
        p_value: of the test that decides.
        decided_by: its name.
        targets: the target classes found, with their names where they have some.
        classes: how many there are.
        statistic: what was measured of every class, in words.
        statistics: the numbers, by class; of many classes the largest of each of `MOST_STATISTICS` parts.
        reason: why there is no verdict.
        seconds: that the scan took.
        finished: when it was, in UTC.
        group, labels, policy: as the manifest says.
        limits: the limits under which it failed, where others might help; "" otherwise.
        report: whether a report is kept.
        own: the verdict of the model's own scan, where the others of its group judge it, too.
        judged: a digest of what they are; "" where they do not.
    """

    name: str
    number: int
    file: str
    sha256: str
    word: Word
    code: int
    detector: str
    level: float
    seed: int
    settings: str
    p_value: float | None = None
    decided_by: str | None = None
    targets: tuple[str, ...] = ()
    classes: int = 0
    statistic: str = ""
    statistics: tuple[float | None, ...] = ()
    reason: str | None = None
    seconds: float = 0.0
    finished: str = ""
    group: str = ""
    labels: Mapping[str, str | int | float | bool] = field(default_factory=dict[str, Any])
    policy: str | None = None
    limits: str = ""
    report: bool = False
    own: Word | Literal[""] = ""
    judged: str = ""

    @property
    def key(self) -> Key:
        """What the row is kept by."""
        kept = json.dumps({"name": self.name, "number": self.number})
        return Key(self.sha256, "", METHOD, VERSION, kept, self.level, self.seed)

    @property
    def page(self) -> str:
        """A name for the page of its report: the same for the same result, another for any other."""
        return page_of(self.sha256, self.judged or self.settings)

    def to_json(self) -> str:
        """The row as JSON, without what is as usual."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        usual = {"targets": (), "statistics": (), "labels": {}}
        said = {name: value for name, value in plain.items() if value != usual.get(name)}
        return json.dumps(jsonable(said))

    @classmethod
    def from_json(cls, text: str) -> Row:
        """Read a row back; ValueError where it is none."""
        raw = json.loads(text)
        if not isinstance(raw, dict) or not raw.keys() <= KINDS.keys():
            raise ValueError("no row of a fleet")
        raw.setdefault("targets", [])
        raw.setdefault("statistics", [])
        for name, value in raw.items():
            if not isinstance(value, KINDS[name]) or (isinstance(value, str) and len(value) > LONGEST):
                raise ValueError(f"{name} of a fleet's row is {str(value)[:40]!r}")
        if raw["word"] not in get_args(Word) or raw.get("own", "") not in ("", *get_args(Word)):
            raise ValueError("no verdict")
        if not all(isinstance(one, str) for one in raw["targets"]):
            raise ValueError("a target is no text")
        if not all(one is None or isinstance(one, int | float) for one in raw["statistics"]):
            raise ValueError("a statistic is no number")
        made: dict[str, Any] = {
            **raw,
            "targets": tuple(raw["targets"]),
            "statistics": tuple(raw["statistics"]),
        }
        return cls(**made)


KINDS: dict[str, Any] = {
    **dict.fromkeys(("name", "file", "sha256", "word", "detector", "settings", "statistic"), str),
    **dict.fromkeys(("finished", "group", "limits", "own", "judged"), str),
    **dict.fromkeys(("number", "code", "seed", "classes"), int),
    **dict.fromkeys(("level", "seconds"), int | float),
    **dict.fromkeys(("decided_by", "reason", "policy"), str | None),
    **dict.fromkeys(("targets", "statistics"), list),
    "p_value": int | float | None,
    "labels": dict,
    "report": bool,
}


@dataclass(frozen=True)
class Fleet:
    """All rows of a store: the latest of every model, and those before it."""

    latest: tuple[Row, ...]
    history: Mapping[str, tuple[Row, ...]]

    @property
    def versions(self) -> Counter[str]:
        """How many different files there were of each model."""
        return Counter({name: len({row.sha256 for row in rows}) for name, rows in self.history.items()})

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Fleet:
        """The rows by model; broken numbers are not trusted to be different."""
        found: dict[str, list[Row]] = {}
        for row in rows:
            found.setdefault(row.name, []).append(row)
        for each in found.values():
            each.sort(key=lambda row: (row.number, row.finished))
        latest = tuple(found[name][-1] for name in sorted(found))
        return cls(latest, {name: tuple(each) for name, each in sorted(found.items())})

    @classmethod
    def read(cls, store: Store) -> Fleet:
        """The rows of a store; what is none is passed over. Failed where it cannot be read."""
        rows: list[Row] = []
        for _, value in store.values(METHOD, VERSION):
            try:
                rows.append(Row.from_json(value))
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
        return cls.of(rows)


def page_of(model: str, settings: str) -> str:
    """What the page of a report is called, by the digests of the model and of what else it depends on."""
    return f"{model[:16]}-{settings[:8]}"


def digest(key: Key) -> str:
    """What a result depends on besides the model, in a few characters."""
    return hashlib.sha256(json.dumps(key.row[1:]).encode()).hexdigest()[:16]


def thinned(values: Sequence[float | None]) -> tuple[float | None, ...]:
    """At most `MOST_STATISTICS` numbers with four digits: of more, the largest of each part."""
    parts = min(len(values), MOST_STATISTICS)
    ends = [round(len(values) * part / parts) for part in range(parts + 1)] if parts else [0]
    chosen = [
        max((value for value in values[start:end] if value is not None), default=None)
        for start, end in pairwise(ends)
    ]
    return tuple(None if value is None else float(f"{value:.4g}") for value in chosen)
