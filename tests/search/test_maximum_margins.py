"""The statistics: exact answers where they are known, and what must not change them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers.toy_networks import SHORT, convolutional, linear, linear_optimum, peaks, perceptron, smooth
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box
from mmbd.search import pool
from mmbd.search.maximum_margins import METHODS, maximum_margins

METHOD_NAMES = sorted(METHODS)


# --------------------------------------------------------------------------------- exact answers


@given(seed=st.integers(0, 1000), inputs=st.integers(20, 200), low=st.floats(-3, 0.5))
@settings(max_examples=6)
def test_two_classes_have_a_closed_form(seed, inputs, low):
    model = linear(2, inputs, seed=seed)
    clf = Classifier(model, input_shape=(inputs,), bounds=(low, 1.0))
    weight, bias = model.weight.detach(), model.bias.detach()
    gap = weight[0] - weight[1]
    long = maximum_margins(clf, method="paper", restarts=1, steps=1500, tolerance=0.0)
    fast = maximum_margins(clf)
    for label, sign in ((0, 1), (1, -1)):
        rows = sign * gap
        exact = float(torch.where(rows > 0, rows, rows * low).sum() + sign * (bias[0] - bias[1]))
        middle = float(rows.sum() * (low + 1) / 2 + sign * (bias[0] - bias[1]))
        assert long.statistics[label] == pytest.approx(exact, rel=5e-3)
        # The best corner is never surpassed; fast goes most of the way from the middle to it.
        assert fast.statistics[label] <= exact + 1e-4
        assert fast.statistics[label] - middle > 0.75 * (exact - middle)


@pytest.mark.parametrize("classes", [3, 10])
@pytest.mark.parametrize(
    ("method", "options", "share"),
    [
        ("fast", {}, 0.75),
        ("paper", {}, 0.95),
        ("paper", {"restarts": 2, "steps": 1500, "tolerance": 0.0}, 0.99),
    ],
)
def test_more_classes_are_a_linear_programme(classes, method, options, share):
    model = linear(classes, 40, seed=classes)
    clf = Classifier(model, input_shape=(40,))
    middle = pool.margins(clf(torch.full((classes, 40), 0.5)).detach(), torch.arange(classes)).tolist()
    found = maximum_margins(clf, method=method, **options).statistics.tolist()
    for label in range(classes):
        exact = linear_optimum(model, label)
        assert found[label] <= exact + 1e-4
        assert found[label] - middle[label] > share * (exact - middle[label])


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_planted_maxima_are_found(method):
    generator = torch.Generator().manual_seed(1)
    centres = 0.2 + 0.6 * torch.rand(4, 2, 3, 3, generator=generator)
    heights = torch.tensor([-1.0, -3.0, -2.0, -0.5])
    clf = Classifier(peaks(centres, heights), input_shape=(2, 3, 3))
    options = {"size": 0.1, "restarts": 2} if method == "paper" else {}
    found = maximum_margins(clf, method=method, **options)
    torch.testing.assert_close(found.statistics[:4].float(), heights, atol=0.05, rtol=0)
    for label in range(4):
        assert found.statistics[label] <= heights[label]
        torch.testing.assert_close(found.inputs[label], centres[label], atol=0.12, rtol=0)


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_a_planted_shortcut_stands_out(method):
    # An ordinary network, and a unit that drives class 2 when a few inputs are high.
    net = perceptron(6, 48)

    def planted(x):
        fires = torch.relu(x[:, :8].mean(1, keepdim=True) - 0.4) * 30
        return net(x.double()) + fires * nn.functional.one_hot(torch.tensor(2), 6)

    found = maximum_margins(Classifier(planted, input_shape=(48,)), method=method, **SHORT[method])
    top, second = found.statistics.topk(2).values
    assert found.statistics.argmax() == 2
    assert top > 3 * second
    assert found.inputs[2][:8].mean() > 0.9


# ----------------------------------------------------------------------------------- invariances


@given(constant=st.floats(-50, 50), slope=st.floats(-5, 5))
@settings(max_examples=5)
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_an_offset_of_all_logits_changes_nothing(method, constant, slope):
    net = perceptron()

    def shifted(x):
        return net(x.double()) + constant + slope * x.double().flatten(1).sum(1, keepdim=True)

    plain = Classifier(lambda x: net(x.double()), input_shape=(3, 2, 2))
    moved = Classifier(shifted, input_shape=(3, 2, 2))
    first = maximum_margins(plain, method=method, tolerance=0.0, **SHORT[method])
    second = maximum_margins(moved, method=method, tolerance=0.0, **SHORT[method])
    # The logits are float32 at the end: an offset costs digits, nothing else.
    slack = 1e-6 * (abs(constant) + 12 * abs(slope))
    torch.testing.assert_close(second.margins, first.margins, rtol=1e-5, atol=slack + 1e-6)


@given(order=st.permutations(range(4)))
@settings(max_examples=5)
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_permuting_classes_permutes_statistics(method, order):
    net = perceptron()
    plain = Classifier(lambda x: net(x.double()), input_shape=(3, 2, 2))
    permuted = Classifier(lambda x: net(x.double())[:, list(order)], input_shape=(3, 2, 2))
    first = maximum_margins(plain, method=method, **SHORT[method])
    second = maximum_margins(permuted, method=method, **SHORT[method])
    torch.testing.assert_close(second.margins, first.margins[list(order)], rtol=1e-6, atol=1e-7)
    for place, label in enumerate(order):
        torch.testing.assert_close(second.inputs[place], first.inputs[label])
        assert second.steps[place].tolist() == first.steps[label].tolist()


@pytest.mark.parametrize("method", METHOD_NAMES)
@pytest.mark.parametrize(("make", "rtol"), [(smooth, 1e-6), (convolutional, 1e-2)])
def test_the_batch_changes_nothing_but_rounding(method, make, rtol):
    # Smooth float64 networks agree to the last float32 digits. A ReLU network may turn off at a
    # kink after a rounding difference: over 30 trained ones nine in ten agreed to 1e-4, all of
    # them to 1e-2 (fast).
    clf = make()
    reference = maximum_margins(clf, method=method, **SHORT[method])
    for batch in (1, 3, 7):
        found = maximum_margins(clf, method=method, batch=batch, **SHORT[method])
        assert found.batch == batch
        torch.testing.assert_close(found.statistics, reference.statistics, rtol=rtol, atol=1e-6)


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_a_choice_of_classes_gives_the_same_values(method):
    clf = smooth(6)
    whole = maximum_margins(clf, method=method, **SHORT[method])
    some = maximum_margins(clf, method=method, classes=[4, 1], **SHORT[method])
    torch.testing.assert_close(some.statistics[[1, 4]], whole.statistics[[1, 4]], rtol=1e-6, atol=1e-7)
    rest = [0, 2, 3, 5]
    assert bool(some.statistics[rest].isnan().all())
    assert bool(some.margins[rest].isnan().all())
    assert some.valid.tolist() == [False, True, False, False, True, False]
    assert not bool(some.zero_gradient.any())
    assert set(some.inputs) == set(some.curves) == {1, 4}
    assert some.evaluations == int(some.steps.sum()) == int(whole.steps[[1, 4]].sum())


def test_the_seed_decides_the_starts():
    clf = smooth()
    first, again = maximum_margins(clf), maximum_margins(clf)
    assert torch.equal(first.margins, again.margins)
    torch.manual_seed(77)
    assert torch.equal(maximum_margins(clf).margins, first.margins)
    assert not torch.equal(maximum_margins(clf, seed=1).margins, first.margins)
    # More restarts begin with the same ones.
    more = maximum_margins(clf, restarts=first.ascent.restarts + 2)
    torch.testing.assert_close(more.margins[:, : first.ascent.restarts], first.margins)


# ------------------------------------------------------------------------------------- domains


def test_bounds_per_channel_hold():
    low, high = (0.0, -1.0, 10.0), (1.0, 1.0, 20.0)
    model = linear(3, 12)
    clf = Classifier(nn.Sequential(nn.Flatten(), model), input_shape=(3, 2, 2), bounds=(low, high))
    found = maximum_margins(clf)
    for point in found.inputs.values():
        assert point.shape == (3, 2, 2)
        for channel in range(3):
            assert low[channel] <= float(point[channel].min())
            assert float(point[channel].max()) <= high[channel]


def test_the_units_of_the_inputs_do_not_matter_to_fast():
    net = perceptron()
    unit = Classifier(net, input_shape=(3, 2, 2), mean=0.5, std=0.25)
    byte = Classifier(net, input_shape=(3, 2, 2), bounds=(0, 255), mean=127.5, std=63.75)
    torch.testing.assert_close(
        maximum_margins(byte).statistics, maximum_margins(unit).statistics, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("method", METHOD_NAMES)
@pytest.mark.parametrize("shape", [(7,), (1, 40), (2, 3, 4, 5)])
def test_inputs_of_any_shape(method, shape):
    size = torch.Size(shape).numel()
    clf = Classifier(nn.Sequential(nn.Flatten(), linear(3, size)), domain=Box(shape, -1.0, 1.0))
    found = maximum_margins(clf, method=method, **SHORT[method])
    assert {tuple(point.shape) for point in found.inputs.values()} == {shape}
    assert bool((found.statistics > 0).all())


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)])
def test_models_of_any_precision(dtype, rtol):
    reference = maximum_margins(Classifier(perceptron(), input_shape=(3, 2, 2)))
    found = maximum_margins(Classifier(perceptron().to(dtype), input_shape=(3, 2, 2)))
    assert found.statistics.dtype == torch.float64
    assert found.inputs[0].dtype == torch.float32
    torch.testing.assert_close(found.statistics, reference.statistics, rtol=rtol, atol=rtol / 10)
