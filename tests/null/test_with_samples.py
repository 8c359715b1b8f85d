"""The null with samples: whose marks count, which table, and that nothing is said of it without samples."""

from __future__ import annotations

import json
import math
import random
from dataclasses import asdict, replace
from importlib.resources import files

import pytest

from mmbd.null import NULLS, Evidence, Marked, Measured, combined, with_samples
from mmbd.null.combined import FLOW, HEAD, MARGIN, PAIRS, Weights
from mmbd.null.decide import decide
from mmbd.null.population import Population
from mmbd.null.settings import joint_key, margins_key, marks_key
from mmbd.null.with_samples import (
    BY_MARKS,
    BY_PAIRS,
    NAME,
    ON_SAMPLES,
    Look,
    by_pairs_on_samples,
    samples_key,
    search_key,
)
from mmbd.search import marks, marks_on_samples
from mmbd.search.ascent import FAST

KEYS = ("margins", "marks", "samples")
EXPONENTIAL = tuple(sorted(-math.log(1 - (rank + 0.5) / 60) for rank in range(60)))
TABLE = Population(1.0, 0.0, EXPONENTIAL, joint_key(KEYS[0], samples_key(*KEYS[1:])))
FREE, OWN = ("gain", "window", "away", "head"), ("window", "away", "flow")
SHIPPED_LOOK = with_samples.second_look
SHARE = 0.2  # of the level, for the second look
TURNING = {label: (label + 1) % 10 for label in range(10)}
SHIPPED = files("mmbd.null").joinpath("with_samples.json")


@pytest.fixture(autouse=True)
def weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every mark counts as 2, pairs as 5; without the head, evidence is twice as much by its table."""
    by_mark = dict.fromkeys((MARGIN, *FREE, FLOW), 2.0) | {PAIRS: 5.0}
    found = Weights(by_mark, TABLE, replace(TABLE, scale=0.5))
    monkeypatch.setattr(with_samples, "shipped", lambda: found)
    look = Look(SHARE, Weights({PAIRS: 1.0}, replace(TABLE, scale=0.1), replace(TABLE, scale=0.2)))
    monkeypatch.setattr(with_samples, "second_look", lambda: look)


def flat() -> dict[int, float]:
    return dict.fromkeys(range(10), 0.1)


def evidence(
    own: dict[str, dict[int, float]] | None = None, in_pairs: float = 0.0, **free: dict[int, float]
) -> Evidence:
    """Of ten classes that are alike, but for what is given; `in_pairs` is of samples."""
    return Evidence(
        Measured(dict.fromkeys(range(10), 30.0), KEYS[0]),
        0.05,
        marks=Marked({mark: flat() for mark in FREE} | free, 0.0, {}, KEYS[1]),
        on_samples=Marked({mark: flat() for mark in OWN} | (own or {}), in_pairs, TURNING, KEYS[2]),
    )


def test_a_flow_alone_decides():
    found = decide(evidence({"flow": flat() | {3: 0.9, 5: 0.1}}, window=flat() | {3: 0.5}))
    assert (found.verdict, found.targets, found.decided_by) == ("backdoored", (3,), NAME)
    assert found.test.parameters[FLOW] == pytest.approx(2 * 0.8)
    assert found.test.parameters["window"] == pytest.approx(2 * math.log(5))
    assert found.test.statistic == pytest.approx(2 * 0.8 + 2 * math.log(5))


def test_windows_and_pairs_are_those_without_data():
    made_up = decide(evidence({"window": flat() | {5: 9.0}}, window=flat() | {3: 9.0}))
    assert made_up.decided_by == NAME
    assert made_up.targets == (3,)
    given = evidence()
    assert given.marks is not None
    found = decide(replace(given, marks=replace(given.marks, in_pairs=0.9, pairs=TURNING)))
    assert found.targets == tuple(range(10))
    assert combined.by_pairs(found.test)
    assert not by_pairs_on_samples(found.test)


def test_pairs_on_samples_are_a_second_look_at_a_share_of_the_level():
    found = decide(evidence(in_pairs=0.9))
    assert (found.verdict, found.targets, found.decided_by) == ("backdoored", tuple(range(10)), NAME)
    assert by_pairs_on_samples(found.test)
    assert found.test.statistic == found.test.parameters[ON_SAMPLES] == 0.9
    assert found.test.p_value == found.test.parameters[BY_PAIRS] == pytest.approx(TABLE.tail(9.0) / SHARE)
    assert found.test.parameters[BY_MARKS] == 1.0
    assert decide(evidence()).verdict == decide(evidence(in_pairs=0.3)).verdict == "clean"


def test_the_first_look_has_the_rest_of_the_level_for_further_targets_too():
    lone = evidence({"flow": flat() | {3: 0.9}}, window=flat() | {3: 0.5})
    found = decide(lone)
    assert not by_pairs_on_samples(found.test)
    assert found.test.p_value == pytest.approx(TABLE.tail(found.test.statistic) / (1 - SHARE))
    assert found.test.p_value == found.test.parameters[BY_MARKS]
    # A further target: one of five looked at, and its evidence has to be that rare in the first look's share.
    gap = next(step / 100 for step in range(1000) if TABLE.tail(step / 100) <= 0.05 * (1 - SHARE) / 5)
    for off, targets in ((-0.05, (3,)), (0.05, (3, 5))):
        second = 0.1 * math.exp((gap + off) / 2)
        given = evidence({"flow": flat() | {3: 5.0}}, window=flat() | {5: second})
        assert decide(given).targets == targets


@pytest.mark.parametrize("alike", [0.0, 0.7, 1.0])
def test_both_looks_together_hold_the_level_where_networks_are_exchangeable(
    monkeypatch: pytest.MonkeyPatch, alike: float
):
    draw = random.Random(1).expovariate
    row, numbers, alarms, rounds = NULLS[NAME], [0.0] * 10, 0, 800
    for _ in range(rounds):
        sums = [draw(1.0) for _ in range(41)]
        shares = [alike * one + (1 - alike) * draw(1.0) for one in sums]
        first, second = (replace(TABLE, gaps=tuple(sorted(gaps[1:]))) for gaps in (sums, shares))
        marks, pairs = (
            Weights(weights, table, table)
            for weights, table in (({FLOW: 1.0}, first), ({PAIRS: 1.0}, second))
        )
        monkeypatch.setattr(with_samples, "shipped", lambda marks=marks: marks)
        monkeypatch.setattr(with_samples, "second_look", lambda pairs=pairs: Look(SHARE, pairs))
        numbers[3] = sums[0]
        given = evidence({"flow": flat() | {3: 0.1 + sums[0]}}, shares[0])
        alarms += row.test(numbers, given).p_value <= 0.05
    assert alarms <= 0.05 * rounds + 2 * math.sqrt(0.05 * 0.95 * rounds)
    assert alarms > 0  # or the level is not used at all


def test_images_that_are_too_small_for_a_flow_are_judged_without():
    given = evidence()
    assert given.on_samples is not None
    by_mark = {mark: values for mark, values in given.on_samples.by_mark.items() if mark != FLOW}
    found = decide(replace(given, on_samples=replace(given.on_samples, by_mark=by_mark)))
    assert NAME not in {test.name for test in found.tests}


def test_without_the_head_there_is_a_table_of_its_own():
    given = evidence({"flow": flat() | {3: 0.9, 5: 0.1}})
    assert given.marks is not None
    marked = {mark: values for mark, values in given.marks.by_mark.items() if mark != HEAD}
    headless = replace(given, marks=replace(given.marks, by_mark=marked))
    twice = TABLE.tail(2 * decide(given).test.statistic)
    assert decide(headless).test.p_value == pytest.approx(twice / (1 - SHARE))
    assert headless.on_samples is not None
    paired = replace(headless, on_samples=replace(headless.on_samples, in_pairs=0.9))
    assert decide(paired).test.parameters[BY_PAIRS] == pytest.approx(TABLE.tail(0.9 / 0.2) / SHARE)


def test_without_samples_it_is_not_worth_a_word_and_with_them_the_others_say_what_they_say():
    given = evidence({"flow": flat() | {3: 0.9}}, window=flat() | {3: 9.0})
    without = decide(replace(given, on_samples=None))
    assert NAME not in {test.name for test in without.tests}
    assert without.decided_by != NAME
    assert [test for test in decide(given).tests if test.name != NAME] == list(without.tests)


def test_other_settings_and_no_table_leave_the_decision_to_the_next(monkeypatch: pytest.MonkeyPatch):
    given = evidence()
    assert given.on_samples is not None
    other = decide(replace(given, on_samples=replace(given.on_samples, settings_key="of one's own")), NAME)
    assert "other settings" in str(other.reason)
    monkeypatch.setattr(with_samples, "shipped", lambda: None)
    assert decide(given, NAME).reason == with_samples.NO_TABLE
    assert decide(given).decided_by != NAME


@pytest.mark.skipif(not SHIPPED.is_file(), reason="no table was made yet")
def test_the_shipped_table_is_of_the_default_search():
    raw = json.loads(SHIPPED.read_text(encoding="utf-8"))
    found = combined.shipped("with_samples")
    assert set(found.by_mark) == {MARGIN, *FREE, FLOW, PAIRS}
    assert all(weight >= 0 for weight in found.by_mark.values())
    search = samples_key(marks_key(marks.Search()), search_key(marks_on_samples.Search()))
    assert raw["made_by"] == joint_key(margins_key("fast", asdict(FAST)), search)
    look = SHIPPED_LOOK()
    assert 0 < look.share < 0.5
    assert list(look.weights.by_mark) == [PAIRS]
    for table in (found.table, found.headless, look.weights.table, look.weights.headless):
        assert table.settings_key == raw["made_by"]
        assert list(table.gaps) == sorted(table.gaps)
        assert len(table.gaps) > 20
        assert all(math.isfinite(gap) and gap >= 0 for gap in table.gaps)
