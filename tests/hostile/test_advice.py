"""Every message about a file that cannot be read ends with what to do next."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as to_safetensors
from torch import nn

import mmbd
from benchmarks.hostile.steps import has_step
from helpers.handmade_checkpoints import WEIGHT, legacy, zipped
from hostile.corpus.valid import tensor_file
from hostile.test_beside import LIES as WIDE_LIES
from hostile.test_beside import ODD, beside
from hostile.test_numpy_numbers import ODD_ARRAYS, REFUSED
from hostile.test_sizes import EXPLOSIONS, LIES
from mmbd.base.errors import Failed, NotEvaluable, Refused
from mmbd.base.text import listed
from mmbd.detectors.scan import ScanOptions
from mmbd.formats import advice, loading
from mmbd.formats.options import LoadOptions
from mmbd.formats.refusals import ADVICE
from mmbd.render.terminal import line
from mmbd.workflows import scan_file as gate

# What to do: something to fetch, to save, to name, to unpack, or to allow for.
STEP = re.compile(
    r"(download it again, or ask whoever made it for a whole copy|[Ss]ave [^:]*|scan [^:]*"
    r"|Unpack it and name the file inside[^:]*|name [^:]*|raise [^:]*|allow for [^:]*"
    r"|Name the file with the model's weights: [^:]*)$"
)
STATE = {"0.weight": torch.randn(3, 4), "0.bias": torch.zeros(3)}

WEIGHTS = {"1.weight": torch.ones(3, 4) / 7, "1.bias": torch.zeros(3)}


def whole(kind: str) -> bytes:
    if kind == "safetensors":
        return to_safetensors(STATE)
    content = io.BytesIO()
    torch.save(STATE, content, _use_new_zipfile_serialization=kind == "zip")
    return content.getvalue()


def rezipped(change: Callable[[str, bytes], bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole("zip"))) as old, zipfile.ZipFile(content, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return content.getvalue()


def saved(value: object) -> bytes:
    content = io.BytesIO()
    torch.save(value, content)
    return content.getvalue()


def described(spec: dict[str, object]) -> bytes:
    return tensor_file(WEIGHTS, spec)


CASES: dict[str, bytes] = {
    **{f"{name} (zip)": zipped(data, **{"0": WEIGHT}) for name, (data, _) in LIES.items()},
    **{f"{name} (old)": legacy(data) for name, (data, _) in LIES.items()},
    **{name: zipped(data) for name, (data, _) in EXPLOSIONS.items()},
    **{f"wide, {name}": beside(data) for name, data in WIDE_LIES.items()},
    **{f"odd, {name}": beside(data) for name, data in ODD.items()},
    **{f"array, {name}": data for name, data in ODD_ARRAYS.items()},
    **{f"number, {name}": data for name, data in REFUSED.items()},
    **{
        f"{kind} cut to {part} %": whole(kind)[: len(whole(kind)) * part // 100]
        for kind in ("safetensors", "zip", "legacy")
        for part in range(0, 100, 3)
    },
    "a wrong checksum": whole("zip").replace(STATE["0.weight"].numpy().tobytes(), bytes(48)),
    "a storage less": rezipped(lambda name, data: data[:-4] if name.endswith("/0") else data),
    "a broken pickle": rezipped(lambda name, data: data[:-9] if name.endswith("pkl") else data),
    "an unknown opcode": rezipped(
        lambda name, data: data.replace(b"}", b"\xff") if name.endswith("pkl") else data
    ),
    "an empty zip": b"PK\x05\x06" + bytes(18),
    "a web page": b"<!DOCTYPE html><html><body>Sign in</body></html>",
    "nothing": b"",
    "zeros": bytes(100),
}


@pytest.mark.parametrize("name", CASES)
def test_every_message_ends_with_a_next_step(name: str, tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(CASES[name])
    with pytest.raises((Failed, Refused)) as raised:
        mmbd.load(tmp_path / "m.pt")
    said = str(raised.value)
    if "a web page" in said:
        assert "download the file itself" in said
        return
    assert STEP.search(said), said


MLP: dict[str, object] = {"arch": "mlp", "arch_args": {"hidden": ()}, "input_shape": (4,)}
SPEC = {"version": 1, "arch": "mlp", "input_shape": [4], "classes": 3, "arguments": {"hidden": []}}
BOUND = {"limits": [{"name": "9", "index": 9, "fold": False}]}
# What a file holds, what the user says, and what the message ends with.
MISFITS: dict[str, tuple[bytes, dict[str, object], str]] = {
    "no state dict": (saved({"epoch": 3}), {}, advice.STATE),
    "a number alone": (saved(3), {}, advice.STATE),
    "a tensor less": (saved({"1.weight": WEIGHTS["1.weight"]}), MLP, advice.FITTING),
    "another shape": (saved(WEIGHTS | {"1.bias": torch.ones(4)}), MLP, advice.FITTING),
    "no numbers": (
        saved({"1.weight": torch.ones(3, 4) * torch.nan, "1.bias": torch.zeros(3)}),
        MLP,
        "are those of its training",
    ),
    "other classes": (
        saved(WEIGHTS),
        MLP | {"arch": lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), "arch_args": {}, "classes": 5},
        "has so many",
    ),
    "no input": (saved(WEIGHTS), MLP | {"input_shape": ()}, ""),
    "false inputs": (described(SPEC | {"std": [-1.0]}), {}, loading.DESCRIBE),
    "a false word": (described(SPEC | {"classes": "three"}), {}, advice.WORDS),
    "a later version": (described(SPEC | {"version": 2}), {}, advice.WORDS),
    "a false argument": (described(SPEC | {"arguments": {"depth": 3}}), {}, advice.WORDS),
    "too large a network": (described(SPEC | {"arguments": {"hidden": [99]}}), {}, advice.WORDS),
    "bounds of nothing": (described(SPEC | BOUND), {}, advice.AGAIN),
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_is_read_and_does_not_fit_is_told_on_too(name: str, tmp_path: Path) -> None:
    content, given, told = MISFITS[name]
    (tmp_path / "m.bin").write_bytes(content)
    with pytest.raises((Failed, Refused, NotEvaluable)) as raised:
        mmbd.load(tmp_path / "m.bin", **given)  # pyright: ignore[reportArgumentType]
    assert str(raised.value).endswith(told)
    assert has_step(str(raised.value))


def test_many_names_do_not_push_the_advice_out_of_sight(tmp_path: Path) -> None:
    """A line of a report has an end; a stranger's names must not be all that is before it."""
    names = b"".join(f"cmodule_of_a_long_name_{n:040}\nrun\n".encode() for n in range(300))
    (tmp_path / "m.pt").write_bytes(zipped(b"\x80\x02(cposix\nsystem\n" + names + b"t."))
    outcome = gate.scan_file(tmp_path / "m.pt", LoadOptions(), ScanOptions())
    said = line(outcome.report)
    assert outcome.code == gate.REFUSED
    assert "posix.system, module_of_a_long_name_" in said
    assert " more. " in said
    assert said.endswith(f"{ADVICE[-60:]}")


def test_layers_of_no_width_do_not_make_torch_warn(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(described(SPEC | {"arguments": {"hidden": [0]}}))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(Failed):
            mmbd.load(tmp_path / "m.safetensors")
    assert [str(each.message) for each in warned] == []


def test_listed_within_room() -> None:
    names = ["a" * 10, "b" * 10, "c" * 10]
    assert listed(names, room=36) == ", ".join(names)
    assert listed(names, room=35) == "aaaaaaaaaa, bbbbbbbbbb and 1 more"
    assert listed(names, most=2, room=100) == "aaaaaaaaaa, bbbbbbbbbb and 1 more"
    assert listed(names, room=1) == "aaaaaaaaaa and 2 more"
    assert listed([], room=1) == ""
