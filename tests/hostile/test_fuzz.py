"""Valid files with random damage, and random pickles of the opcodes that are allowed.

Whatever comes, the answer is a classifier or one of the three errors, soon.
"""

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

import mmbd
from hostile.handmade import WEIGHT, legacy, storage, tensor, text, whole, zipped
from mmbd.errors import Failed, NotEvaluable, Refused
from mmbd.load.spec import Spec, save

SPEC = Spec("mlp", (4,), 3, {"hidden": (5,)}, mean=(0.5,), class_names=("a", "b", "c"))


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


def answers(path: Path, data: bytes, described: bool = False) -> str:
    """Load; the name of what came of it. Any other exception is the test's failure."""
    path.write_bytes(data)
    options = {} if described else {"arch": SPEC.network, "input_shape": (4,)}
    message = outcome = "loaded"
    try:
        mmbd.load(path, **options)
    except (Refused, Failed, NotEvaluable) as error:
        outcome, message = type(error).__name__, str(error)
    assert message.isprintable()
    assert len(message) < 20_000
    return outcome


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
def test_damage_in_the_header_of_safetensors(
    scratch: Path, damage: list[tuple[str, float, int]]
) -> None:
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


PIECES = [
    b"}", b"]", b")", b"(", b"t", b"\x85", b"\x86", b"\x87", b"R", b"s", b"u", b"a", b"e", b"b",
    b"Q", b"N", b"\x88", b"\x89", b"K\x01", b"J\xff\xff\xff\xff", b"G@\x08\0\0\0\0\0\0",
    b"q\x00", b"q\x01", b"h\x00", b"h\x01", b"r\0\0\0\1", b"j\0\0\0\1",
    whole(2), whole(1 << 70), whole(-1),
    text("storage"), text("0"), text("cpu"), text("weight"), text("_metadata"), text("latin1"),
    b"U\x03abc", b"U\x01\xff", storage(4), storage(4, last=b"N"), storage(4, key="1"),
    b"ccollections\nOrderedDict\n", b"ccollections\nCounter\n", b"ctorch\nSize\n",
    b"ctorch\ndevice\n", b"c_codecs\nencode\n", b"ctorch\nFloatStorage\n", b"ctorch\nfloat32\n",
    b"ctorch._utils\n_rebuild_tensor\n", b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_parameter\n", b"(" + whole(2) * 2 + b"t",
    tensor(storage(4), (2, 2), (2, 1))[2:-1], tensor(storage(4), (2,), (0,))[2:-1], b".",
]  # fmt: skip


@settings(max_examples=300)
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=25), old=st.booleans())
def test_random_pickles_of_allowed_opcodes(scratch: Path, pieces: list[bytes], old: bool) -> None:
    pickled = b"\x80\x02" + b"".join(pieces) + b"."
    answers(scratch, legacy(pickled) if old else zipped(pickled, **{"0": WEIGHT}))
