"""What `benchmarks/study/sound_windows.py` measures and counts: a planted stretch, and figures by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from benchmarks.study import sound_windows
from mmbd.data.dataset import Dataset
from mmbd.model.classifier import Classifier

CLASSES, PLANTED, PLACES = 5, 3, 400


class Bursts(nn.Module):
    """A class for each of some stretches of noise, wherever they are; one is heard ten times as far off."""

    def __init__(self) -> None:
        super().__init__()
        self.stretches = nn.Conv1d(1, CLASSES, 40, bias=False)
        self.last = nn.Linear(CLASSES, CLASSES)
        noise = torch.rand(CLASSES, 1, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
        loudness = torch.ones(CLASSES, 1, 1)
        loudness[PLANTED] = 10.0
        with torch.no_grad():
            self.stretches.weight.copy_(noise * loudness)
            self.last.weight.copy_(torch.eye(CLASSES))
            self.last.bias.zero_()
            self.last.bias[PLANTED] = -4.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.stretches(x)).amax(2))


def test_a_planted_stretch_needs_the_least_loudness():
    network = Bursts()
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(CLASSES).repeat_interleave(4)
    sounds = 0.002 * torch.randn(len(labels), 1, PLACES, generator=generator)
    sounds[:, 0, 100:140] += (
        0.3
        * network.stretches.weight[labels, 0].detach()
        / (network.stretches.weight[labels, 0].detach().abs().amax(1, keepdim=True))
    )
    clf = Classifier(network, input_shape=(1, PLACES), bounds=(-1.0, 1.0))
    found = sound_windows.of_model(clf, Dataset(sounds, labels, tuple("abcde")))
    sizes = [size for _, size, _ in found["sizes"]]
    assert sizes[PLANTED] is not None
    assert all(
        other is None or other > sizes[PLANTED] for label, other in enumerate(sizes) if label != PLANTED
    )
    assert found["evaluations"] > 0


def entry(name, sizes, target=None, like=0.0):
    """What was measured of one network with three classes."""
    return {
        "name": name,
        "names": ["a", "b", "c"],
        "source": "words",
        "attack": None if target is None else "sound-M",
        "target": target,
        "sizes": [[size, size, like] for size in sizes],
    }


def test_a_class_that_is_easy_in_every_network_counts_only_where_networks_are_compared():
    e = math.e
    entries = [
        entry("m1", (1 / e**2, None, None)),
        entry("m2", (1 / e**2, 1 / e**0.5, None)),
        entry("bad", (1 / e**2, None, 1 / e), target=2),
    ]
    assert sound_windows.beside(entries[2], entries, sound_windows.RECORDED) == pytest.approx(
        {"a": 0.0, "b": -0.25, "c": 1.0}
    )
    told = sound_windows.told(entries)
    alone, compared = told["recordings"], told["recordings, by class"]
    assert (alone["target on top"], compared["target on top"]) == ("0/1", "1/1")
    assert alone["AUC"].startswith("0.00")
    assert compared["AUC"].startswith("1.00")
    assert alone["clean networks"] == 2


def test_what_becomes_like_the_class_itself_counts_less():
    natural, other = (entry("m", (None, None, 1 / math.e), like=like) for like in (0.9, 0.1))
    values = [sound_windows.numbers(one)[sound_windows.UNLIKE]["c"] for one in (natural, other)]
    assert values == pytest.approx([0.1, 0.9])
