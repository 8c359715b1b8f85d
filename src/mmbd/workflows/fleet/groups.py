"""Models of one group as each other's references: a conformal test of each against the others, leave-one-out.

If the models of a group are alike but for a backdoor, the rank of one's largest statistic among the others'
is uniform, whatever their distribution (`null.reference`); it needs 1 / level - 1 others, 19 for 5 %. Only
models that their own scans call clean are references, and none with the same bytes. Nothing is scanned again:
the statistics are those of the kept reports.

The group's test decides, as references do in `mmbd scan`, but for one case: it clears no model that its own
scan flags. The two then contradict each other, and the verdict is open.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mmbd.base.errors import Failed
from mmbd.base.text import probability
from mmbd.null.reference import REFERENCE
from mmbd.null.references import Comparison, References
from mmbd.null.settings import margins_key
from mmbd.results.finding import Column, Test
from mmbd.results.fleet import Fleet, Row, digest
from mmbd.results.kept import Key
from mmbd.results.report import Report
from mmbd.results.store import Store
from mmbd.workflows.fleet.entry import Entry
from mmbd.workflows.fleet.work import done

METHOD = "fleet group"
NAME = "reference"


@dataclass(frozen=True)
class Member:
    """A model of a group, with the latest row and the report of its own scan."""

    entry: Entry
    row: Row
    key: Key

    @property
    def own(self) -> str:
        """The verdict of its own scan."""
        return self.row.own or self.row.word


def judge(models: Iterable[Entry], store: Store) -> int:
    """Judge the models of all groups anew whose members have changed; returns how many were.

    Raises:
        Failed: the store cannot be read or written.
    """
    wanted = [entry for entry in models if entry.leave_one_out]
    if not wanted:
        return 0
    latest = {row.name: row for row in Fleet.read(store).latest}
    every = store.keys()
    keys = {(key.model, digest(key)): key for key in every}
    groups: dict[str, list[Member]] = {}
    for entry in wanted:
        row = latest.get(entry.name)
        key = None if row is None else keys.get((row.sha256, row.settings))
        if row is not None and key is not None:
            groups.setdefault(entry.group, []).append(Member(entry, row, key))
    return sum(_judge(members, store) for members in groups.values())


def _judge(members: Sequence[Member], store: Store) -> int:
    references = [member for member in members if member.own == "clean"]
    stale = [
        (member, judged)
        for member in members
        if member.own in ("clean", "backdoored")
        and member.row.judged != (judged := _digest(member, _others(member, references)))
    ]
    reports: dict[Key, Report] = {}
    for member, judged in stale:
        for each in (member, *references):
            if each.key not in reports:
                reports[each.key] = _report(each.key, store)
        others = [(each.row.name, reports[each.key]) for each in _others(member, references)]
        report = against(reports[member.key], others)
        _keep(member, report, judged, store)
    return len(stale)


def _others(member: Member, references: Sequence[Member]) -> list[Member]:
    """Those with other bytes, each once."""
    found = {each.row.sha256: each for each in references if each.row.sha256 != member.row.sha256}
    return [found[name] for name in sorted(found)]


def _digest(member: Member, others: Iterable[Member]) -> str:
    known = [(each.row.sha256, each.row.settings) for each in (member, *others)]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


def _report(key: Key, store: Store) -> Report:
    stored = store.get(key)
    if stored is None:
        raise Failed(f"{store.path}: a result is no longer there: {key.model[:16]}")
    return Report.from_json(stored.value)


def _keep(member: Member, report: Report, judged: str, store: Store) -> None:
    """Keep the report with the group's test, and put its verdict into the row in place of the scan's own."""
    row = member.row
    key = Key(row.sha256, "", METHOD, 1, json.dumps([judged, row.settings]), row.level, row.seed)
    made = done(member.entry, key, report, report.exit_code, row.seconds)
    own = row.own or row.word
    told = replace(made.row, number=row.number, settings=row.settings, finished=row.finished, own=own)
    told = replace(told, judged=digest(key), limits=row.limits)

    store.alone(lambda held: (held.put(key, made.report, made.pictures), held.put(told.key, told.to_json())))


def against(report: Report, others: Sequence[tuple[str, Report]]) -> Report:
    """The report with a test against the others' statistics, which decides where it applies."""
    own = report.verdict
    settings = report.finding.settings
    values = {label: value for label, value in enumerate(report.statistics) if value is not None}
    compared: Comparison | None = None
    try:
        if "maximum_margins" not in settings:
            raise Failed(f"{report.detector} measures no margins, which references are compared by")
        references = References.from_reports(others)
        compared = references.compare(values, report.class_names)
        key = margins_key(settings["method"], settings["maximum_margins"])
        test = references.model_p_value(compared, key, report.level)
    except Failed as error:
        test = Test(NAME, reason=str(error))
    tests = (test, *(one for one in report.finding.tests if one.name != NAME))
    if test.p_value is None or compared is None:
        return report.revised(tests=tests)
    flagged = test.p_value <= report.level
    told = f"the {len(others)} others of its group that are clean serve as references"
    reason = None
    if own == "backdoored" and not flagged:
        reason = (
            f"its own scan flags it (p = {probability(report.p_value)}), and a comparison with its group "
            f"does not (p = {probability(test.p_value)})"
        )
    column = Column(
        REFERENCE.column, tuple(compared.own.get(label) for label in range(len(report.class_names)))
    )
    columns = (*(one for one in report.finding.columns if one.name != column.name), column)
    return report.revised(
        verdict="backdoored" if flagged else "not evaluable" if reason else "clean",
        reason=reason,
        targets=compared.exceeding(report.level) if flagged else (),
        ranking=tuple(sorted(compared.own, key=lambda label: (-compared.own[label], label))),
        ranked_by=column.name,
        score=None if reason else -math.log10(test.p_value),
        decided_by=NAME,
        tests=tests,
        columns=columns,
        shown=report.finding.shown if flagged and own == "backdoored" else None,
        caveats=(*report.caveats, told),
    )
