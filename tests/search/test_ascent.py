"""How a search climbs: directions in the domain's own units, sizes over time, refusals."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmbd.model.domain import Box
from mmbd.search.ascent import FAST, PAPER, Ascent

gradients = st.lists(st.floats(-1e3, 1e3, width=32), min_size=12, max_size=12).map(
    lambda values: torch.tensor(values).reshape(2, 3, 2)
)


def rule(name: str, **options) -> Ascent:
    return Ascent(**({"restarts": 1, "steps": 10, "rule": name, "size": 0.1} | options))


def test_the_papers_settings():
    assert (PAPER.restarts, PAPER.steps, PAPER.rule, PAPER.size) == (30, 300, "plain", 0.01)
    assert (PAPER.tolerance, PAPER.momentum, PAPER.constraint) == (1e-5, 0.0, "project")
    assert FAST.restarts * FAST.steps * 50 < PAPER.restarts * PAPER.steps


@given(gradient=gradients)
def test_plain_follows_the_gradient_as_it_is(gradient):
    assert torch.equal(rule("plain").direction(gradient.clone(), Box((3, 2))), gradient)


@given(gradient=gradients, scale=st.sampled_from([1e-30, 1e-12, 1.0, 1e12]))
def test_l2_is_a_direction_of_unit_root_mean_square(gradient, scale):
    gradient[0] += 1 + gradient[0].abs().max()  # the first is not zero, the second may be
    direction = rule("l2").direction(gradient * scale, Box((3, 2)))
    assert float(direction[0].square().mean().sqrt()) == pytest.approx(1, rel=1e-4)
    expected = gradient[0] / gradient[0].square().mean().sqrt()
    torch.testing.assert_close(direction[0], expected, rtol=1e-4, atol=1e-4)


@given(gradient=gradients)
def test_sign_moves_every_element_by_its_extent(gradient):
    box = Box((3, 2), (0.0, 0.0, -1.0), (1.0, 5.0, 1.0))
    direction = rule("sign").direction(gradient, box)
    extent = torch.tensor([1.0, 5.0, 2.0])[:, None]
    assert torch.equal(direction, gradient.sign() * extent)


def test_l2_does_not_depend_on_the_units_of_the_input():
    # The same model on [0, 1] and on [0, 255]: gradients shrink by 255, steps grow by 255.
    gradient = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    unit = rule("l2").direction(gradient.clone(), Box((3, 4, 4), 0, 1))
    byte = rule("l2").direction(gradient / 255, Box((3, 4, 4), 0, 255))
    torch.testing.assert_close(byte, unit * 255)


@pytest.mark.parametrize("name", ["plain", "l2", "sign"])
def test_no_gradient_no_step(name):
    direction = rule(name).direction(torch.zeros(2, 3, 2), Box((3, 2)))
    assert torch.equal(direction, torch.zeros(2, 3, 2))


@given(steps=st.integers(1, 50), final=st.floats(0, 1))
def test_sizes_fall_from_the_first_to_the_last_step(steps, final):
    sizes = rule("l2", steps=steps, final_size=final).sizes(torch.arange(float(steps)))
    assert sizes.shape == (steps,)
    assert float(sizes[0]) == pytest.approx(0.1)
    assert bool((sizes.diff() <= 1e-9).all())
    assert bool((sizes >= 0.1 * final - 1e-6).all())
    if steps > 2:
        # The step after the last evaluation is never taken.
        assert float(sizes[-2]) == pytest.approx(0.1 * final, abs=1e-6)


def test_sizes_stay_without_a_schedule():
    assert rule("plain").sizes(torch.arange(10.0)).tolist() == pytest.approx([0.1] * 10)


@pytest.mark.parametrize(
    "wrong",
    [
        {"restarts": 0},
        {"steps": 0},
        {"patience": 0},
        {"size": 0.0},
        {"size": -1.0},
        {"size": math.nan},
        {"tolerance": -1e-9},
        {"tolerance": math.nan},
        {"rule": "plain", "momentum": 0.5},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"momentum": math.nan},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must be|belongs to"):
        rule(**({"name": "l2"} | {("name" if k == "rule" else k): v for k, v in wrong.items()}))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rule": "l3"}, "unknown rule 'l3'; did you mean 'l2'? known: plain, l2, sign"),
        (
            {"constraint": "clamped"},
            "unknown constraint 'clamped'; did you mean 'clamp'? known: project, clamp",
        ),
    ],
)
def test_unknown_words_are_answered_with_those_there_are(wrong, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Ascent(**({"restarts": 1, "steps": 1, "rule": "l2", "size": 0.1} | wrong))
