"""Clean samples for a model: the same ones for every command, in its size and of its classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mmbd.base.errors import Failed
from mmbd.data.dataset import Dataset, split
from mmbd.model.classifier import Classifier
from mmbd.workflows.sampling import drawn

NAMES = ("ant", "bee", "cat")


def classifier(side: int = 4, channels: int = 1) -> Classifier:
    network = nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, 3))
    return Classifier(network, input_shape=(channels, side, side), class_names=NAMES)


def shades(side: int = 4, each: int = 6, names: tuple[str, ...] = NAMES) -> Dataset:
    """Grey images, each of its own shade and class by class."""
    shade = torch.arange(3 * each, dtype=torch.uint8)
    labels = torch.arange(3).repeat_interleave(each)
    return Dataset(shade[:, None, None, None].expand(-1, 1, side, side).clone(), labels, names)


def test_the_draw_is_that_of_a_repair():
    few = drawn(shades(), classifier(), 2, seed=7)
    assert few.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(few.inputs, split(shades(), 2, seed=7)[0].inputs)
    assert not torch.equal(few.inputs, drawn(shades(), classifier(), 2, seed=8).inputs)
    for most in (6, 7, None):
        assert len(drawn(shades(), classifier(), most, seed=7)) == 18


def test_classes_are_matched_by_name_before_anything_is_drawn():
    turned = shades(names=("cat", "ant", "bee"))
    assert drawn(turned, classifier(), None, seed=0).labels.tolist() == [2] * 6 + [0] * 6 + [1] * 6
    with pytest.raises(Failed, match="Unknown to it: dog"):
        drawn(shades(names=("ant", "bee", "dog")), classifier(), 2, seed=0)


def test_images_in_memory_and_in_files_are_resized_alike(tmp_path: Path):
    random = np.random.default_rng(0).integers(0, 256, (6, 12, 12), np.uint8)
    for number, image in enumerate(random):
        folder = tmp_path / NAMES[number // 2]
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    memory = Dataset(torch.from_numpy(random)[:, None], torch.arange(6) // 2, NAMES)
    for side in (4, 5, 24):
        read, held = (drawn(source, classifier(side), 1, seed=3) for source in (tmp_path, memory))
        assert read.inputs.shape == held.inputs.shape == (3, 1, side, side)
        assert int((read.inputs.int() - held.inputs.int()).abs().max()) <= 1  # of 255: rounding


def test_what_is_no_input_of_the_model_is_refused():
    with pytest.raises(Failed, match=r"shape \(1, 4, 4\), expected \(3, 8, 8\)"):
        drawn(shades(), classifier(8, channels=3), 2, seed=0)
    normalised = Dataset(torch.full((18, 1, 8, 8), -1.5), shades().labels, NAMES)
    with pytest.raises(Failed, match="give raw inputs, not normalised ones"):
        drawn(normalised, classifier(), 2, seed=0)
    with pytest.raises(FileNotFoundError):
        drawn(Path("gone"), classifier(), 2, seed=0)
