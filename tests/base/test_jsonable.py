"""Results as JSON: nothing that JSON lacks, nothing that a reader has to guess."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmbd.base.jsonable import LONGEST, jsonable


@dataclass(frozen=True)
class Finding:
    score: float
    classes: tuple[int, ...]
    mask: torch.Tensor | None = None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (-math.inf, None),
        (True, True),
        (10**40, 10**40),
        ((1, [2.5, math.inf]), [1, [2.5, None]]),
        ({3: (), "a": None}, {"3": [], "a": None}),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.float64("nan"), None),
        (torch.tensor(2.0), 2.0),
        (torch.tensor([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([1.0, np.nan]), [1.0, None]),
        (Finding(math.inf, (1, 2), torch.ones(2)), {"score": None, "classes": [1, 2], "mask": [1.0, 1.0]}),
        (Path("a/b"), str(Path("a/b"))),
        (Finding, str(Finding)),
    ],
)
def test_what_json_lacks_has_a_form(value, expected):
    found = jsonable(value)
    assert found == expected
    assert type(found) is type(expected)


def test_what_nothing_is_known_of_is_cut():
    class Huge:
        def __str__(self) -> str:
            return "x" * 10_000

    assert jsonable(Huge()) == "x" * LONGEST


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(plain)
def test_any_result_is_json_and_stays_itself(value):
    once = jsonable(value)
    assert json.loads(json.dumps(once, allow_nan=False)) == once == jsonable(once)
