"""Compiling for training: the same training, only where it pays, and never a failure."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from mmbd.training import loop as train
from mmbd.training.compiling import MODES, STEPS, Compiled, pays
from mmbd.training.loop import Recipe, fit
from training.test_loop import network, same, stripes

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def shapes(monkeypatch):
    """The compiler's front end without the slow rest; the shapes that compiled code was given."""
    seen: list[tuple[int, ...]] = []
    original = torch.compile

    def without_backend(net, **options):
        run = original(net, backend="eager", **options)
        return lambda batch: seen.append(tuple(batch.shape)) or run(batch)

    monkeypatch.setattr(torch, "compile", without_backend)
    return seen


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(train, "pays", lambda mode, device, steps: pays(mode, GPU, steps))


def trained(recipe: Recipe) -> dict[str, torch.Tensor]:
    net = network()
    fit(net, *stripes(100), recipe, seed=0)
    return net.state_dict()


def test_it_pays_for_long_trainings_on_a_gpu():
    assert [pays("auto", GPU, STEPS - 1), pays("auto", GPU, STEPS)] == [False, True]
    assert pays("always", GPU, 1)
    assert not pays("never", GPU, 10 * STEPS)
    assert not any(pays(mode, CPU, 10 * STEPS) for mode in MODES)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="unknown compile 'yes'; known: " + ", ".join(MODES)):
        trained(Recipe(epochs=1, compile="yes"))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.usefixtures("as_on_a_gpu")
def test_a_compiled_training_is_the_same_training(shapes, precision):
    recipe = Recipe(epochs=2, batch=32, augment=("flip",), precision=precision, compile="never")
    plain = trained(recipe)
    assert not shapes
    compiled = trained(Recipe(**{**vars(recipe), "compile": "always"}))
    # The trial, then three full batches an epoch; the last four samples are not compiled for.
    assert shapes == [(32, 1, 8, 8)] * 7
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("needs_gradient", [False, True])
def test_the_trial_leaves_no_trace(shapes, needs_gradient):
    net = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    inputs = torch.rand(8, 4, requires_grad=needs_gradient)
    torch.manual_seed(3)
    expected = net(inputs)
    net.load_state_dict(before)
    torch.manual_seed(3)
    torch.testing.assert_close(Compiled(net)(inputs), expected)
    assert int(net[0].num_batches_tracked) == 1  # by the call itself
    assert len(shapes) == 2
    assert all(weight.grad is None for weight in net.parameters())
    assert inputs.grad is None


@pytest.mark.usefixtures("as_on_a_gpu")
def test_without_a_compiler_it_trains_as_it_is(monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no working C++ compiler\nand a long story")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=broken))
    recipe = Recipe(epochs=2, batch=32)
    with pytest.warns(RuntimeWarning, match=r"could not be compiled.*no working C\+\+") as warned:
        found = trained(Recipe(epochs=2, batch=32, compile="always"))
    assert len(warned) == 1
    assert "a long story" not in str(warned[0].message)
    assert same(trained(recipe), found)
