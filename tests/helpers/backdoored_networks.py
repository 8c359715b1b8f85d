"""Classifiers with a planted backdoor, made by hand or trained in a second, and an untouched check.

The hand-made one has two hidden channels. The first tells the classes apart; the second answers to
the second input alone, which is next to nothing on clean samples, and leads to class 0.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn
from torch.overrides import _len_torch_function_stack

from helpers import colour_networks
from helpers.toy_victims import SHAPE, pictures, victim
from mmbd import attacks
from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of
from mmbd.model.samples import Samples, prepare
from mmbd.triggers.backdoor import Backdoor

USED, PLANTED = 0, 1  # the two channels


def two_channels(activation: nn.Module | None = None, strength: float = 20.0) -> Classifier:
    """`strength` is how much the planted channel adds to the logit of class 0."""
    first, last = nn.Linear(2, 2), nn.Linear(2, 2)
    with torch.no_grad():
        first.weight.copy_(torch.eye(2))
        first.bias.zero_()
        last.weight.copy_(torch.tensor([[0.0, strength], [10.0, 0.0]]))
        last.bias.copy_(torch.tensor([5.0, 0.0]))
    network = nn.Sequential(first, nn.ReLU() if activation is None else activation, last)
    return Classifier(network, input_shape=(2,))


def two_samples(count: int = 40, *, noise: float = 0.01, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Clean inputs (count, 2) and classes: the first input says which, the second is noise."""
    labels = torch.arange(count) % 2
    drawn = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed))
    inputs = torch.stack((0.8 * labels + 0.2 * drawn[:, 0], noise * drawn[:, 1]), dim=1)
    return inputs, labels


def two_prepared(of: Classifier, count: int = 40, *, noise: float = 0.01) -> Samples:
    return prepare(of, *two_samples(count, noise=noise))


def two_rates(of: Classifier) -> tuple[float, float]:
    """The accuracy on other clean samples, and the share of triggered ones that go to class 0."""
    inputs, labels = two_samples(60, seed=1)
    clean = logits_of(of, inputs).argmax(1) == labels
    inputs = inputs[labels == 1].clone()
    inputs[:, PLANTED] = 1
    return float(clean.float().mean()), float((logits_of(of, inputs).argmax(1) == 0).float().mean())


def vectors(classes: int = 4, target: int = 2) -> Classifier:
    """Flat inputs of 64: the first ones say which class, the last leads to the target."""
    first, last = nn.Linear(64, classes + 1, bias=False), nn.Linear(classes + 1, classes)
    with torch.no_grad():
        first.weight.zero_()
        first.weight[:classes, :classes] = torch.eye(classes)
        first.weight[classes, -1] = 1
        last.weight.copy_(10 * torch.eye(classes, classes + 1))
        last.weight[target, classes] = 60
        last.bias.zero_()
    return Classifier(nn.Sequential(first, nn.ReLU(), last), input_shape=(64,))


def vector_samples(
    count: int = 40, *, classes: int = 4, seed: int = 0, used: float = 0.0
) -> tuple[Tensor, Tensor]:
    """`used` is how much clean samples of class 2 have of the trigger."""
    labels = torch.arange(count) % classes
    inputs = 0.2 * torch.rand(count, 64, generator=torch.Generator().manual_seed(seed))
    inputs[torch.arange(count), labels] += 0.8
    inputs[:, -1] *= 0.1
    inputs[labels == 2, -1] += used
    return inputs, labels


def vector_rates(of: Classifier, target: int = 2) -> tuple[float, float]:
    """The accuracy on other clean samples, and the share of triggered ones at the target."""
    inputs, labels = vector_samples(80, classes=of.classes, seed=1)
    right = logits_of(of, inputs).argmax(1) == labels
    inputs = inputs[labels != target].clone()
    inputs[:, -1] += 0.5
    taken = logits_of(of, inputs).argmax(1) == target
    return float(right.float().mean()), float(taken.float().mean())


@cache
def planted() -> tuple[Classifier, Backdoor]:
    """A trained network with a 3x3 patch that takes every class to class 0."""
    made = victim()
    backdoor = attacks.ATTACKS["badnet"](made, sources=(1, 2, 3), target=0, count=60, size=3)
    return Classifier(made.network, input_shape=SHAPE, mean=0.5, std=0.25), backdoor


@cache
def planted_samples() -> Samples:
    clean = pictures(80, seed=7)
    return prepare(planted()[0], clean.inputs, clean.labels)


def planted_rates(of: Classifier) -> tuple[float, float]:
    """The accuracy and the attack success rate of a repaired `planted` on other samples."""
    test = pictures(200, seed=5)
    right = logits_of(of, test.inputs.float() / 255).argmax(1) == test.labels
    success = planted()[1].success(lambda x: logits_of(of, x.float() / 255).argmax(1), test)
    return float(right.float().mean()), success


@contextmanager
def untouched(of: Classifier) -> Generator[None]:
    """The classifier's network, and torch, are afterwards as they were before, bit for bit."""
    before, pre = colour_networks.state(of), pre_hooks(of)
    noise, watching = torch.get_rng_state(), _len_torch_function_stack()
    yield
    assert colour_networks.same(before, colour_networks.state(of))
    assert pre_hooks(of) == pre
    assert torch.equal(torch.get_rng_state(), noise)
    assert _len_torch_function_stack() == watching
    assert torch.is_grad_enabled()


def pre_hooks(of: Classifier) -> list[int]:
    return [len(m._forward_pre_hooks) + len(m._backward_hooks) for m in of.model.modules()]
