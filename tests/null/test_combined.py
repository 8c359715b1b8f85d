"""The combined null by hand: what stands out, what adds up, who decides, and that its level holds."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import pytest

from mmbd.null import Evidence, Marked, Measured, combined
from mmbd.null.combined import MARGIN, PAIRS, Weights, evidence_of, of_model, parts, standing_out
from mmbd.null.decide import decide
from mmbd.null.population import Population
from mmbd.null.settings import joint_key, margins_key, marks_key
from mmbd.search.ascent import FAST
from mmbd.search.marks import Search

KEYS = ("margins", "marks")
EXPONENTIAL = tuple(sorted(-math.log(1 - (rank + 0.5) / 60) for rank in range(60)))
TABLE = Population(1.0, 0.0, EXPONENTIAL, joint_key(*KEYS))
MARKS = ("gain", "window", "away", "flow", "head")


@pytest.fixture(autouse=True)
def weights(monkeypatch: pytest.MonkeyPatch) -> Weights:
    """Every mark counts as 2, pairs as 5; clean networks' evidence is exponential with a mean of 1."""
    found = Weights(dict.fromkeys((MARGIN, *MARKS), 2.0) | {PAIRS: 5.0}, TABLE, TABLE)
    monkeypatch.setattr(combined, "shipped", lambda: found)
    return found


def flat(classes: int = 10) -> dict[int, float]:
    return dict.fromkeys(range(classes), 0.1)


def evidence(margins: Mapping[int, float] | None = None, **marks: Mapping[int, float]) -> Evidence:
    """Of ten classes that are alike, but for what is given."""
    by_mark = {mark: flat() for mark in MARKS} | marks
    values = dict.fromkeys(range(10), 30.0) | dict(margins or {})
    return Evidence(Measured(values, KEYS[0]), 0.05, marks=Marked(by_mark, 0.0, {}, KEYS[1]))


def changed(of: Evidence, **changes: Any) -> Evidence:
    assert of.marks is not None
    return replace(of, marks=replace(of.marks, **changes))


def test_the_top_class_stands_out_by_a_ratio_or_by_a_share():
    assert standing_out("window", {0: 1.0, 1: 4.0, 2: 2.0}) == {0: 0.0, 1: pytest.approx(math.log(2)), 2: 0.0}
    assert standing_out("flow", {0: 0.25, 1: 0.75, 2: 0.0})[1] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("mark", "values", "most"),
    [
        ("window", {0: 8.0, 1: 0.0}, math.log(20)),  # next to nothing is not infinitely less
        ("window", {0: 8.0, 1: -math.inf}, math.log(20)),
        ("gain", {0: 8.0, 1: -3.0}, math.log(20)),
        ("away", {0: 0.4, 1: -0.5}, 0.4),
        ("window", {0: -1.0, 1: -2.0}, 0.0),
        ("away", {0: 0.0, 1: 0.0}, 0.0),
        ("head", {0: 3.0}, 0.0),  # nothing to compare with
        ("margin", {}, 0.0),
        ("margin", {0: 2.0, 1: 2.0}, 0.0),
    ],
)
def test_what_stands_out_is_bounded(mark: str, values: dict[int, float], most: float):
    found = standing_out(mark, values)
    assert found.keys() == values.keys()
    assert max(found.values(), default=0.0) == pytest.approx(most)


def test_the_evidence_of_a_class_is_the_weighted_sum_of_its_parts():
    marked = {"window": {0: 4.0, 1: 1.0, 2: 1.0}, "flow": {0: 0.9, 1: 0.2, 2: 0.1}, "away": {2: 0.5, 1: 0.1}}
    each = parts(marked, {"window": 2.0, "flow": 10.0, "away": 0.5})
    assert each["window"] == {0: pytest.approx(2 * math.log(4)), 1: 0.0, 2: 0.0}
    whole = evidence_of(each, [0, 1, 2])
    assert whole == {0: pytest.approx(2 * math.log(4) + 7.0), 1: 0.0, 2: pytest.approx(0.2)}
    assert evidence_of(parts(marked, {}), [0, 1, 2]) == {0: 0.0, 1: 0.0, 2: 0.0}  # a mark without a weight


def test_marks_of_one_class_add_up_and_those_of_several_do_not():
    agreeing = decide(evidence({3: 90.0}, window=flat() | {3: 0.3}, flow=flat() | {3: 0.8}))
    assert (agreeing.verdict, agreeing.targets, agreeing.decided_by) == ("backdoored", (3,), "combined")
    scattered = decide(evidence({3: 90.0}, window=flat() | {4: 0.3}, flow=flat() | {5: 0.8}))
    assert (scattered.verdict, scattered.decided_by) == ("clean", "combined")
    assert scattered.test.p_value > agreeing.test.p_value
    told = agreeing.test.parameters
    assert told["margin"] == pytest.approx(2 * math.log(3))
    assert told["window"] == pytest.approx(2 * math.log(3))
    assert told["flow"] == pytest.approx(2 * 0.7)
    assert agreeing.test.statistic == pytest.approx(sum(told[mark] for mark in (MARGIN, *MARKS)))
    assert agreeing.values[3] == pytest.approx(agreeing.test.statistic)


def test_pairs_decide_where_they_have_most_evidence():
    turning = {label: (label + 1) % 10 for label in range(10)}
    found = decide(changed(evidence(), in_pairs=0.9, pairs=turning))
    assert (found.verdict, found.targets) == ("backdoored", tuple(range(10)))
    assert found.test.statistic == pytest.approx(5 * 0.9)
    assert found.test.parameters[PAIRS] == pytest.approx(5 * 0.9)
    few = decide(changed(evidence(), in_pairs=0.1, pairs=turning))
    assert (few.verdict, few.targets) == ("clean", ())
    one = evidence({3: 900.0}, window=flat() | {3: 5.0})
    assert decide(changed(one, in_pairs=0.9, pairs=turning)).targets == (3,)


def test_a_second_target_is_stepped_down_to():
    both = evidence({3: 900.0, 7: 400.0}, window=flat() | {3: 9.0, 7: 3.0}, head=flat() | {3: 8.0, 7: 2.0})
    assert decide(both).targets == (3, 7)
    alone = evidence({3: 900.0, 7: 33.0}, window=flat() | {3: 9.0}, head=flat() | {3: 8.0})
    assert decide(alone).targets == (3,)


def test_at_most_half_of_the_classes_are_targets_and_the_rest_are_enough_to_compare_with():
    steep = {label: 3.0 ** (20 - label) for label in range(10)}
    found = decide(evidence(steep, window=steep, head=steep))
    assert found.targets == tuple(range(5))
    few = {label: value for label, value in steep.items() if label < 6}
    six = replace(evidence(), margins=Measured(few, KEYS[0]))
    assert decide(changed(six, by_mark={"window": few, "head": few})).targets == (0, 1)


def test_the_order_of_the_classes_does_not_matter():
    values = evidence({3: 90.0}, window=flat() | {3: 0.5}, away=flat() | {1: 0.4})
    turned = {label: 9 - label for label in range(10)}
    assert values.marks is not None

    def turn(numbers: Mapping[int, float]) -> dict[int, float]:
        return {turned[label]: value for label, value in numbers.items()}

    other = replace(
        changed(values, by_mark={mark: turn(one) for mark, one in values.marks.by_mark.items()}),
        margins=Measured(turn(values.margins.by_class), KEYS[0]),
    )
    assert decide(other).test.p_value == pytest.approx(decide(values).test.p_value)


def test_a_class_without_a_mark_is_not_judged_by_the_others():
    """A class that only unusual starts reach has a margin alone; its number may not speak for it."""
    given = evidence({3: 9e9})
    assert given.marks is not None
    by_mark = {mark: {k: v for k, v in one.items() if k != 3} for mark, one in given.marks.by_mark.items()}
    found = decide(changed(given, by_mark=by_mark), "combined")
    assert 3 not in found.values
    assert len(found.values) == 9
    assert found.verdict == "clean"


def test_marks_of_classes_without_a_margin_are_left_out():
    given = evidence(window=flat() | {3: 9.0})
    margins = {label: 30.0 for label in range(10) if label != 3}
    found = decide(replace(given, margins=Measured(margins, KEYS[0])), "combined")
    assert 3 not in found.values
    assert found.verdict == "clean"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "sound"}, "classifiers of images"),
        ({"marks": None}, "were not searched for"),
        ({"marks": None, "without_marks": "too few inputs"}, "too few inputs"),
        ({"margins": Measured(flat(), "others")}, "other settings"),
        ({"margins": Measured(dict.fromkeys(range(4), 30.0), KEYS[0])}, "4 classes with a valid statistic"),
        ({"margins": Measured(dict.fromkeys(range(10), -1.0), KEYS[0])}, "searches got stuck"),
    ],
)
def test_where_it_does_not_apply_it_says_why_and_is_never_clean(change: dict[str, Any], reason: str):
    found = decide(replace(evidence(window=flat() | {3: 9.0}), **change), "combined")
    assert found.verdict == "not evaluable"
    assert reason in str(found.reason)
    assert found.test.p_value is None


def test_marks_of_other_settings_do_not_compare():
    found = decide(changed(evidence(), settings_key="of a search of one's own"), "combined")
    assert "other settings" in str(found.reason)


def test_without_marks_the_next_null_decides():
    assert decide(replace(evidence(), marks=None)).decided_by not in ("combined", "reference")


def network(draw: random.Random) -> tuple[dict[str, dict[int, float]], int]:
    """Marks of a clean network: numbers of which none has to do with another."""
    classes = draw.randint(5, 12)
    marked = {mark: {label: draw.gammavariate(3, 1) for label in range(classes)} for mark in (MARGIN, *MARKS)}
    marked["away"] = {label: draw.random() ** 2 for label in range(classes)}
    marked["flow"] = {label: draw.random() ** 2 for label in range(classes)}
    return marked, classes


@pytest.mark.parametrize("seed", range(3))
def test_clean_networks_are_flagged_no_more_often_than_the_level_says(seed: int, weights: Weights):
    """Each of exchangeable networks against the table of the others."""
    draw, most = random.Random(seed), list[float]()
    for _ in range(200):
        marked, classes = network(draw)
        most.append(max(evidence_of(parts(marked, weights.by_mark), range(classes)).values()))
    found: list[float] = []
    for place, value in enumerate(most):
        others = tuple(sorted(most[:place] + most[place + 1 :]))
        found.append(Population(1.0, 0.0, others, "").tail(value))
    for level in (0.05, 0.1, 0.3):
        spread = math.sqrt(200 * level * (1 - level))
        assert sum(p <= level for p in found) <= 200 * level + 2 * spread
    assert sum(p <= 0.5 for p in found) == pytest.approx(100, abs=4)  # by rank, it is exact


def test_the_shipped_table_is_of_the_default_search(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    found = combined.shipped()
    assert set(found.by_mark) == {MARGIN, *MARKS, PAIRS} - {"flow"}  # which is only searched for if asked
    assert all(weight >= 0 for weight in found.by_mark.values())
    assert list(found.table.gaps) == sorted(found.table.gaps)
    assert len(found.table.gaps) > 20
    assert all(math.isfinite(gap) and gap >= 0 for gap in found.table.gaps)
    given = evidence()
    default = Measured(given.margins.by_class, margins_key("fast", asdict(FAST)))
    ours = changed(replace(given, margins=default), settings_key=marks_key(Search()))
    assert not isinstance(of_model(ours), str)


def test_without_a_head_clean_networks_are_compared_without_theirs(monkeypatch: pytest.MonkeyPatch):
    smaller = Population(0.5, 0.0, EXPONENTIAL, TABLE.settings_key)  # half as much evidence without it
    found = Weights(dict.fromkeys((MARGIN, *MARKS), 1.0) | {PAIRS: 5.0}, TABLE, smaller)
    monkeypatch.setattr(combined, "shipped", lambda: found)
    seen = evidence(window=flat() | {3: 0.3})
    without = changed(
        seen, by_mark={mark: flat() for mark in MARKS if mark != "head"} | {"window": flat() | {3: 0.3}}
    )
    with_head, headless = (
        next(test for test in decide(one).tests if test.name == "combined") for one in (seen, without)
    )
    assert with_head.statistic == pytest.approx(math.log(3))
    assert headless.statistic == pytest.approx(math.log(3))
    assert with_head.p_value == pytest.approx(TABLE.tail(math.log(3)))
    assert headless.p_value == pytest.approx(TABLE.tail(2 * math.log(3)))
