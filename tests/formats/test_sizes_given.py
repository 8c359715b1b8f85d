"""What --classes and --input say to a network of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mmbd
from mmbd.base.errors import Failed


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save(nn.Linear(4, 3).state_dict(), tmp_path / "m.pt")
    return tmp_path / "m.pt"


def num_classes(num_classes: int = 1000) -> nn.Module:
    return nn.Linear(4, num_classes)


def keywords(*, classes: int, input_shape: tuple[int, ...], bias: bool = True) -> nn.Module:
    return nn.Linear(input_shape[0], classes, bias=bias)


def usual_shape(n_classes: int, input_shape: tuple[int, ...] = (4, 1, 1)) -> nn.Module:
    """Its own idea of a shape, which stays."""
    return nn.Linear(input_shape[0], n_classes)


class Net(nn.Linear):
    def __init__(self, classes: int) -> None:
        super().__init__(4, classes)


@pytest.mark.parametrize("arch", [num_classes, keywords, usual_shape, Net])
def test_factories_that_take_the_number_of_classes_get_it(arch: Any, file: Path) -> None:
    assert mmbd.load(file, arch=arch, input_shape=(4,), classes=3).classifier.classes == 3
    with pytest.raises(Failed, match=r"weight is \(3, 4\) in the file, not \(5, 4\)"):
        mmbd.load(file, arch=arch, input_shape=(4,), classes=5)


def test_arguments_come_before_what_is_said_elsewhere(file: Path) -> None:
    loaded = mmbd.load(file, arch=keywords, arch_args={"classes": 3}, input_shape=(4,))
    assert loaded.classifier.classes == 3
    with pytest.raises(Failed, match="has 3 classes, not 5"):
        mmbd.load(file, arch=keywords, arch_args={"classes": 3}, input_shape=(4,), classes=5)


def test_a_factory_that_takes_no_number_is_compared(file: Path) -> None:
    def fixed(*sizes: int, **options: Any) -> nn.Module:
        assert not sizes
        assert not options
        return nn.Linear(4, 3)

    assert mmbd.load(file, arch=fixed, input_shape=(4,), classes=3).classifier.classes == 3
    with pytest.raises(Failed, match="has 3 classes, not 4"):
        mmbd.load(file, arch=fixed, input_shape=(4,), classes=4)


def test_a_factory_that_lacks_it_says_so(file: Path) -> None:
    with pytest.raises(Failed, match=r"missing 1 required.* argument: 'classes'"):
        mmbd.load(file, arch=keywords, input_shape=(4,))


def test_numbers_of_classes_in_weights_have_a_limit(tmp_path: Path) -> None:
    state = {"1.weight": torch.zeros(50_001, 4), "1.bias": torch.zeros(50_001)}
    torch.save(state, tmp_path / "m.pt")
    options: dict[str, Any] = {"arch": "mlp", "arch_args": {"hidden": ()}, "input_shape": (4,)}
    with pytest.raises(Failed, match=r"last layer has 50,001 classes, expected at most 50,000"):
        mmbd.load(tmp_path / "m.pt", **options)
    assert mmbd.load(tmp_path / "m.pt", classes=50_001, **options).classifier.classes == 50_001
