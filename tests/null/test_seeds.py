"""Several seeds, one verdict: the rule, its level, and who is named."""

from __future__ import annotations

import random

import pytest

from mmbd.null.seeds import majority, pooled
from mmbd.results.finding import Finding, Test


def judged(p: float | None, *targets: int) -> Finding:
    flagged = p is not None and p <= 0.05
    return Finding(
        verdict="not evaluable" if p is None else "backdoored" if flagged else "clean",
        reason="stuck" if p is None else None,
        targets=(targets or (3,)) if flagged else (),
        decided_by="joint",
        score=None if p is None else 1.0,
        tests=(
            Test("joint", p_value=p, log10=None if p is None else -1.0),
            Test("paper", p_value=0.5, log10=-0.3),
        ),
    )


def together(*values: float | None) -> Finding:
    return pooled([judged(value) for value in values], 0.05)[1]


def test_one_seed_speaks_for_itself():
    one = judged(0.03)
    assert pooled([one], 0.05) == (0, one)


@pytest.mark.parametrize(
    ("values", "p"),
    [
        ((0.01, 0.04), 0.04),  # both have to agree
        ((0.01, 0.2), 0.2),
        ((0.01, 0.02, 0.9), 0.03),  # the second of three, times 3/2
        ((0.001, 0.5, 0.6, 0.7), 0.8),  # the third of four, times 4/3
        ((0.7, 0.6, 0.5, 0.001), 0.8),
        ((0.03, 0.01, 0.02, 0.9), 0.04),
        ((0.9, 0.9, 0.9), 1.0),
    ],
)
def test_the_rule_by_hand(values, p):
    found = together(*values)
    assert found.test.p_value == pytest.approx(p)
    assert found.verdict == ("backdoored" if p <= 0.05 else "clean")
    assert found.score == -found.test.log10
    assert found.tests[1].p_value == 0.5


def test_the_seed_that_decides_is_told():
    assert pooled([judged(0.9), judged(0.01), judged(0.02)], 0.05)[0] == 2


@pytest.mark.parametrize("count", [2, 3, 4, 5])
@pytest.mark.parametrize("shared", [0.0, 0.5, 0.9, 1.0])
def test_the_level_is_kept_whatever_seeds_have_in_common(count, shared):
    """Uniform p-values that are the same with some probability, or else drawn anew."""
    draw = random.Random(count)
    trials = 4000
    alarms = 0
    for _ in range(trials):
        common = draw.random()
        values = [common if draw.random() < shared else draw.random() for _ in range(count)]
        alarms += together(*values).verdict == "backdoored"
    # Four standard deviations above the level at the most.
    assert alarms / trials <= 0.05 + 4 * (0.05 * 0.95 / trials) ** 0.5


def test_the_worst_dependence_just_keeps_the_level():
    """Half of the seeds small together, in turn: the bound is met and not passed."""
    draw = random.Random(0)
    count, rank, trials, alarms = 3, majority(3), 4000, 0
    for _ in range(trials):
        value = draw.random() * 0.05 * rank / count
        small = draw.random() < 0.05  # p-values stay uniform below this
        chosen = draw.sample(range(count), rank)
        values = [value if small and seed in chosen else 0.5 for seed in range(count)]
        alarms += together(*values).verdict == "backdoored"
    assert 0.03 < alarms / trials <= 0.05 + 4 * (0.05 * 0.95 / trials) ** 0.5


def test_a_seed_that_could_not_be_judged():
    assert together(0.001, None, 0.002).verdict == "backdoored"
    open_ = together(0.4, None, 0.3)
    assert (open_.verdict, open_.reason) == ("not evaluable", "stuck")
    assert together(0.01, None).verdict == "not evaluable"
    assert together(None, None, None).verdict == "not evaluable"


def test_targets_that_most_seeds_name():
    several = [judged(0.01, 3, 4), judged(0.011, 3, 5), judged(0.012, 3, 6)]
    assert pooled(several, 0.05)[1].targets == (3,)
    apart = [judged(0.01, 4), judged(0.012, 5)]
    assert pooled(apart, 0.05)[1].targets == (5,)


def voted(statistic: float, *targets: int) -> Finding:
    flagged = statistic > 2
    test = Test("MAD", statistic=statistic, threshold=2.0)
    return Finding(
        "backdoored" if flagged else "clean", targets if flagged else (), tests=(test,), decided_by="MAD"
    )


@pytest.mark.parametrize(
    ("statistics", "verdict"),
    [((3.0, 1.0, 4.0), "backdoored"), ((3.0, 1.0), "clean"), ((1.0, 1.0, 5.0), "clean")],
)
def test_of_tests_by_threshold_the_majority_decides(statistics, verdict):
    found = pooled([voted(value, 7) for value in statistics], 0.05)[1]
    assert found.verdict == verdict
    assert found.targets == ((7,) if verdict == "backdoored" else ())
    assert found.test.p_value is None
