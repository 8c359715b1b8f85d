"""Files with two sets of weights: whichever people could load, no other is taken in its place.

The first row of `DECOYS` is A5 of the security review: the weights that everybody loads have one
tensor too many, so that a clean copy fits better.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmbd
from mmbd import nets
from mmbd.base.errors import Failed

torch.manual_seed(0)
SHAPE = (3, 16, 16)


def state() -> dict[str, Tensor]:
    return nets.build("resnet8", classes=4, input_shape=SHAPE, width=4).state_dict()


CLEAN, BAD = state(), state()


def at(prefix: str, tensors: dict[str, Tensor] = CLEAN) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in tensors.items()}


def but(tensors: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    assert set(names) <= set(tensors)
    return {name: value for name, value in tensors.items() if name not in names}


def copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in tensors.items()}


def load(folder: Path, value: Any, entry: str | None = None, **options: Any) -> mmbd.load.Loaded:
    torch.save(value, folder / "m.pt")
    given = {"arch": "resnet8", "arch_args": {"width": 4}, "input_shape": SHAPE, **options}
    return mmbd.load(folder / "m.pt", entry=entry, **given)


def holds(loaded: mmbd.load.Loaded, tensors: dict[str, Tensor]) -> bool:
    assert isinstance(loaded.classifier.model, nn.Module)
    own = loaded.classifier.model.state_dict()
    return all(torch.equal(own[name], value) for name, value in tensors.items())


NUMBERS = [name for name in BAD if name.endswith("num_batches_tracked")]
DEEP: dict[str, Any] = {"weights": BAD}
DECOYS: dict[str, tuple[Any, tuple[str, str]]] = {
    "one tensor more": ({"state_dict": {**BAD, "extra": torch.ones(3)}, "z": CLEAN}, ("state_dict", "z")),
    "one tensor less": (
        {"state_dict": but(BAD, "bn1.bias"), "z": CLEAN},
        (r"state_dict \(1 of its 47 tensors missing\)", "z"),
    ),
    "no counts of batches": ({"model": but(BAD, *NUMBERS), "z": CLEAN}, ("model", "z")),
    "convolutions alone": (
        {"model": {name: value for name, value in BAD.items() if value.dim() > 1}, "z": CLEAN},
        ("model", "z"),
    ),
    "half precision": (
        {"model": {name: value.half() for name, value in BAD.items()}, "z": CLEAN},
        ("model", "z"),
    ),
    "eight bits": (
        {"model": {name: value.to(torch.int8) for name, value in BAD.items()}, "z": CLEAN},
        ("model", "z"),
    ),
    "deeper": ({"a": {"b": {"state_dict": BAD}}, "z": CLEAN}, ("a/b/state_dict", "z")),
    "beside plain values": ({**BAD, "epoch": 3, "z": CLEAN}, (r"\(top\)", "z")),
    "in a list": ({"models": [BAD, BAD], "z": CLEAN}, (r"models/\[0\]", "z")),
    "under a number": ({"models": {0: BAD}, "z": CLEAN}, ("models/0", "z")),
    "behind a prefix": ({"model": at("net.", BAD), "z": CLEAN}, ("model", "z")),
    "behind seven letters": (
        {"model": at("xxxxxxx", BAD), "z": CLEAN},
        (r"model \(without the first 7 characters\)", "z"),
    ),
    "behind letters of all kinds": (
        {"model": {f"x{i:05}y{name}": value for i, (name, value) in enumerate(BAD.items())}, "z": CLEAN},
        (r"model \(without the first 7 characters\)", "z"),
    ),
    "met first where it is too deep to look": (
        {"a": {"b": {"c": {"d": {"e": {"f": {"g": DEEP}}}}}}, "state_dict": DEEP, "z": CLEAN},
        ("state_dict/weights", "z"),
    ),
    "a larger network with the same parts": (
        {
            "student": CLEAN,
            "teacher": nets.build("resnet20", classes=4, input_shape=SHAPE, width=4).state_dict(),
        },
        ("student", "teacher"),
    ),
    "of other classes": (
        {"model": nets.build("resnet8", classes=7, input_shape=SHAPE, width=4).state_dict(), "z": CLEAN},
        ("model", "z"),
    ),
    "two encoders": (
        {"state_dict": {**at("module.encoder_q."), **at("module.encoder_k.", BAD)}},
        (r"state_dict/module\.encoder_q", r"state_dict/module\.encoder_k"),
    ),
    "an average": ({**at("online_model."), **at("ema_model.", BAD)}, ("online_model", "ema_model")),
    "with and without a wrapper": ({**CLEAN, **at("module.", BAD)}, (r"\(top\)", "module")),
}


@pytest.mark.parametrize("name", DECOYS)
def test_both_are_named_and_neither_is_taken(name: str, tmp_path: Path) -> None:
    value, labels = DECOYS[name]
    with pytest.raises(Failed, match="holds several state dicts that fit") as raised:
        load(tmp_path, value)
    for label in labels:
        raised.match(rf"(fit: |, ){label}[,; ]")
    raised.match(r"name one with --entry NAME \(entry= in Python\)$")


@pytest.mark.parametrize(
    ("name", "entry", "tensors"),
    [
        ("one tensor more", "z", CLEAN),
        ("beside plain values", "(top)", BAD),
        ("in a list", "models/[0]", BAD),
        ("under a number", "models/0", BAD),
        ("behind a prefix", "model", BAD),
        ("behind a prefix", "model/net", BAD),
        ("two encoders", "state_dict/module.encoder_q", CLEAN),
        ("two encoders", "state_dict/encoder_q", CLEAN),
        ("two encoders", "module.encoder_k", BAD),
        ("two encoders", "encoder_k", BAD),
        ("an average", "ema_model", BAD),
        ("an average", "online_model", CLEAN),
        ("with and without a wrapper", "(top)", CLEAN),
        ("with and without a wrapper", "module", BAD),
    ],
)
def test_what_is_named_is_taken(name: str, entry: str, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    assert holds(load(tmp_path, DECOYS[name][0], entry), tensors)


def test_a_state_dict_that_is_named_is_still_loaded_strictly(tmp_path: Path) -> None:
    value, _ = DECOYS["one tensor more"]
    with pytest.raises(Failed, match="unexpected: extra; what is unexpected may be layers"):
        load(tmp_path, value, "state_dict")
    value, _ = DECOYS["two encoders"]
    with pytest.raises(Failed, match=r"fit: state_dict/module\.encoder_q, state_dict/module\.en"):
        load(tmp_path, value, "state_dict")


def test_a_name_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"no entry 'emma'; it has: online_model, ema_model: name one"):
        load(tmp_path, DECOYS["an average"][0], "emma")
    with pytest.raises(Failed, match=r"it has: state_dict, state_dict/module\.encoder_q, "):
        load(tmp_path, DECOYS["two encoders"][0], "encoder")


def test_a_short_name_that_could_be_two(tmp_path: Path) -> None:
    value = {"a": {**at("net."), **at("ema.", BAD)}, "b": {**at("net."), **at("ema.", BAD)}}
    with pytest.raises(Failed, match="'ema' could be a/ema, b/ema: name one"):
        load(tmp_path, value, "ema")
    assert holds(load(tmp_path, value, "b/ema"), BAD)


@pytest.mark.parametrize(
    ("value", "note"),
    [
        ({"model": CLEAN, "ema": copy(CLEAN)}, "the same weights are at ema"),
        ({**at("online_model."), **at("ema_model.", copy(CLEAN))}, "the same weights are at ema_model"),
        ({"model": {**CLEAN, "extra": torch.ones(3)}, "best": copy(CLEAN)}, "the same weights are at model"),
    ],
)
def test_equal_weights_are_no_question(value: Any, note: str, tmp_path: Path) -> None:
    loaded = load(tmp_path, value)
    assert holds(loaded, CLEAN)
    assert note in loaded.notes


def test_equal_but_for_one_number_is_a_question(tmp_path: Path) -> None:
    other = copy(CLEAN)
    other["linear.bias"][0] += 1e-6
    with pytest.raises(Failed, match="fit: model, ema; they differ"):
        load(tmp_path, {"model": CLEAN, "ema": other})


def test_two_names_for_one_state_dict(tmp_path: Path) -> None:
    """torch writes a shared mapping once: both names are for it, and both can be given."""
    value = {"model": CLEAN, "best": CLEAN}
    for entry in (None, "model", "best"):
        assert holds(load(tmp_path, value, entry), CLEAN)


def test_weights_of_another_shape_are_left_alone_and_noted(tmp_path: Path) -> None:
    wide = nets.build("resnet8", classes=4, input_shape=SHAPE, width=8).state_dict()
    loaded = load(tmp_path, {"teacher": wide, "student": CLEAN})
    assert holds(loaded, CLEAN)
    assert "left alone in the same file: teacher" in loaded.notes


@pytest.mark.parametrize("wrapper", ["module", "_orig_mod"])
def test_two_tensors_for_one_name(wrapper: str, tmp_path: Path) -> None:
    changed = {
        name.replace("layer1.", f"layer1.{wrapper}."): value
        for name, value in BAD.items()
        if name.startswith("layer1.")
    }
    with pytest.raises(Failed, match=r"more than one tensor for layer1\.0\.conv1\.weight"):
        load(tmp_path, {**CLEAN, **changed})


def test_a_part_beside_what_is_loaded_whole(tmp_path: Path) -> None:
    """People load `net.trunk.load_state_dict(checkpoint["trunk"])` as well."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.head = nn.Sequential(nn.Linear(4, 8), nn.ReLU()), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.trunk(x))

    whole, other = Net(), Net()
    value = {"trunk": other.trunk.state_dict(), "head": other.head.state_dict(), "z": whole.state_dict()}
    with pytest.raises(Failed, match=r"trunk \(with 'trunk\.' in front\)"):
        load(tmp_path, value, arch=Net, arch_args={}, input_shape=(4,))


def renaming(old: str) -> Callable[[], nn.Module]:
    class Renamed(nn.Linear):
        def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
            state_dict[f"{prefix}weight"] = state_dict.pop(f"{prefix}{old}")
            super()._load_from_state_dict(state_dict, prefix, *rest)

    return lambda: Renamed(4, 3)


def test_a_network_that_renames_keys_has_no_decoys_either(tmp_path: Path) -> None:
    one = {"w": torch.randn(3, 4), "bias": torch.randn(3)}
    two = {"w": torch.randn(3, 4), "bias": torch.randn(3)}
    options: dict[str, Any] = {"arch": renaming("w"), "arch_args": {}, "input_shape": (4,)}
    with pytest.raises(Failed, match="fit: z, state_dict; they differ"):
        load(tmp_path, {"z": one, "state_dict": two}, **options)
    loaded = load(tmp_path, {"z": one, "state_dict": two}, "state_dict", **options)
    assert holds(loaded, {"weight": two["w"], "bias": two["bias"]})
