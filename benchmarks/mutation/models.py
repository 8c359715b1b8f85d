"""What is mutated: small valid models of every format, and mutant number so many of them."""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from torch import nn

from benchmarks.hostile import valid
from benchmarks.hostile.valid import Valid
from benchmarks.mutation.plain import bytes_changed
from benchmarks.mutation.shaped import changed, pickle_changed

FILES = Path(__file__).parents[2] / "tests/formats"
LARGEST = 30_000  # bytes of a stored model


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.LSTM(5, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(inputs)[0][:, -1])


def _program(network: nn.Module, shape: tuple[int, ...], *, any_batch: bool) -> Valid:
    content = io.BytesIO()
    sizes = ({0: torch.export.Dim("batch", min=2)},) if any_batch else None
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        sample = torch.rand(2 if any_batch else 1, *shape)
        torch.export.save(torch.export.export(network.eval(), (sample,), dynamic_shapes=sizes), content)
    return Valid({"m.pt2": content.getvalue()}, "m.pt2", {})


def _convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 3),
    )


@cache
def formats(*, small: bool = False) -> Mapping[str, tuple[Valid, ...]]:
    """The models of every format; `small` without those that take seconds to make."""
    found: dict[str, list[Valid]] = {name: [model] for name, model in valid.every(library=not small).items()}
    for suffix, kind in ((".keras", "keras"), (".h5", "hdf5"), (".onnx", "onnx")):
        for file in sorted(FILES.glob(f"*/*{suffix}")) + sorted(FILES.glob(f"*/*/*{suffix}")):
            if file.stat().st_size < LARGEST:
                found[kind].append(Valid({f"m{suffix}": file.read_bytes()}, f"m{suffix}", {}))
    if not small:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            found["pt2"] += [
                _program(_convolutions(), (1, 6, 6), any_batch=True),
                _program(_convolutions(), (1, 6, 6), any_batch=False),
                _program(_Recurrent(), (4, 5), any_batch=True),
            ]
        found["script"] = [Valid({"m.pt": valid.script()}, "m.pt", {})]
    return {name: tuple(models) for name, models in found.items()}


def mutant(seed: int, number: int, *, small: bool = False) -> tuple[str, Valid]:
    """A format's name, and a model of it with one to three changes: the same for the same numbers."""
    source = random.Random(f"mutant {seed} {number}")
    held = formats(small=small)
    name = source.choice(list(held))
    model = source.choice(held[name])
    files = dict(model.files)
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        target = model.main if source.random() < 0.5 else source.choice(list(files))
        data = files[target]
        if name == "old checkpoint" and source.random() < 0.6:
            files[target] = _stream_changed(data, source)
        elif source.random() < 0.02:
            other = source.choice(held[source.choice(list(held))])
            files[target] = _crossed(data, other.files[other.main], source)
        else:
            files[target] = changed(data, source)
    return name, Valid(files, model.main, model.options)


def _stream_changed(data: bytes, source: random.Random) -> bytes:
    """Several pickles, one after the other, with one of them changed."""
    places = [at for at in range(len(data)) if data.startswith(b"\x80\x02", at)]
    if not places:
        return bytes_changed(data, source)
    at = source.choice(places)
    return data[:at] + pickle_changed(data[at:], source)


def _crossed(one: bytes, other: bytes, source: random.Random) -> bytes:
    """The beginning of one file and the end of another."""
    return one[: source.randrange(len(one) + 1)] + other[source.randrange(len(other) + 1) :]
