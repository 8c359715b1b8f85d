"""Whatever a report that conforms to the schema holds, it can be shown."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from helpers import example_reports
from helpers.page_parser import TAGS, Page
from mmbd.render.report_page import html
from mmbd.render.sarif import sarif
from mmbd.render.terminal import line, terminal
from mmbd.results.finding import Column, Finding, Matrix, Test
from mmbd.results.report import Report

numbers = st.none() | st.sampled_from([0.0, -2.0, 1.0, 1e300, -1e300, 5e-324, 3.25])
probabilities = st.sampled_from([None, 0.0, 5e-324, 1e-9, 0.03, 1.0])
directions = st.sampled_from(["high", "low"])
tests = st.lists(
    st.builds(
        Test,
        name=st.sampled_from(["population", "paper", "authors", ""]),
        statistic=numbers,
        p_value=probabilities,
        log10=st.sampled_from([None, 0.0, -3.0, -400.0]),
        threshold=numbers,
        parameters=st.dictionaries(st.sampled_from(["shape", "loc", "scale", "exponent"]), numbers),
        suspicious=directions,
    ),
    max_size=3,
    unique_by=lambda test: test.name,
)


@st.composite
def reports(draw: Any) -> Report:
    """Reports that conform to the schema and otherwise hold anything."""
    classes = draw(st.integers(0, 30))
    labels = list(range(classes))
    some = st.lists(st.sampled_from(labels), unique=True, max_size=5) if labels else st.just([])
    values = st.lists(numbers, min_size=classes, max_size=classes).map(tuple)
    asked = draw(tests)
    columns = [
        Column(name, draw(values), draw(st.sampled_from(["", "logits"])), draw(directions))
        for name in draw(st.sampled_from([(), ("margin",), ("p-value", "gain", "norm")]))
    ]
    matrices = [Matrix("pairs", tuple(draw(values) for _ in labels))] if draw(st.booleans()) else []
    finding = Finding(
        verdict="backdoored",
        targets=tuple(draw(some)),
        ranking=tuple(draw(some)),
        ranked_by=draw(st.sampled_from([None, *(column.name for column in columns)])),
        decided_by=asked[0].name if asked and draw(st.booleans()) else None,
        tests=tuple(asked),
        columns=tuple(columns),
        matrices=tuple(matrices),
        traces={label: tuple(draw(st.lists(numbers, max_size=4))) for label in labels[:3]},
    )
    detector = draw(st.sampled_from(["mm-bd", "another"]))
    return replace(
        example_reports.backdoored(),
        detector=detector,
        class_names=tuple(map(str, labels)),
        finding=finding,
        stability=None,
    )


@settings(max_examples=100, deadline=None)
@given(reports())
def test_any_report_that_conforms_becomes_a_page(report: Report):
    page = Page(html(Report.from_json(report.to_json())))
    assert page.open == []
    assert {tag for tag, _ in page.elements} <= TAGS


@settings(max_examples=100, deadline=None)
@given(reports())
def test_any_report_that_conforms_is_told_in_lines(report: Report):
    again = Report.from_json(report.to_json())
    for width in (40, 200):
        terminal(again, Console(file=io.StringIO(), force_terminal=True, width=width, _environ={}))
    assert line(again).isprintable()
    (result,) = json.loads(sarif([again]))["runs"][0]["results"]
    assert result["ruleId"] == "MMBD001"
