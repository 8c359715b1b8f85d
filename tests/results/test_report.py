"""The JSON form of a report, schema 3: the round trip, and what reading refuses."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import example_reports
from mmbd.base.schema import LIMITS
from mmbd.results.report import Report, Stability, report_schema

SCHEMA = report_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
SMALL = [name for name in example_reports.ALL if name != "thousand"]


def plain(report: Report) -> dict[str, Any]:
    return json.loads(report.to_json())


def objects(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Every object inside, with the path to it."""
    found: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    items: Any = ()
    if isinstance(value, dict):
        found.append((path, value))
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, item in items:
        found += objects(item, (*path, key))
    return found


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def refused(changed: Any) -> bool:
    """Whether reading refuses it; the schema must say the same."""
    try:
        Report.from_json(json.dumps(changed))
    except ValueError:
        read = False
    else:
        read = True
    assert read == VALIDATOR.is_valid(changed)
    return not read


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", example_reports.ALL)
def test_every_report_conforms_and_holds_no_nan(name: str):
    text = example_reports.ALL[name]().to_json()
    VALIDATOR.validate(json.loads(text, parse_constant=lambda found: pytest.fail(found)))


@pytest.mark.parametrize("name", [name for name in example_reports.ALL if name != "unfinished"])
def test_round_trip(name: str):
    report = example_reports.ALL[name]()
    again = Report.from_json(report.to_json())
    assert again == report
    assert again.finding.artifacts == ()
    assert again.to_json() == report.to_json()


def test_numbers_that_are_not_finite_become_null():
    report = Report.from_json(example_reports.unfinished().to_json())
    assert report.p_value is None
    assert report.statistics[:3] == (None, None, None)
    assert report.finding.traces[3] == (None, None, 1.0)
    assert None in {value for test in report.finding.tests for value in test.parameters.values()}


# Whose keys are the detector's own.
FREE = ("parameters", "settings", "facts", "versions", "traces", "maximum_margins", "universal_perturbations")


def test_every_key_of_the_schema_is_needed_and_no_other_is_allowed():
    whole = plain(example_reports.backdoored())
    checked = 0
    for path, found in objects(whole):
        if path[-1:] and path[-1] in FREE:
            continue
        for key in found:
            changed = copy.deepcopy(whole)
            del at(changed, path)[key]
            assert refused(changed), (path, key)
            checked += 1
        changed = copy.deepcopy(whole)
        at(changed, path)["another"] = 1
        assert refused(changed), path
    assert checked > 60


def test_every_value_of_a_wrong_kind_is_refused():
    whole = plain(example_reports.backdoored())
    for path, found in objects(whole):
        for key in found if "settings" not in path else ():
            changed = copy.deepcopy(whole)
            at(changed, path)[key] = [{"a": [[]]}]
            assert refused(changed), (path, key)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
WHOLE = plain(example_reports.backdoored())
PLACES = [(path, key) for path, found in objects(WHOLE) for key in found]


@settings(max_examples=300, deadline=None)
@given(place=st.sampled_from(PLACES), value=values)
def test_reading_agrees_with_the_schema(place: tuple[tuple[Any, ...], str], value: Any):
    path, key = place
    changed = copy.deepcopy(WHOLE)
    at(changed, path)[key] = value
    text = json.dumps(changed)
    # Reading is stricter only in what a schema cannot say, and in 1.0 not being an integer.
    if VALIDATOR.is_valid(changed):
        with suppress(ValueError):
            Report.from_json(text)
    else:
        with pytest.raises(ValueError, match=r"."):
            Report.from_json(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("null", "schema None"),
        ("[1]", "schema None"),
        ("{}", "schema None"),
        ('{"schema": 4}', "a report of schema 4; this release reads schema 2 and 3"),
        ('{"schema": true}', "a report of schema True"),
        ('{"schema": 3}', "report.detector is missing"),
        ('{"schema": 2}', "report.verdict is missing"),
        ('{"schema": NaN}', "not JSON: NaN"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_garbage_is_refused_with_a_reason(text: str, words: str):
    with pytest.raises(ValueError, match=words):
        Report.from_json(text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"verdict": "fine"}, r"report.finding.verdict is 'fine', expected one of \['clean'"),
        ({"targets": ["3"]}, r"report.finding.targets\[0\] is '3', expected integer"),
        ({"targets": [3.0]}, r"report.finding.targets\[0\] is 3.0, expected integer"),
        ({"score": 10**400}, "report.finding.score is not a finite number"),
        ({"tests": 3}, "report.finding.tests is 3, expected array"),
        ({"traces": {"x": []}}, "the key 'x' does not match"),
        ({"targets": [10]}, r"targets \[10\] are not all among 10 classes"),
        ({"ranking": [10]}, r"ranking \[10\] are not all among 10 classes"),
        ({"reason": "why"}, "the verdict is 'backdoored' with the reason 'why'"),
        ({"decided_by": "gone"}, "the test 'gone' decides but is not among the tests"),
        ({"verdict": "clean"}, "the verdict is 'clean' with targets"),
    ],
)
def test_what_is_wrong_with_a_finding_is_named(change: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        Report.from_json(json.dumps(WHOLE | {"finding": WHOLE["finding"] | change}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"level": 0}, "report.level is 0, expected more than 0"),
        ({"version": -1}, "report.version is -1, expected at least 0"),
        ({"stability": 3}, "report.stability is 3, expected object"),
        ({"class_names": ["a"]}, "for 1 classes|among 1 classes"),
        ({"artifacts": {"file": "x", "sha256": "0", "entries": []}}, "report.artifacts.sha256 is '0'"),
    ],
)
def test_what_is_wrong_with_a_report_is_named(change: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        Report.from_json(json.dumps(WHOLE | change))


def test_infinite_literals_are_refused():
    text = json.dumps(WHOLE | {"level": "here"}).replace('"here"', "1e999")
    with pytest.raises(ValueError, match=r"report\.level is not a finite number"):
        Report.from_json(text)


def test_parts_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="one winner and one p-value a seed"):
        replace(example_reports.clean(), stability=Stability((0, 1), (3,), (0.5, 0.5)))
    with pytest.raises(ValueError, match="winners"):
        replace(example_reports.clean(), stability=Stability((0,), (10,), (0.5,)))


def test_the_checker_knows_every_keyword_of_the_schema():
    known = {
        "$schema",
        "$id",
        "$defs",
        "$ref",
        "title",
        "description",
        "type",
        "const",
        "enum",
        "anyOf",
        "pattern",
        "items",
        "minItems",
        "maxItems",
        "required",
        "properties",
        "additionalProperties",
        "propertyNames",
        *LIMITS,
    }
    for path, found in objects(SCHEMA):
        if path[-1:] not in (("properties",), ("$defs",)):
            assert set(found) <= known, path
        if "anyOf" in found:
            assert found["anyOf"][1:] == [{"type": "null"}]


def test_exit_codes():
    codes = {name: example_reports.ALL[name]().exit_code for name in SMALL}
    assert codes["clean"] == 0
    assert codes["backdoored"] == codes["two_targets"] == codes["no_class"] == 1
    assert codes["not_evaluable"] == codes["few_classes"] == 3


@pytest.mark.parametrize("suffix", [".json", ".html", ".HTM", ".sarif"])
def test_save_writes_the_form_of_the_suffix(suffix: str, tmp_path):
    report = example_reports.backdoored()
    report.save(tmp_path / f"report{suffix}")
    text = (tmp_path / f"report{suffix}").read_text(encoding="utf-8")
    if suffix == ".json":
        assert Report.load(tmp_path / "report.json") == report
        assert len(list(tmp_path.iterdir())) == 2  # the artifacts beside it
    else:
        assert text.startswith("{" if suffix == ".sarif" else "<!doctype html>")
        assert len(list(tmp_path.iterdir())) == 1


def test_save_refuses_other_suffixes(tmp_path):
    with pytest.raises(ValueError, match=r"must be \.html, \.json, \.sarif, "):
        example_reports.clean().save(tmp_path / "report.pdf")
    assert not list(tmp_path.iterdir())


def test_reading_a_report_needs_no_torch():
    code = (
        "import sys; import mmbd.results.report, mmbd.render.terminal, mmbd.render.sarif; "
        "print(*({'torch', 'numpy', 'scipy', 'PIL', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
