"""MM-BM as published: the planted channel, the schedule by hand, and the bounds that are kept."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers import backdoored_networks
from mmbd.base.errors import NotMitigated
from mmbd.mitigators import mitigate
from mmbd.mitigators.mm_bm_published import paper, script
from mmbd.model.bounded import Bounded
from mmbd.model.samples import prepare


def uppers(record) -> list[float]:
    (layer,) = record.layers
    return layer["upper"]


# ------------------------------------------------------------------------------ the planted channel


def test_algorithm_1_closes_the_channel_that_only_a_trigger_uses():
    clf = backdoored_networks.two_channels(strength=8)
    samples = backdoored_networks.two_prepared(clf)
    start, _ = paper(clf, samples, initial=100, iterations=1)
    assert backdoored_networks.two_rates(start) == (1, 1)  # from so high every trigger passes
    repaired, record = paper(clf, samples, initial=100)
    used, planted = uppers(record)
    assert planted < 0.02  # the trigger reaches 1
    assert used > 0.5
    assert record.changed
    assert record.kept == 1
    assert backdoored_networks.two_rates(repaired) == (1, 0)


def test_a_channel_that_clean_samples_never_use_is_closed_from_the_start():
    clf = backdoored_networks.two_channels()
    repaired, record = paper(clf, backdoored_networks.two_prepared(clf, noise=0))
    assert uppers(record)[backdoored_networks.PLANTED] == 0
    assert uppers(record)[backdoored_networks.USED] > 0.4
    assert backdoored_networks.two_rates(repaired) == (1, 0)


@pytest.mark.parametrize("noise", [0, 0.01])
def test_the_script_closes_it_too(noise):
    clf = backdoored_networks.two_channels(strength=8)
    samples = backdoored_networks.two_prepared(clf, noise=noise)
    repaired, record = script(clf, samples, batch=20)
    used, planted = uppers(record)
    assert planted < 0.05
    assert 0.5 < used < 2  # of 8
    assert record.kept == 1
    assert backdoored_networks.two_rates(repaired) == (1, 0)
    assert backdoored_networks.two_rates(script(clf, samples, epochs=1)[0]) == (1, 1)


def test_the_record_names_what_is_bounded():
    clf = backdoored_networks.two_channels()
    samples = backdoored_networks.two_prepared(clf)
    repaired, record = paper(clf, samples, iterations=5)
    (layer,) = record.layers
    assert (layer["name"], layer["channels"], layer["fold"], layer["lower"]) == ("1", 2, False, None)
    assert layer["highest"] == pytest.approx(samples.inputs.amax(0).tolist())
    assert isinstance(repaired.model, Bounded)
    assert repaired.model.limits[0].upper.tolist() == layer["upper"]
    assert (record.samples, record.own_labels, record.accuracy) == (40, False, (1, 1))
    assert record.seconds > 0


# ---------------------------------------------------------------------------------------- algorithm


def by_hand(inputs, labels, *, initial, weight, growth, step, accuracy, iterations):
    """Algorithm 1 on `two_channels`, written out anew; (kept, norm, weight) of each step."""
    out = torch.tensor([[0.0, 20], [10, 0]])

    def network(z):
        return torch.minimum(inputs, z) @ out.T + torch.tensor([5.0, 0])

    wanted = inputs @ out.T + torch.tensor([5.0, 0])
    z = initial * inputs.amax(0)
    delta, rows = step * float(z.mean()), []
    for _ in range(iterations):
        below = (inputs > z).float() + 0.5 * (inputs == z).float()  # torch shares ties
        slope = 2 * ((network(z) - wanted) @ out * below).sum(0) / wanted.numel()
        z = (z - delta * (slope + weight * z / z.norm().clamp_min(1e-9))).clamp_min(0)
        kept = float((network(z).argmax(1) == labels).double().mean())
        weight = weight * growth if kept >= accuracy else weight / growth
        rows.append((kept, float(z.norm()), weight))
    return rows


@pytest.mark.parametrize(
    "options",
    [
        {"initial": 1.5, "weight": 0.1, "growth": 1.2, "step": 0.1, "accuracy": 0.95},
        {"initial": 1.1, "weight": 4.0, "growth": 1.5, "step": 0.3, "accuracy": 0.9},
        {"initial": 3.0, "weight": 9.0, "growth": 2.0, "step": 0.2, "accuracy": 1.0},
    ],
)
def test_the_steps_and_the_weight_are_those_of_algorithm_1(options):
    clf = backdoored_networks.two_channels()
    samples = backdoored_networks.two_prepared(clf)
    expected = by_hand(samples.inputs, samples.labels, iterations=12, **options)
    curves = paper(clf, samples, iterations=12, **options).record.curves
    for name, column in zip(("kept", "norm", "weight"), zip(*expected, strict=True), strict=True):
        assert curves[name] == pytest.approx(column, rel=1e-3), name


def test_the_weight_falls_where_the_constraint_fails():
    clf = backdoored_networks.two_channels()
    curves = paper(
        clf, backdoored_networks.two_prepared(clf), weight=30.0, growth=2.0, iterations=30
    ).record.curves
    weights = [30.0, *curves["weight"]]
    held = [kept >= 0.95 for kept in curves["kept"]]
    assert set(held) == {True, False}
    for before, after, good in zip(weights, weights[1:], held, strict=False):
        assert after == pytest.approx(before * 2 if good else before / 2)


@pytest.mark.parametrize("weight", [0.1, 30.0])
def test_the_best_feasible_bounds_are_returned_and_not_the_last(weight):
    clf = backdoored_networks.two_channels()
    samples = backdoored_networks.two_prepared(clf)
    made = paper(clf, samples, weight=weight, growth=2.0, iterations=30)
    curves = made.record.curves
    feasible = [n for n, k in zip(curves["norm"], curves["kept"], strict=True) if k >= 0.95]
    best = torch.tensor(uppers(made.record)).norm().item()
    assert best == pytest.approx(min(feasible), rel=1e-5)
    assert best != pytest.approx(curves["norm"][-1], rel=1e-5)
    assert min(curves["norm"]) < best  # there were lower ones that cost too much
    assert made.record.kept >= 0.95


def test_the_script_changes_its_weight_three_times():
    clf = backdoored_networks.two_channels()
    curves = script(clf, backdoored_networks.two_prepared(clf), weight=0.5).record.curves
    assert curves["kept"] == [1.0] * 50
    steps = [0.5] * 21 + [0.6] * 10 + [0.72] * 10 + [0.864] * 9
    assert curves["weight"] == pytest.approx(steps)
    # Adam starts with steps of its learning rate, whatever the gradient.
    assert curves["norm"][:3] == pytest.approx([(8 - 0.1 * k) * 2**0.5 for k in (1, 2, 3)], abs=1e-3)


def test_the_script_uses_what_is_classified_rightly():
    clf = backdoored_networks.two_channels()
    inputs, labels = backdoored_networks.two_samples()
    labels[:8] = 1 - labels[:8]
    rows = prepare(clf, inputs, labels), prepare(clf, inputs[8:], labels[8:])
    full, right = (script(clf, part, epochs=30, batch=40).record for part in rows)
    assert uppers(full) == pytest.approx(uppers(right))
    assert full.accuracy == (0.8, 0.8)
    assert full.kept == right.kept == 1  # of those that were right


@pytest.mark.parametrize(
    "options", [{"accuracy": 1.01}, {"iterations": 1, "step": 1e3, "weight": 1e3}, {"iterations": 0}], ids=str
)
def test_what_is_not_feasible_changes_nothing_and_says_so(options):
    clf = backdoored_networks.two_channels()
    inputs, labels = backdoored_networks.two_samples()
    with backdoored_networks.untouched(clf):
        made = mitigate(clf, inputs, labels, method="paper", **options)
    assert made.classifier is clf
    assert made.record.method == "mm-bm-paper"
    assert not made.record.changed
    assert "right answers" in made.record.reason
    with pytest.raises(NotMitigated):
        paper(clf, prepare(clf, inputs, labels), **options)


ACTIVATIONS = [nn.ReLU(), nn.GELU(), nn.LeakyReLU(0.2), nn.SiLU()]


@settings(max_examples=20)
@given(
    act=st.sampled_from(ACTIVATIONS),
    initial=st.floats(0.1, 20),
    weight=st.floats(0, 50),
    speed=st.floats(1e-3, 10),
    growth=st.floats(1, 3),
    seed=st.integers(0, 99),
)
def test_no_bound_is_ever_negative(act, initial, weight, speed, growth, seed):
    clf = backdoored_networks.two_channels(act)
    samples = prepare(clf, *backdoored_networks.two_samples(16, noise=0.3, seed=seed))
    options = {"initial": initial, "weight": weight, "growth": growth, "accuracy": 0.0}
    for made in (
        paper(clf, samples, step=speed, iterations=8, **options),
        script(clf, samples, lr=speed, epochs=8, seed=seed, **options),
    ):
        assert all(value >= 0 for value in uppers(made.record))
        assert made.record.kept >= 0
