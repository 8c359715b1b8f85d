"""Settings as comparable texts: a new setting with a default voids no table and no reference."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from mmbd.null import Measured, References
from mmbd.null.settings import comparable, gains_key, joint_key, margins_key
from mmbd.search.ascent import FAST, PAPER
from mmbd.search.universal_data_free import Search

EVERYTHING = json.dumps(["fast", asdict(FAST)], sort_keys=True)


def test_a_key_that_names_defaults_is_the_key_without_them():
    assert comparable(EVERYTHING) == margins_key("fast", asdict(FAST))
    both = json.dumps([EVERYTHING, json.dumps(asdict(Search()))])
    assert comparable(both) == joint_key(margins_key("fast", asdict(FAST)), gains_key(asdict(Search())))
    assert comparable("of my own") == "of my own"
    assert comparable('["fast"]') == '["fast"]'


def test_a_key_from_before_a_setting_existed_still_compares():
    older = asdict(FAST)
    del older["patience"], older["tolerance"]
    assert comparable(json.dumps(["fast", older])) == margins_key("fast", asdict(FAST))


@pytest.mark.parametrize(
    "other", [replace(FAST, restarts=5), replace(FAST, patience=2), replace(FAST, constraint="clamp"), PAPER]
)
def test_other_settings_do_not_compare(other):
    assert margins_key("fast", asdict(other)) != margins_key("fast", asdict(FAST))
    assert margins_key("paper", asdict(FAST)) != margins_key("fast", asdict(FAST))


def test_references_with_defaults_spelt_out_compare():
    given = References(((1.0, 2.0),) * 19, comparable(EVERYTHING))
    measured = Measured({0: 1.0, 1: 2.0}, margins_key("fast", asdict(FAST)))
    found = given.model_p_value(given.compare(measured.by_class), measured.settings_key, 0.05)
    assert found.p_value == 1.0
