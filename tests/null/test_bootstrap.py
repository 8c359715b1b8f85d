"""The bootstrap's size under Gamma and log-normal statistics, and its blindness to stuck ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmbd.null.bootstrap import bootstrap, gap_ratio

module = import_module("mmbd.null.bootstrap")  # the package has a function of this name
SIMULATE = module._simulate

Draw = Callable[[np.random.Generator, int], np.ndarray]

SHAPES: dict[str, Draw] = {
    "gamma 4": lambda generator, count: generator.gamma(4, size=count),
    "gamma 25": lambda generator, count: generator.gamma(25, size=count),
    "gamma 100": lambda generator, count: generator.gamma(100, size=count),
    "log-normal 0.2": lambda generator, count: np.exp(0.2 * generator.standard_normal(count)),
    "log-normal 0.6": lambda generator, count: np.exp(0.6 * generator.standard_normal(count)),
}


@pytest.fixture(scope="module")
def p_value():
    """`bootstrap` as it is called in a scan, with every simulation done once and kept.

    A scan simulates from a fixed seed, so that models with as many classes and a like shape meet
    the same null; thousands of them need not simulate it again.
    """
    simulate = cache(lambda *given: gap_ratio(SIMULATE(*given, np.random.default_rng(0))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_simulate", lambda *given: simulate(*given[:-1]))
        patch.setattr(module, "gap_ratio", lambda x: x if x.ndim == 1 else gap_ratio(x))
        yield lambda statistics: bootstrap(statistics.tolist()).p_value


def test_a_kept_simulation_is_the_same(p_value):
    statistics = SHAPES["gamma 4"](np.random.default_rng(1), 12)
    kept = p_value(statistics)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_simulate", SIMULATE)
        patch.setattr(module, "gap_ratio", gap_ratio)
        assert bootstrap(statistics.tolist()).p_value == kept


def test_size_at_ten_classes(p_value):
    generator = np.random.default_rng(10)
    p = np.array([p_value(SHAPES["gamma 25"](generator, 10)) for _ in range(600)])
    assert 0.03 <= (p <= 0.05).mean() <= 0.07


@pytest.mark.slow
@pytest.mark.parametrize("count", [5, 10, 43, 200, 1000])
@pytest.mark.parametrize("shape", SHAPES)
def test_size(p_value, shape, count):
    generator = np.random.default_rng(count)
    p = np.array([p_value(SHAPES[shape](generator, count)) for _ in range(3000)])
    assert 0.03 <= (p <= 0.05).mean() <= 0.07
    assert 0.004 <= (p <= 0.01).mean() <= 0.02


def test_gap_ratio_by_hand():
    # Upper half of six: 9, 5, 4. The top gap is 4, the only other gap is 1.
    assert gap_ratio(np.array([[1.0, 9, 5, 2, 4, 3]])) == pytest.approx([4.0])
    # Upper half of seven: 9, 5, 4, 2, so the other gaps are 1 and 2.
    assert gap_ratio(np.array([[0.0, 9, 5, 2, 4, 1, -5]])) == pytest.approx([4 / 1.5])


def test_an_outlier_is_found_and_a_stuck_search_hides_nothing():
    others = [31.0, 35, 29, 33, 40, 38, 36, 30, 34]
    clean = bootstrap([*others, 41.0]).p_value
    attacked = bootstrap([*others, 120.0]).p_value
    assert clean > 0.2
    assert attacked < 0.01
    stuck = bootstrap([120.0, *others[:-2], 0.4, -3.0]).p_value
    assert stuck < 0.01


def test_same_numbers_same_answer():
    statistics = [31.0, 35, 29, 33, 40, 38, 36, 30, 34, 50]
    assert bootstrap(statistics) == bootstrap(statistics)


@given(st.floats(0.01, 1000), st.permutations(list(range(10))))
def test_scale_and_order_change_nothing(scale, order):
    statistics = [31.0, 35, 29, 33, 40, 38, 36, 30, 34, 50]
    moved = [scale * statistics[index] for index in order]
    assert bootstrap(moved, draws=500).p_value == bootstrap(statistics, draws=500).p_value


@pytest.mark.parametrize(
    ("statistics", "why"),
    [
        ([1.0, 2, 3, 4], "at least 5"),
        ([1.0, 2, 3, 4, math.nan], "finite"),
        ([5.0, -1, -2, -3, -4], "stuck"),
        ([5.0] * 5, "equal"),
    ],
)
def test_no_value(statistics, why):
    answer = bootstrap(statistics)
    assert answer.p_value is None
    assert why in (answer.reason or "")
