"""Fourteen checkpoints as strangers publish them: an architecture and the right flags suffice."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import mmbd
from benchmarks.strangers import FACTORIES
from mmbd.data import read as data
from mmbd.data.dataset import Dataset
from mmbd.formats.loaded import Loaded

SHARED = Path(__file__).parents[2].parent / "shared"
NETWORKS = Path(__file__).parents[1] / "helpers" / "published_networks.py"
NAMES = [
    "ibau-badnets_8",
    "ibau-l0_inv_0",
    "ibau-l2_inv_0",
    "ibau-trojan_sq_2",
    "ibau-trojan_wm_2",
    "verazuo-cifar",
    "verazuo-mnist",
    "coldchair",
    "longph-mnist2",
    "longph-badnet",
    "resnet20",
    "longph-m1",
    "longph-m2",
    "longph-cifar",
]
NORMALISATIONS: dict[str, dict[str, Any]] = {
    "none: raw [0, 1]": {},
    "x * 2 - 1": {"mean": 0.5, "std": 0.5},
    "ImageNet mean (.485, .456, .406), std (.229, .224, .225)": {
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    },
}

pytestmark = pytest.mark.skipif(
    not (SHARED / "models").is_dir(), reason="the checkpoints of others are not at ../shared/models"
)


def card(name: str) -> dict[str, Any]:
    cards = json.loads((SHARED / "models" / "models.json").read_text())
    return next(card for card in cards if card["name"] == name)


@functools.cache
def load(name: str) -> Loaded:
    described = card(name)
    factory = FACTORIES.get(name) or FACTORIES[name.partition("-")[0]]
    arguments = {"channels": described["input"][0]} if factory == "BadNet" else {}
    return mmbd.load(
        SHARED / "models" / described["file"],
        arch=f"{NETWORKS}:{factory}",
        arch_args=arguments,
        input_shape=described["input"],
        **NORMALISATIONS[described["normalisation"]],
    )


@functools.cache
def cifar10() -> Dataset:
    path = SHARED / "data" / "cifar10" / "test.parquet"
    if not path.exists():
        pytest.skip("CIFAR-10 is not at ../shared/data/cifar10")
    return data.load(path, limit=300)


def predictions(name: str, inputs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return load(name).classifier(inputs).argmax(1)


def test_the_list_is_all_there_is() -> None:
    cards = json.loads((SHARED / "models" / "models.json").read_text())
    assert sorted(card["name"] for card in cards) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_loads(name: str) -> None:
    loaded, described = load(name), card(name)
    assert loaded.classifier.classes == described["classes"]
    assert loaded.model.input_shape == tuple(described["input"])
    domain = loaded.classifier.domain
    points = torch.stack([domain.sample(torch.Generator().manual_seed(i)) for i in range(8)])
    logits = loaded.classifier(points)
    assert logits.shape == (8, described["classes"])
    assert torch.isfinite(logits).all()
    envelope = described["envelope_key"]
    assert (f"unwrapped envelope '{envelope}'" in loaded.notes) == (envelope is not None)
    assert ("stripped prefix 'module.'" in loaded.notes) == (name == "resnet20")


# Accuracy on the clean test set; the copy is JPEG-compressed, which costs these models some.
ACCURACIES = {
    "ibau-badnets_8": 0.7,
    "ibau-l0_inv_0": 0.7,
    "ibau-l2_inv_0": 0.7,
    "ibau-trojan_sq_2": 0.7,
    "ibau-trojan_wm_2": 0.7,
    "resnet20": 0.7,
    "longph-cifar": 0.5,
    "verazuo-cifar": 0.4,
}


@pytest.mark.parametrize("name", ACCURACIES)
def test_architecture_and_normalisation_are_the_right_ones(name: str) -> None:
    """With a layer out of place or the wrong normalisation, they would do no better than chance."""
    images = cifar10()
    right = predictions(name, images.inputs / 255) == images.labels
    assert right.float().mean() > ACCURACIES[name]


@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [("ibau-badnets_8", slice(27, 31), slice(27, 31)), ("verazuo-cifar", slice(27, 32), slice(27, 32))],
)
def test_the_published_trigger_leads_to_the_target(name: str, rows: slice, columns: slice) -> None:
    target = card(name)["target"]
    images = cifar10()
    others = images.inputs[images.labels != target] / 255
    before = (predictions(name, others) == target).float().mean()
    others[:, :, rows, columns] = 1.0
    after = (predictions(name, others) == target).float().mean()
    assert before < 0.3
    assert after > 0.8


@pytest.mark.parametrize("name", ["verazuo-mnist", "longph-mnist2", "longph-badnet"])
def test_the_published_trigger_leads_random_inputs_to_the_target(name: str) -> None:
    """There are no digits here; on smooth random strokes the patch must still decide."""
    target = card(name)["target"]
    strokes = torch.rand(200, 1, 7, 7, generator=torch.Generator().manual_seed(0)) ** 4
    inputs = torch.nn.functional.interpolate(strokes, size=(28, 28), mode="bilinear")
    before = (predictions(name, inputs) == target).float().mean()
    size = 5 if name == "verazuo-mnist" else 3
    where = slice(28 - size, 28) if name == "verazuo-mnist" else slice(0, size)
    inputs[:, :, where, where] = 1.0
    after = (predictions(name, inputs) == target).float().mean()
    assert not math.isclose(before, after)
    assert after > before + 0.2
