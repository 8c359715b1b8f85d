"""What a run has to do: which models are new or changed, and why the others are skipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from mmbd.base.errors import Failed
from mmbd.base.text import clean_text
from mmbd.results.fleet import Fleet, Row, digest
from mmbd.results.kept import Held, Key
from mmbd.results.store import Store
from mmbd.workflows.fleet.asked import Asker, Task
from mmbd.workflows.fleet.digests import Digests
from mmbd.workflows.fleet.entry import Entry
from mmbd.workflows.fleet.work import failure

UNREADABLE = "not readable"


@dataclass
class Plan:
    """What there is to do.

    Args:
        todo: scans, each once, however many models have the same bytes.
        entries: the models that each of them is about.
        numbers: of the latest row of every model.
        skipped: why models are skipped, with how many.
        new: why the others are scanned.
        again: results that are there, and are to be made anew.
        unread: the rows of models of which no digest could be taken.
    """

    todo: list[Task] = field(default_factory=list[Task])
    entries: dict[Key, list[Entry]] = field(default_factory=dict[Key, list[Entry]])
    numbers: dict[str, int] = field(default_factory=dict[str, int])
    skipped: Counter[str] = field(default_factory=Counter[str])
    new: Counter[str] = field(default_factory=Counter[str])
    again: set[Key] = field(default_factory=set[Key])
    unread: list[Row] = field(default_factory=list[Row])

    def rows(self, key: Key, row: Row) -> list[Row]:
        """The rows of all models that a result is about, numbered."""
        return [self.numbered(_about(row, entry)) for entry in self.entries[key]]

    def numbered(self, row: Row) -> Row:
        """The row as the next one of its model."""
        self.numbers[row.name] = number = self.numbers.get(row.name, 0) + 1
        return replace(row, number=number)


def plan(entries: Iterable[Entry], store: Store, *, limits: str, again: str = "") -> Plan:
    """Take all digests, and see what is there already; rows of what needs no scan are written at once.

    Args:
        entries: the models.
        store: with what was kept.
        limits: on time and memory, in words: what failed under others is tried again.
        again: "failed" tries again what failed, "all" scans everything.

    Raises:
        Failed: the store cannot be read or written.
    """
    fleet, digests = Fleet.read(store), Digests(store)
    latest = {row.name: row for row in fleet.latest}
    made = {(row.sha256, row.settings): row for rows in fleet.history.values() for row in rows}
    made |= {(row.sha256, row.settings): row for row in fleet.latest}
    asker, found, rows = Asker(digests), Plan(), list[Row]()
    found.numbers = {row.name: row.number for row in fleet.latest}
    for entry in entries:
        last = latest.get(entry.name)
        try:
            task = asker.task(entry)
        except (Failed, OSError) as error:
            row = _unread(entry, clean_text(str(error), 400))
            found.unread.append(row)
            found.new[UNREADABLE] += 1
            if last is None or (last.sha256, last.reason) != (row.sha256, row.reason):
                rows.append(found.numbered(row))
            continue
        key = task.key
        known = made.get((key.model, digest(key)))
        why = _why(last, key) if known is None else _why_again(known, entry, limits, again)
        if known is not None and not why:
            found.skipped[_same(known, last, fleet.history.get(entry.name, ()))] += 1
            row = _about(known, entry)
            if last is None or (last.sha256, last.settings) != (known.sha256, known.settings):
                rows.append(found.numbered(row))
            elif last != _about(last, entry):  # the user says other things of it by now
                rows.append(_about(last, entry))
            continue
        found.new[why] += 1
        if known is not None:
            found.again.add(key)
        if key not in found.entries:
            found.todo.append(task)
        found.entries.setdefault(key, []).append(entry)
    digests.remember()
    if rows:
        store.alone(lambda held: _write(held, rows))
    return found


def _write(held: Held, rows: Iterable[Row]) -> None:
    for row in rows:
        held.put(row.key, row.to_json())


def _why(last: Row | None, key: Key) -> str:
    """Why a model is scanned of which nothing is known with this file and these settings."""
    if last is None:
        return "new"
    return "changed" if last.sha256 != key.model else "other settings or data"


def _why_again(known: Row, entry: Entry, limits: str, again: str) -> str:
    """Why a model is scanned again; "" where it is not."""
    if again == "all":
        return "asked for again"
    if known.judged and not entry.leave_one_out:
        return "no longer judged by its group"
    if known.word != "failed":
        return ""
    if not known.report:
        return "failed before, for what may have passed"
    if again == "failed":
        return "failed before"
    return "failed under other limits" if known.limits != limits else ""


def _same(known: Row, last: Row | None, before: Iterable[Row]) -> str:
    """Why a model is skipped."""
    alike = (known.sha256, known.settings)
    if last is not None and (last.sha256, last.settings) == alike:
        return "unchanged" if known.word != "failed" else "unchanged, failed before"
    earlier = any((row.sha256, row.settings) == alike for row in before)
    return "back at an earlier version" if earlier else "the same bytes as another model"


def _about(row: Row, entry: Entry) -> Row:
    """The row as that of an entry with the same bytes."""
    return replace(
        row,
        name=entry.name,
        file=str(entry.path),
        group=entry.group,
        labels=entry.labels,
        policy=entry.policy,
    )


def _unread(entry: Entry, reason: str) -> Row:
    how = entry.scanning
    key = Key("", "", how.name, how.row.version, level=how.level, seed=how.seed)
    return replace(failure(entry, key, reason, 0.0).row, report=False)
