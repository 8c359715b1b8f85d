"""Networks in which one tensor has two names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import mmbd
from mmbd.base.errors import Failed


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.two(self.one(x).relu()).relu())


class Separate(Tied):
    def __init__(self) -> None:
        super().__init__()
        self.two = nn.Linear(4, 4)


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize(
    ("lacking", "notes"),
    [
        ((), ()),
        (("one.weight",), ("one.weight is not in the file: in the network it is two.weight",)),
        (("two.weight",), ("two.weight is not in the file: in the network it is one.weight",)),
    ],
)
def test_one_of_the_names_is_enough(lacking: tuple[str, ...], notes: tuple[str, ...], tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = Tied()
    kept = {name: value for name, value in state(network).items() if name not in lacking}
    torch.save(kept, tmp_path / "m.pt")
    loaded = mmbd.load(tmp_path / "m.pt", arch=Tied, input_shape=(4,))
    assert loaded.notes == notes
    points = torch.rand(5, 4)
    assert torch.equal(loaded.classifier(points), network(points))


def test_none_of_the_names_is_too_few(tmp_path: Path) -> None:
    kept = state(Tied())
    del kept["one.weight"], kept["two.weight"]
    torch.save(kept, tmp_path / "m.pt")
    with pytest.raises(Failed, match=r"missing: one\.weight, two\.weight"):
        mmbd.load(tmp_path / "m.pt", arch=Tied, input_shape=(4,))


def test_a_network_that_does_not_tie_them_needs_both(tmp_path: Path) -> None:
    kept = state(Tied())
    kept.pop("two.weight")
    torch.save(kept, tmp_path / "m.pt")
    with pytest.raises(Failed, match=r"missing: two\.weight"):
        mmbd.load(tmp_path / "m.pt", arch=Separate, input_shape=(4,))


def test_two_values_for_one_tensor(tmp_path: Path) -> None:
    """torch takes whichever comes last; the file is of a network that does not tie them."""
    torch.save(state(Separate()), tmp_path / "m.pt")
    with pytest.raises(Failed, match=r"one\.weight and two\.weight are one tensor in Tied, but"):
        mmbd.load(tmp_path / "m.pt", arch=Tied, input_shape=(4,))


def test_a_decoy_that_relies_on_it(tmp_path: Path) -> None:
    short = state(Tied())
    short.pop("two.weight")
    torch.save({"model": short, "z": state(Tied())}, tmp_path / "m.pt")
    with pytest.raises(Failed, match="fit: model, z; they differ"):
        mmbd.load(tmp_path / "m.pt", arch=Tied, input_shape=(4,))
