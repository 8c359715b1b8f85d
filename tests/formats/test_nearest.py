"""Advice on which built-in network a file is for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmbd
from mmbd import nets
from mmbd.base.errors import Failed
from mmbd.formats.networks import nearest
from mmbd.formats.networks.envelopes import candidates


def state(arch: str, shape: tuple[int, ...] = (3, 32, 32), **arguments: Any) -> dict[str, Tensor]:
    with torch.device("meta"):
        network = nets.build(arch, classes=5, input_shape=shape, **arguments)
    return network.state_dict()


SHAPES = {"m5": (1, 8000), "dgcnn": (3, 64), "pointnet": (3, 64)}
ARGUMENTS = {"resnet18_imagenet": {"width": 16}, "resnet20": {"width": 8}, "vgg16": {"width": 16}}


@pytest.mark.parametrize("arch", nets.ARCHITECTURES)
def test_every_built_in_network_is_known_by_its_names(arch: str) -> None:
    arguments = ARGUMENTS.get(arch, {})
    names = state(arch, SHAPES.get(arch, (3, 32, 32)), **arguments)
    value = {"state_dict": {f"module.{name}": tensor for name, tensor in names.items()}}
    guesses = nearest.nearest(candidates(value))
    assert guesses[0].arch == arch
    assert arguments.items() <= guesses[0].arguments.items()


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (state("resnet20"), "resnet20: try --arch resnet20 --input 3x32x32$"),
        (state("resnet20", (1, 28, 28)), "try --arch resnet20 --input 1x32x32$"),
        (state("resnet56", shortcut="A"), "--arch resnet56 --arch-arg shortcut=A --input 3x32x32$"),
        (state("resnet18", width=32), "try --arch resnet18 --arch-arg width=32 --input 3x32x32$"),
        (state("resnet18_imagenet"), "try --arch resnet18_imagenet --input 3x224x224$"),
        ({**state("resnet8"), "total_ops": torch.zeros(1)}, "try --arch resnet8 --input 3x32x32$"),
    ],
)
def test_the_ways_to_say_it_end_with_what_fits(value: dict[str, Tensor], advice: str, tmp_path: Path) -> None:
    torch.save({name: torch.zeros(tensor.shape) for name, tensor in value.items()}, tmp_path / "m")
    with pytest.raises(Failed, match=f"its names look like .*{advice}"):
        mmbd.load(tmp_path / "m")


def test_the_wrong_network_or_width_is_answered_with_the_right_one(tmp_path: Path) -> None:
    value = nets.build("resnet20", classes=4, input_shape=(3, 32, 32), width=8).state_dict()
    torch.save(value, tmp_path / "m.pt")
    for arch in ("resnet8", "resnet20", "vgg16"):
        with pytest.raises(
            Failed,
            match=r"look like resnet20: try --arch resnet20 --arch-arg "
            r"width=8 --input 3x32x32$",
        ):
            mmbd.load(tmp_path / "m.pt", arch=arch, input_shape=(3, 32, 32))
    torch.save({**value, "fc2.weight": torch.ones(3, 3)}, tmp_path / "m.pt")
    with pytest.raises(Failed) as raised:  # what was tried is no advice
        mmbd.load(tmp_path / "m.pt", arch="resnet20", arch_args={"width": 8}, input_shape=(3, 32, 32))
    assert "look like" not in str(raised.value)


@pytest.mark.parametrize(
    "value",
    [
        nn.Linear(4, 3).state_dict(),
        {name: value for name, value in state("resnet20").items() if "layer1" not in name},
        {**state("resnet20"), **{f"more.{i}": torch.ones(2) for i in range(20)}},
        {name: torch.ones(2) for name in state("resnet20")},
        {name: torch.ones(0, *[1 << 20] * 3) for name in state("resnet20")},
    ],
)
def test_nothing_is_said_where_nothing_fits(value: dict[str, Tensor]) -> None:
    assert nearest.hint(candidates(value), "look like ") == ""


def test_it_is_cheap() -> None:
    value = state("resnet110")
    nearest._names.cache_clear()
    started = time.process_time()
    assert "resnet110" in nearest.hint(candidates(value), "")
    assert time.process_time() - started < 5  # about 0.2
