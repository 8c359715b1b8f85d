"""Small models with known answers, and helpers that several test files share."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from mmbd import nets
from mmbd.model.classifier import Classifier

SHARED = Path(__file__).resolve().parents[2] / "../shared"

# Settings that keep tests short, by method.
SHORT: dict[str, dict[str, int]] = {"fast": {}, "paper": {"restarts": 3, "steps": 40}}


def interruptible() -> None:
    """Before a process that is to be interrupted: under nohup, say, it would ignore that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def shared(*parts: str) -> Path:
    """A file or folder next to the repository; the test is skipped where there is none."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs ../shared/{'/'.join(parts)}, which is not in the repository")
    return path


def linear(classes: int, inputs: int, *, seed: int = 0, scale: float = 1.0) -> nn.Linear:
    """A float64 linear model with normal weights and biases."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Linear(inputs, classes).double()
    with torch.no_grad():
        model.weight.copy_(scale * torch.randn(classes, inputs, generator=generator))
        model.bias.copy_(scale * torch.randn(classes, generator=generator))
    return model


def linear_optimum(model: nn.Linear, label: int, low: float = 0.0, high: float = 1.0) -> float:
    """The exact maximum margin of a class of a linear model on a box, by linear programming."""
    weight = model.weight.detach().double().numpy()
    bias = model.bias.detach().double().numpy()
    others = [k for k in range(len(weight)) if k != label]
    # Maximise s subject to s <= (w_c - w_k) x + b_c - b_k for every other class k.
    rows = np.hstack([weight[others] - weight[label], np.ones((len(others), 1))])
    found = linprog(
        np.r_[np.zeros(weight.shape[1]), -1.0],
        A_ub=rows,
        b_ub=bias[label] - bias[others],
        bounds=[(low, high)] * weight.shape[1] + [(None, None)],
    )
    return float(-found.fun)


def perceptron(classes: int = 4, inputs: int = 12, *, seed: int = 0) -> nn.Sequential:
    """A float64 tanh network: smooth, so that rounding stays rounding."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 16), nn.Tanh(), nn.Linear(16, classes)).double()


def peaks(centres: Tensor, heights: Tensor) -> Callable[[Tensor], Tensor]:
    """A model with known maxima: logit c is heights[c] - |x - centres[c]|^2, the last one 0."""

    def model(x: Tensor) -> Tensor:
        distance = (x[:, None] - centres).square().flatten(2).sum(2)
        return torch.cat((heights - distance, torch.zeros(len(x), 1)), dim=1)

    return model


def smooth(classes: int = 4) -> Classifier:
    """A classifier around `perceptron`."""
    return Classifier(perceptron(classes), input_shape=(3, 2, 2), bounds=(-1, 2))


def convolutional() -> Classifier:
    """A small ReLU network with batch normalisation."""
    torch.manual_seed(0)
    net = nets.build("cnn", classes=5, input_shape=(3, 12, 12), widths=(8, 8))
    return Classifier(net, input_shape=(3, 12, 12), mean=0.5, std=0.1)
