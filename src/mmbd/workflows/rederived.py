"""The verdict of a stored report, derived again from its numbers by class and the tables of clean networks.

What the searches found is in the report's columns; what follows from them (evidence, p-value, verdict, target
classes) is computed anew by the same nulls, and compared with what the report says. So a report whose
statistics, p-value, targets, level or verdict were changed no longer agrees with itself, and one that was
made with another table does not agree with this one. What cannot be derived from a report alone says so:
references and their conformal p-values, detectors other than MM-BD, and tables of another search than the
report's.

A verdict of "not evaluable" rests on more than numbers; it stands, as it lets nothing through.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mmbd.base.text import brief, clean_text
from mmbd.detectors import DETECTORS
from mmbd.detectors.mm_bd.facts import COLUMNS, FREE, ON_SAMPLES
from mmbd.model.domain import kind_of_shape
from mmbd.null import NULLS, Evidence, Marked, Measured, combined, with_samples
from mmbd.null.combined import AWAY, FLOW, GAIN, PAIRS
from mmbd.null.decide import Decision, decide
from mmbd.null.settings import gains_key, margins_key
from mmbd.results.report import Report
from mmbd.search.ascent import FAST

TOLERANCE = (
    1e-6  # of a p-value's logarithm and of a statistic: what another processor may make of the same sums
)
MARGINS, DEFAULT_MARGINS = "maximum margin", "maximum margin of the default search"
PAIR = re.compile(r"(\d{1,9}) -> (\d{1,9})")


class Underivable(ValueError):
    """The verdict cannot be derived from the report alone; says why."""


def disagreements(report: Report) -> list[str]:
    """What a report says otherwise than its own numbers do, in sentences; empty where it agrees.

    Raises:
        Underivable: the report alone does not tell.
    """
    if report.verdict == "not evaluable":
        return []
    found = _decided(report)
    test = report.finding.test
    assert test is not None
    factor = test.parameters.get("seeds_factor") or 1.0
    p_value = found.test.p_value
    if p_value is None:
        return [f"its statistics give no p-value: {clean_text(found.test.reason or 'no reason', 200)}"]
    said: list[str] = []
    expected = min(1.0, p_value * factor)
    if not _alike(math.log(max(expected, 1e-300)), math.log(max(test.p_value or 1e-300, 1e-300))):
        said.append(f"its p-value is {brief(test.p_value)}, and its statistics give {brief(expected)}")
    if test.statistic is not None and not _alike(test.statistic, found.test.statistic):
        said.append(
            f"its test statistic is {brief(test.statistic)}, and its statistics give "
            f"{brief(found.test.statistic)}"
        )
    said += _of_column(report, found)
    flagged = expected <= report.level and bool(found.targets)
    if flagged != (report.verdict == "backdoored"):
        verdict = "backdoored" if flagged else "clean"
        said.append(f"its verdict is {report.verdict}, and its statistics give {verdict} at its level")
    elif flagged and not _same_targets(report, found):
        said.append(
            f"its target classes are {list(report.targets)}, and its statistics give {list(found.targets)}"
        )
    return [*said, *_of_seeds(report, test.p_value)]


def _of_column(report: Report, found: Decision) -> list[str]:
    """Where the column that ranks the classes is not what the other columns give."""
    name = report.finding.ranked_by
    if name is None:
        return []
    stored = _by_class(report, name)
    wrong = [
        label
        for label in sorted(stored.keys() | found.values.keys())
        if not _alike(stored.get(label), found.values.get(label))
    ]
    return [f"{name} of class {wrong[0]} is not what its other statistics give"] if wrong else []


def _same_targets(report: Report, found: Decision) -> bool:
    """Equal, or with several seeds some of them: those that most seeds name."""
    if report.stability is None:
        return report.targets == found.targets
    return set(report.targets) <= set(found.targets)


def _of_seeds(report: Report, p_value: float | None) -> list[str]:
    """Whether the p-value of several seeds is that of their own p-values (`null.seeds`)."""
    repeats = report.stability
    if repeats is None or p_value is None:
        return []
    count = len(repeats.seeds)
    rank = count // 2 + 1
    ordered = sorted(1.0 if value is None else value for value in repeats.p_values)
    together = min(1.0, ordered[rank - 1] * count / rank)
    if _alike(together, p_value):
        return []
    return [f"its p-value is {brief(p_value)}, and those of its seeds give {brief(together)}"]


def _alike(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _decided(report: Report) -> Decision:
    """What the nulls say of the report's numbers."""
    finding = report.finding
    row = DETECTORS.get(report.detector)
    if row is None or row.find is not DETECTORS["mm-bd"].find:
        raise Underivable(
            f"the statistics of {clean_text(report.detector)} are not derived again, only MM-BD's"
        )
    if finding.test is None or finding.decided_by not in NULLS:
        raise Underivable("no test of this release decides")
    if finding.decided_by == "reference":
        raise Underivable("reference models decide, whose statistics the report does not hold")
    try:
        return decide(_evidence(report), finding.decided_by)
    except Underivable:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, AssertionError, ArithmeticError) as error:
        raise Underivable(
            f"its statistics are not whole: {clean_text(error, 100) or type(error).__name__}"
        ) from error


def _evidence(report: Report) -> Evidence:
    finding = report.finding
    settings: Mapping[str, Any] = finding.settings
    ascent = {name: value for name, value in settings["maximum_margins"].items() if name != "raced"}
    own = Measured(_by_class(report, MARGINS), margins_key(settings["method"], ascent))
    usual = margins_key("fast", asdict(FAST))
    default = None
    if own.settings_key != usual:
        known = _by_class(report, DEFAULT_MARGINS)
        if not known and NULLS[str(finding.decided_by)].column != DEFAULT_MARGINS:
            raise Underivable("its table is of the default search, whose margins the report does not hold")
        default = Measured(known, usual) if known else None
    gains = None
    if settings.get("universal_perturbations") is not None:
        values = _by_class(report, COLUMNS[GAIN][0])
        ranked = _by_class(report, NULLS["joint"].column)
        if finding.ranked_by == NULLS["joint"].column:
            values = {label: value for label, value in values.items() if label in ranked}
        gains = Measured(values, gains_key(settings["universal_perturbations"]))
    marks = _marks(report) if "marks" in settings else None
    on_samples = _on_samples(report, marks) if marks is not None and "on_samples" in settings else None
    return Evidence(
        margins=own,
        level=report.level,
        gains=gains,
        marks=marks,
        on_samples=on_samples,
        default=default,
        names=report.class_names,
        kind="points"
        if report.model.domain.startswith("Points")
        else kind_of_shape(report.model.input_shape),
        raced=bool(settings["maximum_margins"].get("raced")),
    )


def _by_class(report: Report, name: str) -> dict[int, float]:
    column = report.finding.column(name)
    values = () if column is None else column.values
    return {label: value for label, value in enumerate(values) if value is not None}


def _marks(report: Report) -> Marked:
    """The marks on made-up inputs; a class without a search of its own has 0 (`search.marks.Marks.lifts`)."""
    everyone = _by_class(report, COLUMNS[AWAY][0])
    sampled = report.finding.column(ON_SAMPLES[AWAY][0]) is not None
    names = {mark: name for mark, (name, _) in COLUMNS.items() if not (mark == FLOW and sampled)}
    return Marked(
        _filled(report, names, everyone),
        _share_in_pairs(report),
        {} if _on_samples_decide(report) else _pairs(report),
        json.dumps(report.finding.settings["marks"], sort_keys=True),
    )


def _on_samples(report: Report, marks: Marked) -> Marked:
    test = report.finding.test
    assert test is not None
    return Marked(
        _filled(report, {mark: name for mark, (name, _) in ON_SAMPLES.items()}, marks.by_mark[AWAY]),
        test.parameters.get(with_samples.ON_SAMPLES) or 0.0,
        _pairs(report) if _on_samples_decide(report) else {},
        json.dumps(report.finding.settings["on_samples"], sort_keys=True),
    )


def _filled(
    report: Report, names: Mapping[str, str], everyone: Mapping[int, float]
) -> dict[str, dict[int, float]]:
    found = {mark: _by_class(report, name) for mark, name in names.items() if report.finding.column(name)}
    return {
        mark: values if mark in FREE else {label: values.get(label, 0.0) for label in everyone}
        for mark, values in found.items()
    }


def _share_in_pairs(report: Report) -> float:
    """The share of inputs that go by pairs of classes, from its part in the evidence."""
    test = report.finding.test
    part = 0.0 if test is None else test.parameters.get(PAIRS) or 0.0
    weights = with_samples.shipped() if report.finding.decided_by == with_samples.NAME else combined.shipped()
    weight = 0.0 if weights is None else weights.by_mark.get(PAIRS, 0.0)
    return part / weight if weight else 0.0


def _on_samples_decide(report: Report) -> bool:
    test = report.finding.test
    return test is not None and with_samples.by_pairs_on_samples(test)


def _pairs(report: Report) -> dict[int, int]:
    told = report.finding.facts.get("pairs")
    return (
        {int(source): int(target) for source, target in PAIR.findall(told)} if isinstance(told, str) else {}
    )
