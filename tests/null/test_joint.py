"""Margins and universal gains together: the evidence by hand, and the table that ships."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmbd.null.joint import joint, times
from mmbd.null.population import Population, population, shipped
from mmbd.null.settings import gains_key, joint_key, margins_key
from mmbd.search.ascent import FAST
from mmbd.search.universal_data_free import Search

positive = st.floats(0.01, 1000)


def test_evidence_by_hand():
    found = times({0: 10.0, 1: 20.0, 2: -5.0, 4: 8.0}, {0: 1.0, 1: 4.0, 2: 0.5, 3: 9.0})
    assert found == {0: 10.0, 1: 80.0, 2: -2.5}  # class 3 has no margin, class 4 no gain


@given(st.lists(st.tuples(positive, positive), min_size=5, max_size=30), positive, positive)
def test_the_units_of_margins_and_gains_do_not_matter(pairs, margin_unit, gain_unit):
    margins = {label: margin for label, (margin, _) in enumerate(pairs)}
    gains = {label: gain for label, (_, gain) in enumerate(pairs)}
    one = joint(list(times(margins, gains).values()), shipped("joint").settings_key)
    scaled = times(
        {label: margin * margin_unit for label, margin in margins.items()},
        {label: gain * gain_unit for label, gain in gains.items()},
    )
    other = joint(list(scaled.values()), shipped("joint").settings_key)
    assert one.statistic == pytest.approx(other.statistic, rel=1e-6, abs=1e-9)


def test_its_table_is_its_own():
    table = Population(1.0, 0.0, (0.1, 0.2, 0.3), "someone")
    values = [1.0, 1.0, 1.0, 1.0, math.exp(0.25)]
    answer = joint(values, "someone", table)
    assert (answer.name, answer.p_value) == ("joint", population(values, "someone", table).p_value)
    assert answer.p_value == 2 / 4
    assert joint(values, "another", table).p_value is None


def test_the_shipped_table_belongs_to_the_default_settings():
    key = joint_key(margins_key("fast", asdict(FAST)), gains_key(asdict(Search())))
    assert shipped("joint").settings_key == key
    assert len(shipped("joint").gaps) >= 40
