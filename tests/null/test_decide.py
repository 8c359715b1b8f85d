"""Which null decides, step down to several targets, references, and too few classes."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from mmbd.base.errors import Failed
from mmbd.null import Evidence, Measured, References
from mmbd.null.decide import Decision, decide
from mmbd.null.population import shipped
from mmbd.results.finding import Test

KEY = shipped().settings_key
GAINS_KEY = json.loads(shipped("joint").settings_key)[1]
CLEAN = dict(enumerate([30.0, 31, 33, 29, 30, 32, 31, 30, 33, 34]))
ATTACKED = CLEAN | {4: 200.0}
NAMES = tuple("abcdefghij")


def judge(
    values: dict[int, float], null: str | None = None, *, key: str = KEY, level: float = 0.05, **more: Any
) -> Decision:
    return decide(Evidence(Measured(values, key), level, **more), null)


def answer_of(found: Decision, name: str) -> Test:
    return next(test for test in found.tests if test.name == name)


def references(count: int, largest: float = 40.0) -> References:
    return References(tuple((20.0, 25.0, largest - index * 0.1) for index in range(count)), KEY)


def test_population_decides_by_default():
    found = judge(ATTACKED)
    assert (found.verdict, found.targets, found.decided_by) == ("backdoored", (4,), "population")
    assert found.test.p_value <= 0.05
    assert [test.name for test in found.tests] == [
        "combined",
        "joint",
        "population",
        "bootstrap",
        "paper",
        "authors",
    ]
    assert "not searched for" in answer_of(found, "joint").reason
    clean = judge(CLEAN)
    assert (clean.verdict, clean.targets) == ("clean", ())


def gains(**changes: float) -> Measured:
    given = dict.fromkeys(CLEAN, 2.0) | {int(label[1:]): value for label, value in changes.items()}
    return Measured(given, GAINS_KEY)


def test_the_joint_null_decides_where_gains_are_given():
    found = judge(ATTACKED, gains=gains(_4=20.0))
    assert (found.verdict, found.targets, found.decided_by) == ("backdoored", (4,), "joint")
    # Neither a slightly larger margin nor a slightly larger gain is enough by itself.
    both = judge(CLEAN | {4: 50.0}, gains=gains(_4=20.0))
    assert (both.decided_by, both.targets) == ("joint", (4,))
    apart = judge(CLEAN | {4: 41.0}, gains=gains(_5=2.4))
    assert apart.verdict == "clean"


def test_what_margins_alone_do_not_see_the_gains_may():
    found = judge(CLEAN, gains=gains(_3=30.0))
    assert (found.decided_by, found.targets) == ("joint", (3,))
    assert judge(CLEAN).verdict == "clean"


def test_gains_of_other_settings_do_not_compare():
    other = Measured(gains().by_class, "other")
    found = judge(ATTACKED, gains=other)
    assert "settings" in answer_of(found, "joint").reason
    assert found.decided_by == "population"


def test_the_joint_null_steps_down_too():
    two = CLEAN | {4: 200.0, 7: 190.0}
    found = judge(two, gains=gains(_4=20.0, _7=20.0))
    assert (found.decided_by, found.targets) == ("joint", (4, 7))


def test_bootstrap_decides_for_other_settings():
    found = judge(ATTACKED, key="other")
    assert found.decided_by == "bootstrap"
    assert found.targets == (4,)


@pytest.mark.parametrize("null", ["population", "bootstrap", "paper", "authors"])
def test_the_null_asked_for_decides(null):
    found = judge(ATTACKED, null=null)
    assert (found.decided_by, found.targets) == (null, (4,))


def test_step_down_finds_two_targets():
    two = CLEAN | {4: 200.0, 7: 190.0}
    found = judge(two)
    assert found.targets == (4, 7)
    apart = CLEAN | {4: 3000.0, 7: 300.0}
    assert judge(apart).targets == (4, 7)


def test_a_shadow_of_a_strong_target_is_none():
    """Class 7 stands out among the rest, but is far below the target."""
    shadowed = CLEAN | {4: 3000.0, 7: 90.0}
    assert judge(shadowed).targets == (4,)
    nearer = CLEAN | {4: 200.0, 7: 90.0}
    assert judge(nearer).targets == (4, 7)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_few_classes_are_not_evaluable(count):
    found = judge(dict(enumerate([5.0] * count)))
    assert found.verdict == "not evaluable"
    assert "at least 5" in found.reason
    assert found.targets == ()


def test_tables_of_image_classifiers_judge_no_others():
    found = judge(ATTACKED, gains=gains(_4=20.0), kind="sound")
    assert found.decided_by == "bootstrap"
    for name in ("joint", "population"):
        answer = answer_of(found, name)
        assert answer.p_value is None
        assert "classifiers of images" in answer.reason
    asked = judge(ATTACKED, null="population", kind="sound")
    assert asked.verdict == "not evaluable"
    assert "Reference models" in asked.reason


def test_references_decide_where_they_suffice():
    three = {0: 20.0, 1: 25.0, 2: 39.0}
    clean = judge(three, references=references(19))
    assert (clean.decided_by, clean.verdict) == ("reference", "clean")
    found = judge(three | {1: 50.0}, references=references(19))
    assert (found.verdict, found.targets, found.test.p_value) == ("backdoored", (1,), 0.05)


def test_all_to_all_is_seen_with_references():
    everywhere = dict.fromkeys(range(10), 90.0)
    assert judge(everywhere).verdict != "backdoored"
    found = judge(everywhere, references=references(30))
    assert len(found.targets) == 10


def test_too_few_references_say_so_and_leave_the_verdict_to_others():
    found = judge(ATTACKED, references=references(5))
    answer = answer_of(found, "reference")
    assert answer.p_value is None
    assert "needs 19" in answer.reason
    assert found.decided_by == "population"


def test_references_with_other_settings_do_not_compare():
    found = judge(ATTACKED, key="other", references=references(30))
    assert "settings" in answer_of(found, "reference").reason


def test_class_p_values_by_hand():
    given = References(((1.0, 2.0), (3.0, 4.0)), KEY)
    compared = given.compare({7: 3.0, 8: 5.0, 9: 0.0})
    assert not compared.by_class
    assert compared.class_p_values() == {7: 3 / 5, 8: 1 / 5, 9: 1.0}


def test_z_scores_by_class_by_hand():
    given = References(((1.0, 100.0), (2.0, 100.0), (3.0, 400.0)), KEY, ("a", "b"))
    compared = given.compare({0: 4.0, 1: 200.0}, ("a", "b"))
    assert compared.by_class
    # 4 beside 1, 2, 3: mean 2, deviation 1; 200 beside 100, 100, 400: mean 200.
    assert compared.own == pytest.approx({0: 2.0, 1: 0.0})
    # 1 beside 4, 2, 3, and 100 beside 200, 100, 400: means 3 and 233.3, deviations 1 and 152.8.
    assert compared.references[0] == pytest.approx((-2.0, -0.8729), abs=1e-4)
    assert compared.class_p_values() == pytest.approx({0: 2 / 7, 1: 3 / 7})


def noisy(count: int, classes: int = 10) -> list[tuple[float, ...]]:
    """Clean models of one task: every class has a margin of its own, 5 to 500."""
    draw = random.Random(0).gauss
    return [tuple(5 * 1.67**label * (1 + 0.1 * draw(0, 1)) for label in range(classes)) for _ in range(count)]


def test_a_class_with_small_margins_is_seen_by_references_with_the_same_classes():
    *theirs, own = noisy(20)
    given = References(tuple(theirs), KEY, NAMES)
    asked = {"references": given, "names": NAMES}
    clean = dict(enumerate(own))
    assert judge(clean, **asked).verdict == "clean"
    found = judge(clean | {1: 3 * own[1]}, **asked)
    assert (found.decided_by, found.targets, found.test.p_value) == ("reference", (1,), 0.05)
    assert answer_of(found, "reference").parameters["by_class"] == 1.0
    # As one class among all it is far from the largest.
    for other in (None, NAMES[:9], NAMES[::-1]):
        assert judge(clean | {1: 3 * own[1]}, **asked | {"names": other}).verdict == "clean"


def test_classes_in_another_order_are_not_compared_one_by_one():
    *theirs, own = noisy(20)
    given = References(tuple(theirs), KEY, NAMES)
    turned = dict(enumerate(own[::-1]))
    asked = {"references": given}
    assert judge(turned, names=NAMES[::-1], **asked).verdict == "clean"
    assert judge(turned, names=NAMES, **asked).verdict == "backdoored"  # numbers cannot tell


def test_p_values_by_class_are_uniform_on_exchangeable_models():
    models = noisy(20)
    ranks: list[float] = []
    for place, own in enumerate(models):
        given = References(tuple(models[:place] + models[place + 1 :]), KEY, NAMES)
        compared = given.compare(dict(enumerate(own)), NAMES)
        ranks.append(given.model_p_value(compared, KEY, 0.05).p_value)
    ranks.sort()
    assert ranks == pytest.approx([(place + 1) / 20 for place in range(20)])


def test_equal_references_and_a_class_without_statistic():
    given = References(((1.0, 2.0),) * 19, KEY, ("a", "b"))
    same = judge({0: 1.0}, references=given, names=("a", "b"))
    assert (same.verdict, same.test.p_value) == ("clean", 1.0)
    more = judge({1: 2.1}, references=given, names=("a", "b"))
    assert more.targets == (1,)


def test_no_references():
    with pytest.raises(Failed):
        References((), KEY)
