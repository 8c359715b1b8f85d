"""Looking until it is known decides as counting all images would."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmbd.search.enough import Look, Search, needed, tell


@pytest.mark.parametrize(
    ("goal", "count", "expected"), [(0.8, 100, 80), (0.8, 5, 4), (0.8, 1, 1), (0.7, 10, 7), (1.0, 7, 7)]
)
def test_the_fewest_that_are_enough(goal, count, expected):
    assert needed(goal, count) == expected


@given(st.floats(0.01, 1), st.integers(1, 200))
def test_one_fewer_is_not_enough(goal, count):
    fewest = needed(goal, count)
    assert fewest / count >= goal > (fewest - 1) / count


@given(st.lists(st.booleans(), min_size=1, max_size=120), st.floats(0.05, 1), st.randoms())
def test_the_answer_is_that_of_a_full_count_whatever_resisted_before(went, goal, random):
    wanted = needed(goal, len(went))
    places = np.arange(len(went))
    before = np.array([random.random() < 0.5 for _ in went])
    look = Look.at(Search((0, 1), places, wanted, torch.Generator(), before))
    while look.reached is None:
        picked = look.next()
        assert len(picked) > 0
        assert look.unseen[picked].all()
        tell([look], [picked], torch.tensor([went[place] for place in picked]))
    assert look.reached == (sum(went) >= wanted)


def test_images_that_resisted_come_first_so_that_few_are_enough():
    resisting = np.zeros(100, np.bool_)
    resisting[50:75] = True
    look = Look.at(Search((0, 1), np.arange(100), 80, torch.Generator(), resisting))
    picked = look.next()
    assert set(picked) <= set(range(50, 75))
    tell([look], [picked], torch.zeros(len(picked), dtype=torch.bool))
    assert look.reached is False
    assert len(picked) == 21
