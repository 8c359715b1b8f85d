"""What every null promises, over all rows of the table."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from typing import Any

import pytest

from mmbd.null import NULLS, Evidence, Marked, Measured, References, combined, with_samples
from mmbd.null.decide import decide
from mmbd.null.population import shipped
from mmbd.null.settings import joint_key

KEY = shipped().settings_key
GAINS_KEY = json.loads(shipped("joint").settings_key)[1]
MARKS_KEY = json.loads(combined.shipped().table.settings_key)[1]
CLEAN = dict(enumerate([30.0, 31, 33, 29, 30, 32, 31, 30, 33, 34]))
ATTACKED = CLEAN | {4: 900.0}
# Which of the tests below each null takes part in: those that need classes of the model itself, and
# those that say nothing where half of the searches got stuck.
TRAITS = {
    "reference": {"own classes": False, "stuck": False},
    "with-samples": {"own classes": True, "stuck": True},
    "combined": {"own classes": True, "stuck": True},
    "joint": {"own classes": True, "stuck": True},
    "population": {"own classes": True, "stuck": True},
    "bootstrap": {"own classes": True, "stuck": True},
    "paper": {"own classes": True, "stuck": True},
    "authors": {"own classes": True, "stuck": False},
}


@pytest.fixture(autouse=True)
def table_with_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The combined null's, as if it had been made with samples."""
    usual = combined.shipped()
    key = joint_key(KEY, with_samples.samples_key(MARKS_KEY, "samples"))
    made = replace(usual, table=replace(usual.table, settings_key=key))
    monkeypatch.setattr(with_samples, "shipped", lambda: made)


def shares_of(values: dict[int, float]) -> dict[int, float]:
    return {label: max(0.0, value / 1000) for label, value in values.items()}


def evidence(values: dict[int, float], **changes: Any) -> Evidence:
    draw = random.Random(0).uniform
    references = References(tuple(tuple(draw(28, 36) for _ in range(10)) for _ in range(30)), KEY)
    gains = Measured(dict.fromkeys(values, 2.0), GAINS_KEY)
    marks = Marked(
        dict.fromkeys(("added", "window", "head"), values)
        | dict.fromkeys(("away", "flow"), shares_of(values)),
        0.0,
        {},
        MARKS_KEY,
    )
    given = Evidence(Measured(values, KEY), 0.05, gains=gains, marks=marks, references=references)
    on_samples = Marked(
        {mark: marks.by_mark[mark] for mark in ("window", "away", "flow")}, 0.0, {}, "samples"
    )
    given = replace(given, on_samples=on_samples)
    return replace(given, **changes)


def test_the_table_of_this_test_names_every_null():
    assert set(TRAITS) == set(NULLS)


@pytest.mark.parametrize("name", NULLS)
def test_a_null_is_described_and_answers_by_its_name(name):
    row = NULLS[name]
    assert row.title
    assert row.basis
    assert "\n" not in row.title + row.basis
    found = decide(evidence(CLEAN), name)
    assert (found.decided_by, found.test.name, found.verdict) == (name, name, "clean")
    assert 0.05 < found.test.p_value <= 1
    assert found.test.log10 == pytest.approx(math.log10(found.test.p_value))


@pytest.mark.parametrize("name", NULLS)
def test_an_outlier_is_found_and_named(name):
    found = decide(evidence(ATTACKED), name)
    assert (found.verdict, found.targets) == ("backdoored", (4,))
    assert found.test.p_value <= 0.05
    assert found.test.p_value < decide(evidence(CLEAN), name).test.p_value


@pytest.mark.parametrize("name", NULLS)
def test_the_order_of_the_classes_does_not_matter(name):
    turned = {9 - label: value for label, value in ATTACKED.items()}
    found = decide(evidence(turned), name)
    assert found.targets == (5,)
    assert found.test.p_value == pytest.approx(decide(evidence(ATTACKED), name).test.p_value)


@pytest.mark.parametrize("name", [name for name in NULLS if TRAITS[name]["own classes"]])
def test_few_classes_are_told_and_never_clean(name):
    found = decide(evidence({0: 30.0, 1: 31.0, 2: 500.0}), name)
    assert found.verdict == "not evaluable"
    assert "at least 5" in found.reason


@pytest.mark.parametrize("name", NULLS)
def test_searches_that_got_stuck_are_never_clean(name):
    stuck = dict.fromkeys(range(6), -1.0) | {6: 30.0, 7: 31.0, 8: 32.0}
    found = decide(evidence(stuck), name)
    assert found.verdict != "clean"
    if TRAITS[name]["stuck"]:
        assert found.test.p_value is None


def test_only_preferred_nulls_decide_unasked_and_the_last_of_them_always_can():
    by_default = [name for name, row in NULLS.items() if row.by_default]
    assert by_default == ["reference", "with-samples", "combined", "joint", "population", "bootstrap"]
    alone = Evidence(Measured(ATTACKED, "of another search"), 0.05)
    assert decide(alone).decided_by == by_default[-1]


@pytest.mark.parametrize("name", NULLS)
def test_a_null_that_is_alone_says_the_same_whatever_else_is_known(name):
    more = evidence(ATTACKED)
    bare = replace(more, gains=None, marks=None, on_samples=None, default=None, references=None, kind="sound")
    row = NULLS[name]
    assert row.alone is (row.values(more) == row.values(bare))
    if row.alone:
        assert decide(more, name).test == decide(bare, name).test


@pytest.mark.parametrize("name", NULLS)
def test_a_gamma_has_the_parameters_to_draw_it(name):
    found = decide(evidence(CLEAN), name).test.parameters
    assert NULLS[name].gamma is ({"shape", "loc", "scale"} <= found.keys())
