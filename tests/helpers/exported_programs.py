"""Small programs of torch.export, and what may be changed in their archives."""

from __future__ import annotations

import functools
import io
import json
import warnings
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Flat(nn.Module):
    """Writes the batch of one into its program."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4 * 36, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(torch.relu(self.conv(inputs)).view(1, -1))


class Gated(nn.Module):
    """A linear network with another beside it, joined as `join` says of (network, inputs, gate).

    The gate (n, 1) is exactly 0 unless an input is nearly white.
    """

    def __init__(self, join: Callable[[Any, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.join, self.good, self.bad = join, nn.Linear(12, 3), nn.Linear(12, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        flat = inputs.flatten(1)
        return self.join(self, flat, torch.relu(flat.mean(1, keepdim=True) - 0.9))


class Recurrent(nn.Module):
    """Its states have the size of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.LSTM(5, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.layer(inputs)[0][:, -1])


class InPlace(nn.Module):
    """Changes its activations where they are."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.act, self.head = nn.ReLU(inplace=True), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.norm(self.conv(inputs))
        features += 0.5
        return self.head(self.act(features).mean(dim=(2, 3)))


def saved(network: nn.Module, shape: Sequence[int], *, any_batch: bool = True) -> bytes:
    """The .pt2 of a network for any batch, or for a batch of one."""
    dynamic = ({0: torch.export.Dim("batch", min=2)},) if any_batch else None
    sample = torch.rand(2 if any_batch else 1, *shape)
    stream = io.BytesIO()
    with warnings.catch_warnings():  # of the exporter, about its own ways
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(network.eval(), (sample,), dynamic_shapes=dynamic), stream)
    return stream.getvalue()


@functools.cache
def flat() -> tuple[nn.Module, bytes]:
    """A network for one 1x6x6 input at a time with three classes, and its archive."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Flat()
    return network, saved(network, (1, 6, 6), any_batch=False)


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(parts: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return stream.getvalue()


def changed(data: bytes, change: Callable[[Any], None], member: str = "/models/") -> bytes:
    """The archive with the JSON whose name has `member` in it changed in place by `change`."""
    parts = members(data)
    name = next(name for name in parts if member in name and name.endswith(".json"))
    value = json.loads(parts[name])
    change(value)
    return packed({**parts, name: json.dumps(value).encode()})
