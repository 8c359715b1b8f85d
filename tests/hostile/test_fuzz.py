"""Valid files with random damage: the answer is a classifier or one of the three errors, soon."""

from __future__ import annotations

import functools
import io
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.fuzzing import SPEC, answers
from mmbd.formats.spec import save


@functools.cache
def valid(kind: str) -> bytes:
    """A small file of each kind, the weights in an envelope where there may be one."""
    network = SPEC.network()
    content = io.BytesIO()
    if kind == "safetensors":
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder) / "m", network, SPEC)
            return (Path(folder) / "m").read_bytes()
    value = {"net": network.state_dict(), "epoch": 3, "lr": [0.1, 0.01]}
    torch.save(value, content, _use_new_zipfile_serialization=kind == "zip")
    return content.getvalue()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "model.bin"


DAMAGE = st.lists(
    st.tuples(
        st.sampled_from(["flip", "set", "cut", "insert", "double"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=6,
)


def damaged(data: bytes, damage: list[tuple[str, float, int]]) -> bytes:
    changed = bytearray(data)
    for what, where, value in damage:
        place = int(where * len(changed))
        if what == "cut":
            del changed[place : place + value]
        elif what == "insert":
            changed[place:place] = bytes([value]) * (value % 9)
        elif what == "double":
            changed[place:place] = changed[place : place + value]
        elif place < len(changed):
            changed[place] = value if what == "set" else changed[place] ^ (1 << value % 8)
    return bytes(changed)


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_the_valid_files_load(kind: str, scratch: Path) -> None:
    assert answers(scratch, valid(kind), kind == "safetensors") == "loaded"


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
@settings(max_examples=150)
@given(damage=DAMAGE)
def test_damage_anywhere(kind: str, scratch: Path, damage: list[tuple[str, float, int]]) -> None:
    answers(scratch, damaged(valid(kind), damage), kind == "safetensors")


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@settings(max_examples=150)
@given(damage=DAMAGE)
def test_damage_in_the_header_of_safetensors(scratch: Path, damage: list[tuple[str, float, int]]) -> None:
    data = valid("safetensors")
    length = int.from_bytes(data[:8], "little")
    header = damaged(data[8 : 8 + length], damage)
    length_bytes = len(header).to_bytes(8, "little")
    answers(scratch, length_bytes + header + data[8 + length :], described=True)


@settings(max_examples=150)
@given(damage=DAMAGE)
def test_damage_in_the_pickle_behind_right_checksums(
    scratch: Path, damage: list[tuple[str, float, int]]
) -> None:
    with zipfile.ZipFile(io.BytesIO(valid("zip"))) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, damaged(part, damage) if name.endswith(".pkl") else part)
    answers(scratch, content.getvalue())
