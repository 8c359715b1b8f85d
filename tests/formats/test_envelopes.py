"""State dicts as strangers wrap them: envelopes, prefixes, lists, leftovers of training."""

from __future__ import annotations

import io
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mmbd
from helpers.cost_limits import bounded
from mmbd.base.errors import Failed
from mmbd.formats.networks.choice import choose
from mmbd.formats.networks.envelopes import candidates
from mmbd.formats.networks.readings import Wanted


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))


STATE = network().state_dict()
EXPECTED = Wanted(STATE)


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in STATE.items()}


def training() -> dict[str, Any]:
    """What else checkpoints hold: an optimiser that has stepped, a schedule, plain values."""
    model = network()
    optimiser = torch.optim.Adam(model.parameters())
    model(torch.randn(8, 4)).sum().backward()
    optimiser.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [3, 3, 9])
    return {
        "epoch": 3,
        "best": 0.93,
        "arch": "net",
        "args": {"lr": [0.1], "flags": (True, None), "shape": torch.Size([3, 4])},
        "dtype": torch.float32,
        "blob": b"\x00\xffbytes",
        "device": torch.device("cpu"),
        "optimizer": optimiser.state_dict(),
        "scheduler": schedule.state_dict(),
        "rng": torch.get_rng_state(),
        "counts": Counter({1: 2}),
    }


@pytest.mark.parametrize(
    ("value", "notes"),
    [
        (STATE, ()),
        ({"state_dict": STATE}, ("unwrapped envelope 'state_dict'",)),
        ({"model_state_dict": dict(STATE)}, ("unwrapped envelope 'model_state_dict'",)),
        ({"netC": OrderedDict(STATE), "epoch": 1}, ("unwrapped envelope 'netC'",)),
        ([STATE], ("unwrapped envelope '[0]'",)),
        (({"net": [STATE]},), ("unwrapped envelope '[0]/net/[0]'",)),
        ({"model": {"params": {"ema": STATE}}}, ("unwrapped envelope 'model/params/ema'",)),
        (prefixed("module."), ("stripped prefix 'module.'",)),
        (prefixed("_orig_mod.module."), ("stripped prefix '_orig_mod.'", "stripped prefix 'module.'")),
        (prefixed("model."), ("stripped prefix 'model.'",)),
        (prefixed("model.net."), ("stripped prefix 'model.net.'",)),
        (
            {"state_dict": prefixed("module.net.")},
            ("unwrapped envelope 'state_dict'", "stripped prefix 'module.'", "stripped prefix 'net.'"),
        ),
        ({"net": STATE, **training()}, ("unwrapped envelope 'net'",)),
        ({"net": STATE, "loss": torch.tensor(0.5)}, ("unwrapped envelope 'net'",)),
        (
            {"netC": STATE, "netG": {"w": torch.ones(1)}},
            ("unwrapped envelope 'netC'", "left alone in the same file: netG"),
        ),
        (
            {"n_averaged": torch.tensor(3), **prefixed("module.")},
            ("left out 'n_averaged'", "stripped prefix 'module.'"),
        ),
        ({"net": STATE, "same": STATE}, ("unwrapped envelope 'net'",)),
    ],
)
@pytest.mark.parametrize("as_zip", [True, False])
def test_unwrapping(value: Any, notes: tuple[str, ...], as_zip: bool, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "m.pt", _use_new_zipfile_serialization=as_zip)
    loaded = mmbd.load(tmp_path / "m.pt", arch=network, input_shape=(4,))
    assert loaded.notes == notes
    assert isinstance(loaded.classifier.model, nn.Module)
    for key, value in loaded.classifier.model.state_dict().items():
        assert torch.equal(value, STATE[key])


def test_a_missing_count_of_batches_is_filled_in(tmp_path: Path) -> None:
    state = {key: value for key, value in STATE.items() if "num_batches" not in key}
    torch.save({"net": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "m.pt")
    loaded = mmbd.load(tmp_path / "m.pt", arch=network, input_shape=(4,))
    assert loaded.notes[-1] == "the file lacks num_batches_tracked, which inference does not use"
    del state["1.running_mean"]
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(Failed, match=r"missing: 1\.running_mean\. Give "):
        mmbd.load(tmp_path / "m.pt", arch=network, input_shape=(4,))


def test_several_that_fit_are_listed_and_one_can_be_named(tmp_path: Path) -> None:
    other = {key: value + 1 for key, value in STATE.items()}
    torch.save({"model": STATE, "ema": {"module": other}}, tmp_path / "m.pt")
    with pytest.raises(Failed, match=r"several state dicts that fit: model, ema/module.*entry="):
        mmbd.load(tmp_path / "m.pt", arch=network, input_shape=(4,))
    loaded = mmbd.load(tmp_path / "m.pt", arch=network, input_shape=(4,), entry="ema/module")
    assert isinstance(loaded.classifier.model, nn.Module)
    assert torch.equal(loaded.classifier.model.state_dict()["0.bias"], other["0.bias"])
    with pytest.raises(Failed, match=r"no entry 'emma'; it has: model, ema/module"):
        mmbd.load(tmp_path / "m.pt", arch=network, input_shape=(4,), entry="emma")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({**STATE, "epoch": 3}, "an entry 'epoch' that is no tensor but int"),
        ({"epoch": 3, "log": "x"}, "no state dict .* its entries are: epoch, log"),
        ({}, "its entries are: none"),
        ([STATE, STATE], "but list"),
        (3, "but int"),
        (torch.ones(3), "but Tensor"),
        ({0: torch.ones(3)}, "its entries are: 0"),
        ({"a": [STATE, STATE]}, r"entries are: a; --entry NAME .* can name: a/\[0\]$"),
    ],
)
def test_what_holds_no_state_dict(value: Any, message: str, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "m.pt")
    with pytest.raises(Failed, match=message):
        mmbd.load(tmp_path / "m.pt", arch=network, input_shape=(4,))


def test_what_is_left_over_behind_a_prefix_is_called_as_in_the_file() -> None:
    state = prefixed("model.")
    assert set(choose(candidates(state), EXPECTED).tensors) == set(STATE)
    state["model.extra"] = torch.ones(1)
    kept = choose(candidates(state), EXPECTED)
    assert not kept.fits
    assert set(kept.tensors) == {*STATE, "model.extra"}
    assert kept.notes == ("stripped prefix 'model.'",)


def test_an_architecture_with_such_a_prefix_of_its_own() -> None:
    state = prefixed("module.")
    chosen = choose(candidates(state), Wanted(state))
    assert chosen.fits
    assert set(chosen.tensors) == set(state)
    assert chosen.notes == ()


def test_of_several_that_do_not_fit_the_closest_is_explained() -> None:
    found = candidates({"a": {"x": torch.ones(1)}, "b": {**STATE, "x": torch.ones(1)}})
    assert choose(found, EXPECTED).entry == "b"


def test_nested_without_end_and_shared_without_measure() -> None:
    """A list within itself; a mapping that contains the next one twice, forty deep."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(Failed, match="no state dict"):
        candidates(loop)
    inner: dict[str, Any] = {"w": torch.ones(1)}
    for _ in range(40):
        inner = {"a": inner, "b": inner}
    with pytest.raises(Failed, match="no state dict"):
        candidates(inner)


def test_long_names_do_not_multiply() -> None:
    """Paths quote names; a long one in front of many must not be copied whole."""
    value = {"k" * 1_000_000: {str(i): {"w": torch.ones(1)} for i in range(2000)}}
    found = candidates(value)
    assert len(found) == 2000
    assert max(len(item.entry) for item in found) < 200


def test_numbers_that_python_does_not_print() -> None:
    with pytest.raises(Failed, match=r"can name: all/\[a number\]$"):
        candidates({"all": {1 << 40_000: STATE}})
    with pytest.raises(Failed, match=r"its entries are: \[a number\]\. Save "):
        candidates({1 << 40_000: 3})


def test_arrays_of_numbers_are_weights_that_somebody_may_load() -> None:
    """torch.from_numpy is how; they are never taken unless they are named."""
    arrays = {name: value.numpy() + 1 for name, value in STATE.items()}
    value = {"model": arrays, "z": STATE, "note": {"text": np.array(["a"]), "none": np.array(None)}}
    found = candidates(value)
    assert [(item.entry, item.aside) for item in found] == [("model", True), ("z", False)]
    with pytest.raises(Failed, match="fit: z, model; they differ"):
        choose(found, EXPECTED)
    assert choose(candidates(value, "model"), EXPECTED, "model").fits
    with pytest.raises(Failed, match=r"its entries are: model; --entry .* can name: model$"):
        candidates({"model": arrays})


def test_more_state_dicts_than_any_checkpoint_has() -> None:
    value = {str(index): {"w": torch.ones(1)} for index in range(10_001)}
    with pytest.raises(Failed, match="10,001 mappings of names to tensors, expected at most"):
        candidates(value)


@pytest.mark.parametrize("shared", [True, False])
def test_many_names_that_are_nearly_those_of_the_network(shared: bool) -> None:
    """Every way of taking them is looked at, in seconds."""
    stem = "module." * 20 + ".".join(["0"] * 20)
    names = [f"{stem}.{i if not shared else '0'}.{i}.0.weight" for i in range(20_000)]
    with bounded(seconds=20.0, megabytes=300):
        assert not choose(candidates(dict.fromkeys(names, torch.ones(1))), EXPECTED).fits


def test_prefixes_without_end_are_left() -> None:
    name = "module." * 5000 + "w"
    chosen = choose(candidates({name: torch.ones(1)}), Wanted({"w": torch.ones(1)}))
    assert len(chosen.notes) < 10


def test_hostile_attributes_of_a_saved_mapping_are_not_used(tmp_path: Path) -> None:
    """torch hangs `_metadata` on state dicts; a false one must not reach load_state_dict."""
    state = OrderedDict(STATE)
    state._metadata = ["not", "a", "mapping"]  # pyright: ignore[reportAttributeAccessIssue]
    content = io.BytesIO()
    torch.save(state, content)
    (tmp_path / "m.pt").write_bytes(content.getvalue())
    assert mmbd.load(tmp_path / "m.pt", arch=network, input_shape=(4,)).notes == ()
