"""The population null: arithmetic of the gap and its tail, masking, and the shipped table."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest

from mmbd.null.population import Population, fit, population, shipped, top_gap
from mmbd.null.settings import margins_key
from mmbd.search.ascent import FAST


def test_top_gap_by_hand():
    gap, outliers = top_gap([1.0, 2, 4, 3, 8])
    assert (gap, outliers) == (pytest.approx(math.log(2)), 1)


def test_two_targets_do_not_hide_each_other():
    gap, outliers = top_gap([10.0, 11, 9, 10, 12, 60, 61, 10])
    assert outliers == 2
    assert gap == pytest.approx(math.log(60 / 12) / 2)
    # With few classes the third largest is no measure of the bulk.
    assert top_gap([10.0, 11, 9, 60, 61])[1] == 1


def test_a_gap_over_nothing_is_infinite():
    assert top_gap([5.0, -1, -2, -3, -4])[0] == math.inf
    assert top_gap([-5.0, -1, -2, -3, -4])[0] == 0.0


def test_the_body_is_a_rank_and_the_tail_falls_on():
    table = Population(0.5, 0.5, tuple(float(value) for value in range(1, 101)), "x")
    assert table.tail(0.5) == 1.0
    assert table.tail(51) == pytest.approx(51 / 101)
    values = [table.tail(gap) for gap in (81, 90, 120, 200, 1000)]
    assert values == sorted(values, reverse=True)
    assert values[-1] > 0


def test_size_on_the_population_it_was_fitted_to():
    generator = np.random.default_rng(1)

    def model() -> list[float]:
        return np.exp(0.2 * generator.standard_normal(10)).tolist()

    table = fit([model() for _ in range(300)], "x")
    p = np.array([population(model(), "x", table).p_value for _ in range(2000)])
    assert 0.02 <= (p <= 0.05).mean() <= 0.08
    assert (p <= 0.01).mean() <= 0.025


def test_gaps_shrink_with_classes_as_fitted():
    generator = np.random.default_rng(2)
    models = [
        np.exp(0.2 * generator.standard_normal(count)).tolist()
        for count in (10, 20, 50, 100)
        for _ in range(200)
    ]
    table = fit(models, "x")
    assert table.power > 0
    assert table.usual(100) < table.usual(10)


def test_the_shipped_table_is_for_the_fast_search():
    table = shipped()
    assert table.settings_key == margins_key("fast", asdict(FAST))
    assert len(table.gaps) >= 60
    assert list(table.gaps) == sorted(table.gaps)
    assert min(table.gaps) >= 0
    answer = population([30.0, 31, 33, 29, 30, 32, 31, 30, 33, 200], table.settings_key)
    assert answer.p_value < 0.01
    assert answer.parameters["outliers"] == 1


def test_other_settings_do_not_compare():
    answer = population([30.0, 31, 33, 29, 30, 32], "something else")
    assert answer.p_value is None
    assert "settings" in (answer.reason or "")


def test_half_stuck():
    assert "stuck" in (population([5.0, 1, -1, -1, -1, -1], shipped().settings_key).reason or "")
