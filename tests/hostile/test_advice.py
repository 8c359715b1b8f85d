"""Every message about a file that cannot be read ends with what to do next."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as to_safetensors

import mmbd
from hostile.handmade import WEIGHT, legacy, zipped
from hostile.test_beside import LIES as WIDE_LIES
from hostile.test_beside import ODD, beside
from hostile.test_numpy_numbers import ODD_ARRAYS, REFUSED
from hostile.test_sizes import EXPLOSIONS, LIES
from mmbd.errors import Failed, Refused

# What to do: something to fetch, to save, to name, to unpack, or to allow for.
STEP = re.compile(
    r"(download it again, or ask whoever made it for a whole copy|[Ss]ave [^:]*|scan [^:]*"
    r"|Unpack it and name the file inside[^:]*|name [^:]*|raise [^:]*|allow for [^:]*"
    r"|Name the file with the model's weights: [^:]*)$"
)
STATE = {"0.weight": torch.randn(3, 4), "0.bias": torch.zeros(3)}


def whole(kind: str) -> bytes:
    if kind == "safetensors":
        return to_safetensors(STATE)
    content = io.BytesIO()
    torch.save(STATE, content, _use_new_zipfile_serialization=kind == "zip")
    return content.getvalue()


def rezipped(change: Callable[[str, bytes], bytes]) -> bytes:
    content = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(whole("zip"))) as old,
        zipfile.ZipFile(content, "w") as new,
    ):
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return content.getvalue()


CASES: dict[str, bytes] = {
    **{f"{name} (zip)": zipped(data, **{"0": WEIGHT}) for name, (data, _) in LIES.items()},
    **{f"{name} (old)": legacy(data) for name, (data, _) in LIES.items()},
    **{name: zipped(data) for name, (data, _) in EXPLOSIONS.items()},
    **{f"wide, {name}": beside(data) for name, data in WIDE_LIES.items()},
    **{f"odd, {name}": beside(data) for name, data in ODD.items()},
    **{f"array, {name}": data for name, data in ODD_ARRAYS.items()},
    **{f"number, {name}": data for name, data in REFUSED.items()},
    **{f"{kind} cut to {part} %": whole(kind)[: len(whole(kind)) * part // 100]
       for kind in ("safetensors", "zip", "legacy") for part in range(0, 100, 3)},
    "a wrong checksum": whole("zip").replace(STATE["0.weight"].numpy().tobytes(), bytes(48)),
    "a storage less": rezipped(lambda name, data: data[:-4] if name.endswith("/0") else data),
    "a broken pickle": rezipped(lambda name, data: data[:-9] if name.endswith("pkl") else data),
    "an unknown opcode": rezipped(lambda name, data: data.replace(b"}", b"\xff")
                                  if name.endswith("pkl") else data),
    "an empty zip": b"PK\x05\x06" + bytes(18),
    "a web page": b"<!DOCTYPE html><html><body>Sign in</body></html>",
    "nothing": b"",
    "zeros": bytes(100),
}  # fmt: skip


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
