"""DP-SGD: each sample's gradient is bounded, the noise is what was asked for, nothing is left."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.toy_victims import SHAPE, pictures, victim
from mmbd import nets
from mmbd.model.forward import scaled
from mmbd.training import loop as train
from mmbd.training import private
from mmbd.training.loop import Recipe

DATA = pictures(32)
STEP = Recipe(epochs=1, batch=32, lr=1.0, optimizer="sgd", schedule="constant")


def network(name: str = "cnn", *, seed: int = 0, shape=SHAPE, **arguments) -> nn.Module:
    if name == "cnn" and not arguments:
        arguments = {"widths": (8,), "normalisation": "group"}
    torch.manual_seed(seed)
    return nets.build(name, classes=4, input_shape=shape, **arguments)


def weights(net: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(net.parameters()).detach().clone()


def trained(recipe: Recipe = STEP, *, data=DATA, seed: int = 0, **options) -> torch.Tensor:
    net = network()
    private.fit(net, data.inputs, data.labels, recipe, seed=seed, **options)
    return weights(net)


def moved(**options) -> torch.Tensor:
    return trained(**options) - weights(network())


BITES = {0.05: [True, True], 2.8: [False, True], 1e3: [False, False]}


@pytest.mark.parametrize("bound", BITES)
def test_a_step_is_the_mean_of_the_bounded_gradients_of_the_samples(bound):
    net = network()
    total = torch.zeros_like(weights(net))
    norms = []
    for image, label in zip(scaled(DATA.inputs), DATA.labels, strict=True):
        loss = F.cross_entropy(net(image[None]), label[None])
        gradient = nn.utils.parameters_to_vector(torch.autograd.grad(loss, list(net.parameters())))
        norms.append(float(gradient.norm()))
        total += gradient * min(1.0, bound / norms[-1])
    assert [norm > bound for norm in (min(norms), max(norms))] == BITES[bound]
    torch.testing.assert_close(moved(noise=0.0, bound=bound), -total / 32, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-4), ("bfloat16", 0.05)])
def test_a_bound_out_of_reach_and_no_noise_are_ordinary_training(precision, error):
    # Shifted images are not contiguous in memory, and bfloat16 comes with channels last.
    recipe = Recipe(
        epochs=2, batch=16, lr=0.1, optimizer="sgd", augment=("crop", "flip"), pad=1, precision=precision
    )
    net = network(widths=(8, 16), normalisation="group")
    train.fit(net, DATA.inputs, DATA.labels, recipe, seed=0)
    private_net = network(widths=(8, 16), normalisation="group")
    private.fit(private_net, DATA.inputs, DATA.labels, recipe, seed=0, noise=0.0, bound=1e6)
    way = weights(net) - weights(network(widths=(8, 16), normalisation="group"))
    assert float((weights(private_net) - weights(net)).norm() / way.norm()) < error


def test_the_noise_has_the_size_asked_for():
    quiet = moved(noise=0.0, bound=0.5)
    for noise in (0.1, 3.0):
        draws = moved(noise=noise, bound=0.5) - quiet
        assert len(draws) > 200
        assert float(draws.std()) == pytest.approx(noise * 0.5 / 32, rel=0.15)


def test_a_set_smaller_than_a_batch_is_a_batch():
    # Two equal samples pull alike, so that their mean has the length of the bound.
    pair = replace(DATA, inputs=DATA.inputs[:1].repeat(2, 1, 1, 1), labels=DATA.labels[[0, 0]])
    alone = trained(data=pair, noise=0.0, bound=1e-3) - weights(network())
    assert float(alone.norm()) == pytest.approx(1e-3, rel=1e-2)


def test_the_same_seed_gives_the_same_bits():
    recipe = replace(STEP, batch=10, lr=0.1, epochs=2)
    first = trained(recipe)
    torch.manual_seed(99)
    assert torch.equal(first, trained(recipe))
    assert not torch.equal(first, trained(recipe, seed=1))
    quiet = trained(recipe, noise=0.0)
    assert not torch.equal(first, quiet)


def test_nothing_is_left_in_the_network_or_in_torch():
    net, other = network(), nn.Linear(2, 2)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.5)
    before = weights(other)
    steps = []

    def on_step() -> None:  # an attack may train a network of its own between the steps
        for weight in other.parameters():
            weight.grad = torch.ones_like(weight)
        optimizer.step()
        steps.append(1)

    private.fit(net, DATA.inputs, DATA.labels, replace(STEP, batch=8), seed=0, on_step=on_step)
    assert len(steps) == 4
    torch.testing.assert_close(weights(other), before - 4 * 0.5)
    assert not net.training
    assert set(vars(net)) == set(vars(network()))
    for module in net.modules():
        assert not module._forward_hooks
        assert not module._backward_hooks
    for weight in net.parameters():
        assert not vars(weight)
        assert weight.grad is None
    copy.deepcopy(net)
    train.fit(net, DATA.inputs, DATA.labels, STEP, seed=0)  # ordinary again


def test_hooks_of_the_loop_work():
    seen, losses = [], []
    trained(
        replace(STEP, batch=16, lr=0.1),
        on_batch=lambda x, y, _: seen.append(len(x)) or (x, y),
        on_epoch=lambda epoch, loss: losses.append(loss),
        sample_weights=torch.ones(32),
        normalise=lambda x: x - 0.5,
    )
    assert seen == [16, 16]
    assert len(losses) == 1


def test_a_failure_takes_the_hooks_off_too():
    net = network()
    with pytest.raises(FloatingPointError):
        private.fit(net, DATA.inputs, DATA.labels, STEP, seed=0, normalise=lambda x: x * torch.nan)
    assert not vars(next(net.parameters()))
    assert set(vars(net)) == set(vars(network()))


GROUPED = ["resnet18", "resnet34", "preact_resnet18", "resnet8", "resnet20", "cnn"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [(name, {"normalisation": "group"} | ({} if name == "cnn" else {"width": 4})) for name in GROUPED]
    + [("lenet", {}), ("mlp", {}), ("cnn", {"normalisation": "none"})],
)
def test_built_in_networks_that_train_privately(name, arguments):
    data = replace(DATA, inputs=DATA.inputs.repeat(1, 1, 2, 2)[:8], labels=DATA.labels[:8])
    net = network(name, shape=(3, 16, 16), **arguments)
    before = weights(net)
    private.fit(net, data.inputs, data.labels, STEP, seed=0)
    assert float((weights(net) - before).norm()) > 0


@pytest.mark.parametrize("name", ["cnn", "mobilenet", "vgg16", "resnet18"])
def test_batch_normalisation_is_refused_with_what_works(name):
    net = network(name, shape=(3, 32, 32), **({"normalisation": "batch"} if name == "cnn" else {}))
    with pytest.raises(ValueError, match=r"is a BatchNorm2d, which mixes the samples") as caught:
        private.fit(net, DATA.inputs, DATA.labels, STEP, seed=0)
    message = str(caught.value)
    assert all(known in message for known in GROUPED)
    assert 'normalisation="group", lenet and mlp as they are' in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"penalty": lambda _: torch.zeros(())}, "a penalty on the loss cannot be trained"),
        ({"recipe": replace(STEP, clip=1.0)}, "the recipe's clip has no place here"),
        ({"noise": -0.1}, "expected bound > 0 and noise >= 0"),
        ({"bound": 0.0}, "expected bound > 0 and noise >= 0"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        trained(**options)


def test_the_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus", None)
    with pytest.raises(ImportError, match=r"pip install 'mmbd\[private\]'"):
        trained()


def test_a_victim_can_be_trained_privately():
    made = replace(victim(DATA, epochs=1), network=network(), trainer=private.fit)
    made.fit()
    net = network()
    private.fit(net, DATA.inputs, DATA.labels, made.recipe, seed=made.seed, normalise=made.normalise)
    assert torch.equal(weights(made.network), weights(net))
