"""Inputs in another range than a network was made for are seen in its answers; the right range is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import mmbd
from mmbd.model.classifier import Classifier
from mmbd.model.plausible import doubt

MODELS = Path(__file__).resolve().parents[2] / "examples/models"
SHAPE = (3, 32, 32)


class Scaled(nn.Module):
    def __init__(self, network: nn.Module, factor: float) -> None:
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs * self.factor)


@pytest.fixture(scope="module", params=["clean-resnet8", "badnet-resnet8"])
def network(request: pytest.FixtureRequest) -> nn.Module:
    return mmbd.load(MODELS / f"{request.param}.safetensors").classifier.model


def test_the_right_range_raises_no_doubt(network: nn.Module) -> None:
    assert doubt(Classifier(network, input_shape=SHAPE)) is None
    assert doubt(Classifier(Scaled(network, 1 / 255), input_shape=SHAPE, bounds=(0, 255))) is None


def test_pixels_to_255_given_as_0_to_1(network: nn.Module) -> None:
    said = doubt(Classifier(Scaled(network, 1 / 255), input_shape=SHAPE))
    assert said is not None
    assert "give --bounds 0 255" in said


def test_0_to_1_given_as_pixels_to_255(network: nn.Module) -> None:
    said = doubt(Classifier(network, input_shape=SHAPE, bounds=(0, 255)))
    assert said is not None
    assert "give --bounds 0 1" in said


def test_a_forgotten_normalisation_that_saturates(network: nn.Module) -> None:
    said = doubt(Classifier(network, input_shape=SHAPE, std=1 / 255))
    assert said is not None
    assert "--mean and --std" in said


def test_a_constant_network_and_other_inputs_are_left_alone() -> None:
    constant = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4))
    nn.init.zeros_(constant[1].weight)
    assert doubt(Classifier(constant, input_shape=SHAPE)) is None
    vectors = nn.Linear(4, 3)
    nn.init.constant_(vectors.weight, 1e4)
    assert doubt(Classifier(vectors, input_shape=(4,))) is None


def test_the_network_is_left_as_it_was(network: nn.Module) -> None:
    network.train()
    doubt(Classifier(network, input_shape=SHAPE))
    assert network.training
    network.eval()
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.is_grad_enabled()
