"""The MAD index: the numbers of Neural Cleanse's instructions, one side only, ties, too few."""

from __future__ import annotations

import pytest
import torch

from mmbd.null.mad import CONSISTENCY, outliers

MEDIAN, DEVIATION, SMALLEST = 64.467, 13.239, 16.118


def with_the_published_numbers() -> dict[int, float]:
    """Norms whose median and deviation are those that Neural Cleanse's instructions print."""
    spread = DEVIATION / CONSISTENCY
    moves = (0.4, -1.0, 0.0, -9.0, 1.0, -0.7, 1.2, 1.3, -1.1)
    values = [MEDIAN + spread * move for move in moves]
    values[3] = SMALLEST
    return dict(enumerate(values))


def test_the_published_example():
    judged = outliers(with_the_published_numbers())
    assert judged.test.parameters["median"] == pytest.approx(MEDIAN)
    assert judged.test.parameters["deviation"] == pytest.approx(DEVIATION)
    assert judged.index[3] == pytest.approx(3.652, abs=5e-4)
    assert judged.test.statistic == judged.index[3]
    assert judged.flagged == (3,)


def test_outliers_on_the_large_side_are_never_flagged():
    values = {label: 2 * MEDIAN - value for label, value in with_the_published_numbers().items()}
    judged = outliers(values)
    assert judged.flagged == ()
    assert judged.index[3] == pytest.approx(-3.652, abs=5e-4)
    assert judged.test.statistic < 2
    assert outliers(values, side="high").flagged == (3,)


def test_the_threshold_itself_is_not_above_it_and_the_farthest_comes_first():
    values = {label: float(value) for label, value in enumerate([10, 10, 11, 9, 11, 9, 4, 2])}
    judged = outliers(values)
    assert judged.flagged == (7, 6)
    assert outliers(values, threshold=judged.index[6]).flagged == (7,)
    assert outliers(values, threshold=judged.index[7]).flagged == ()


def test_neither_order_nor_scale_matters():
    values = with_the_published_numbers()
    turned = dict(sorted(values.items(), reverse=True))
    assert outliers(turned).flagged == outliers(values).flagged
    scaled = outliers({label: 1e-3 * value for label, value in values.items()})
    assert scaled.index == pytest.approx(outliers(values).index)


def test_ties_leave_no_index_and_say_why():
    judged = outliers({0: 5.0, 1: 5.0, 2: 5.0, 3: 1.0, 4: 5.0})
    assert judged.index == {}
    assert judged.flagged == ()
    assert not judged.test.answered
    assert "same value" in judged.test.reason


def test_a_tie_of_less_than_half_is_none():
    assert outliers({0: 5.0, 1: 5.0, 2: 6.0, 3: 1.0, 4: 4.0}).flagged == (3,)


def test_four_classes_are_too_few():
    judged = outliers(dict(enumerate((9.0, 10.0, 11.0, 0.0))))
    assert judged.flagged == ()
    assert "4 classes" in judged.test.reason


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_must_be_finite(value):
    with pytest.raises(ValueError, match="finite"):
        outliers({**with_the_published_numbers(), 0: value})
