"""Models of a group as each other's references: who is flagged, who stays open, and what needs no scan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from helpers.toy_fleets import models, ran, report, write
from mmbd.results import fleet
from mmbd.results.fleet import Fleet
from mmbd.results.report import Report
from mmbd.results.store import Store
from mmbd.workflows.fleet.groups import METHOD, against


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results.sqlite")


def group(folder, *words):
    return [replace(entry, group="g", leave_one_out=True) for entry in models(folder, *words)]


ALIKE = tuple(f"clean {1 + number / 100}" for number in range(20))


def test_a_model_unlike_its_group_is_flagged_and_none_that_is_flagged_is_cleared(tmp_path, store):
    entries = group(tmp_path / "fleet", *ALIKE, "clean 9.5", "backdoored 1.05", "raise")
    run, made = ran(entries, store)
    assert len(made) == 23
    words = {row.name: (row.word, row.own, row.decided_by) for row in run.rows}
    assert [words[f"m{number}.safetensors"] for number in range(20)] == [("clean", "clean", "reference")] * 20
    assert words["m20.safetensors"] == ("backdoored", "clean", "reference")
    assert words["m21.safetensors"] == ("not evaluable", "backdoored", "reference")
    assert words["m22.safetensors"] == ("failed", "", None)
    open_one = run.rows[21]
    assert "its own scan flags it (p = 1.0e-06)" in open_one.reason
    assert run.code == 1
    kept = {stored.value for key, stored in store.items() if key.method == METHOD}
    assert {Report.from_json(value).finding.decided_by for value in kept} == {"reference"}
    # Nothing is scanned or judged anew; every model has one row.
    before = [store.values(method, 1) for method in (METHOD, fleet.METHOD)]
    assert ran(entries, store)[1] == []
    assert [store.values(method, 1) for method in (METHOD, fleet.METHOD)] == before
    assert {len(rows) for rows in Fleet.read(store).history.values()} == {1}


def test_a_group_that_changes_is_judged_anew_without_a_scan(tmp_path, store):
    entries = group(tmp_path / "fleet", *ALIKE[:19], "clean 9.5")
    run, _ = ran(entries[:18], store)
    assert {row.word for row in run.rows} == {"clean"}
    assert {row.decided_by for row in run.rows} == {"test"}  # too few for a level of 5 %
    run, made = ran(entries, store)
    assert len(made) == 2
    assert [row.word for row in run.rows] == ["clean"] * 19 + ["backdoored"]
    write(entries[3].path, "clean 9.7")
    run, made = ran(entries, store)
    assert made == ["m3.safetensors"]
    assert [row.name for row in run.rows if row.word == "backdoored"] == ["m3.safetensors"]
    # Out of its group, a model has its own verdict again.
    run, made = ran([replace(entries[3], leave_one_out=False)], store)
    assert (made, run.rows[0].word, run.rows[0].own) == (["m3.safetensors"], "clean", "")


def test_the_level_is_kept_where_the_models_are_exchangeable(tmp_path):
    """Of 20 models alike, exactly one has the largest statistic, and 1/20 is the smallest p-value."""
    reports = [report(tmp_path / f"{n}", "clean", scale=1 + n / 100) for n in range(20)]
    found = []
    for number, one in enumerate(reports):
        others = [(str(n), other) for n, other in enumerate(reports) if n != number]
        found.append(against(one, others).p_value)
    assert sorted(found) == [pytest.approx(rank / 20) for rank in range(1, 21)]


def test_what_measures_no_margins_says_so_and_keeps_its_verdict(tmp_path):
    one = report(tmp_path / "a", "clean").revised(settings={})
    told = against(one, [("b", report(tmp_path / "b", "clean"))])
    assert told.verdict == "clean"
    assert "measures no margins" in told.finding.tests[0].reason
