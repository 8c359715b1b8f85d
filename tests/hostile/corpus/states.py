"""Weights that are read, and are not what the user's network needs, or are not one network's."""

from __future__ import annotations

from typing import Any

import torch

from hostile.corpus import valid
from hostile.corpus.case import EITHER, FAILED, REFUSED, Case
from hostile.corpus.tensor_files import WORDS

KIND = "state dict"


def cases(seed: int) -> list[Case]:
    good, other = valid.state(seed), valid.state(seed + 1)
    found: list[Case] = []

    def add(name: str, value: Any, codes: frozenset[int] = FAILED, says: str = "") -> None:
        data = value if isinstance(value, bytes) else valid.checkpoint(value)
        found.append(Case(KIND, name, data, codes, ".pth", valid.MLP, says))

    def changed(**values: Any) -> dict[str, Any]:
        return good | {name.replace("_", "."): value for name, value in values.items()}

    nan, wide = torch.full((3, 5), float("nan")), torch.full((3, 5), float("inf"))
    # What is read, and ends with too few classes for a verdict.
    for name, value in {
        "as it is": good,
        "in envelopes": {"a": {"b": {"state_dict": good}}},
        "behind a prefix": {f"module.{name}": tensor for name, tensor in good.items()},
        "twice the same": {"a": good, "b": {name: tensor.clone() for name, tensor in good.items()}},
        "beside numbers": good | {"1.total_ops": torch.zeros(1)},
        "in doubles": {name: tensor.double() for name, tensor in good.items()},
        "in halves": {name: tensor.half() for name, tensor in good.items()},
        "in eight bits": {name: tensor.to(torch.float8_e4m3fn) for name, tensor in good.items()},
        "zeros": {name: torch.zeros_like(tensor) for name, tensor in good.items()},
        "huge": {name: tensor * 1e30 for name, tensor in good.items()},
        "tiny": {name: tensor * 1e-38 for name, tensor in good.items()},
        "transposed in memory": changed(**{"1_weight": good["1.weight"].t().contiguous().t()}),
    }.items():
        add(name, value, REFUSED)
    for name, value in {
        "not a number": nan,
        "infinite": wide,
        "one not a number": torch.where(torch.arange(15).view(3, 5) == 7, nan, good["3.weight"]),
    }.items():
        add(name, changed(**{"3_weight": value}), EITHER)
    decoy = {"state_dict": good | {"extra.weight": torch.ones(2)}, "z": other}
    for name, value in {
        "two that differ": {"a": good, "b": other},
        "a decoy that fits better": decoy,
        "a decoy behind a prefix": {**good, **{f"ema.{n}": t for n, t in other.items()}},
        "a decoy under a wrapper": {**good, **{f"module.{n}": t for n, t in other.items()}},
        "a thousand that differ": [{n: t + i for n, t in good.items()} for i in range(1000)],
        "one missing": {name: tensor for name, tensor in good.items() if name != "3.bias"},
        "none of them": {"conv.weight": torch.ones(3, 3)},
        "one more": good | {"9.weight": torch.ones(2, 2)},
        "a name that steers": good | {WORDS: torch.ones(2, 2)},
        "names that steer alone": {WORDS: torch.ones(2, 2), "\u202e": torch.ones(1)},
        "five thousand more": good | {f"x{n}.weight": torch.ones(1, 2) for n in range(5000)},
        "one of another shape": changed(**{"3_weight": torch.ones(5, 3)}),
        "one of no dimension": changed(**{"3_weight": torch.tensor(1.0)}),
        "one of seven": changed(**{"3_weight": torch.ones(1, 1, 1, 1, 1, 3, 5)}),
        "empty ones": {name: torch.zeros(0) for name in good},
        "whole numbers": {name: tensor.int() for name, tensor in good.items()},
        "truths": {name: tensor > 0 for name, tensor in good.items()},
        "complex ones": {name: tensor.to(torch.complex64) for name, tensor in good.items()},
        "a sparse one": changed(**{"3_weight": torch.eye(3, 5).to_sparse()}),
        "repeats by a stride of 0": changed(**{"3_weight": torch.ones(3, 1).expand(3, 5)}),
        "thousands of classes of a stride of 0": changed(
            **{"3_weight": torch.ones(1, 5).expand(100_000, 5), "3_bias": torch.ones(100_000)}
        ),
        "a number among them": good | {"epoch": 3},
        "a text among them": good | {"3.bias": "os.system"},
        "nothing": {},
        "a list": [],
        "a number": 3,
        "a text": "weights",
        "no value": None,
        "a list of tensors": list(good.values()),
        "a tensor": torch.ones(3),
        "numbers for names": dict(enumerate(good.values())),
        "names of nothing": {"": torch.ones(3)},
        "without a tensor": {"lr": 0.1, "epoch": 3},
        "entries that steer": {WORDS: 1, "a\nb": 2},
        "an empty one in an envelope": {"state_dict": {}},
        "a list of lists": [[[[[]]]]],
        "a tuple": (1, 2, "three"),
        "a size": torch.Size([1, 2]),
        "nine deep": _nested(good, 9),
        "aside": {1: good},
        "a set": {"a", "b"},
        "five thousand entries": {f"entry{n}": n for n in range(5000)},
        "a long whole number for a key": {10**17: 1},
    }.items():
        add(name, value)
    return found + _aliases(seed)


def _nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = {"inner": value}
    return value


def _aliases(seed: int) -> list[Case]:
    """What safetensors' metadata says of shared tensors, where it is not so."""
    from safetensors.torch import save

    good = valid.state(seed)
    less = {name: tensor for name, tensor in good.items() if name != "3.bias"}
    lies = {
        "of a tensor that is not there": {"3.bias": "9.bias"},
        "of itself": {"3.bias": "3.bias"},
        "of another shape": {"3.bias": "1.bias"},
        "of a name that steers": {"3.bias": WORDS},
        "of one that is there": {"1.bias": "3.weight"},
    }
    return [
        Case(KIND, f"aliases {name}", save(less, metadata=said), FAILED, ".safetensors", valid.MLP)
        for name, said in lies.items()
    ]
