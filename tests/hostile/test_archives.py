"""Zip files in which two readers could see two things, or that unpack to more than they are."""

from __future__ import annotations

import io
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import mmbd
from helpers.cost_limits import bounded
from helpers.handmade_checkpoints import zipped
from helpers.marker_pickles import Calls, pickles
from mmbd.base.errors import Failed, Refused
from mmbd.formats import archives

STATE = {"weight": torch.randn(3, 4), "bias": torch.zeros(3)}


def checkpoint(value: Any = STATE) -> bytes:
    content = io.BytesIO()
    torch.save(value, content)
    return content.getvalue()


def load(path: Path) -> mmbd.Classifier:
    return mmbd.load(path, arch=lambda: torch.nn.Linear(4, 3), input_shape=(4,)).classifier


def rewritten(
    data: bytes, change: Callable[[zipfile.ZipInfo, bytes], list[tuple[zipfile.ZipInfo, bytes]]]
) -> bytes:
    """The same archive with each member replaced by what `change` makes of it."""
    content = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(content, "w") as new,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # zipfile warns of duplicates
        for info in old.infolist():
            for each, payload in change(zipfile.ZipInfo(info.filename), old.read(info)):
                new.writestr(each, payload)
    return content.getvalue()


def test_the_archive_written_plainly_again_still_loads(tmp_path: Path) -> None:
    """What the other tests change is what makes the difference."""
    path = tmp_path / "m.pt"
    path.write_bytes(rewritten(checkpoint(), lambda info, data: [(info, data)]))
    assert load(path).classes == 3


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members_are_refused(method: int, tmp_path: Path) -> None:
    def compress(info: zipfile.ZipInfo, data: bytes) -> list[tuple[zipfile.ZipInfo, bytes]]:
        info.compress_type = method
        return [(info, data)]

    (tmp_path / "m.pt").write_bytes(rewritten(checkpoint(), compress))
    with pytest.raises(Refused, match="does not write compressed"):
        load(tmp_path / "m.pt")


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """300 MB of zeros in 300 kB, as a storage and as a pickle."""
    for member in ("archive/data/0", "archive/data.pkl"):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            if member != "archive/data.pkl":
                archive.writestr("archive/data.pkl", b"\x80\x02}.")
            with archive.open(member, "w", force_zip64=True) as opened:
                for _ in range(300):
                    opened.write(bytes(1_000_000))
        (tmp_path / "m.pt").write_bytes(content.getvalue())
        with bounded(megabytes=200), pytest.raises(Refused, match="compressed"):
            load(tmp_path / "m.pt")


def test_false_sizes_do_not_reserve_memory(tmp_path: Path) -> None:
    """A directory that claims four gigabytes for a member of a few bytes."""
    data = bytearray(zipped(b"\x80\x02}.", **{"0": bytes(16)}))
    entry = data.rindex(b"archive/data/0") - 46
    struct.pack_into("<LL", data, entry + 20, 0xFFFFFFF0, 0xFFFFFFF0)
    (tmp_path / "m.pt").write_bytes(data)
    with bounded(), pytest.raises(Failed, match="reaches beyond its end"):
        load(tmp_path / "m.pt")


@pytest.mark.parametrize("name", ["archive/data.pkl", "archive/DATA.PKL", "archive/data/0"])
@pytest.mark.parametrize("first", [True, False])
def test_duplicate_members_are_refused(name: str, first: bool, tmp_path: Path) -> None:
    """Python takes the last of two members, torch the first, and torch ignores case."""
    marker = tmp_path / "marker"
    evil, _ = pickles(marker)["os.system, protocol 2"]

    def double(info: zipfile.ZipInfo, data: bytes) -> list[tuple[zipfile.ZipInfo, bytes]]:
        if info.filename.lower() != name.lower():
            return [(info, data)]
        pair = [(info, data), (zipfile.ZipInfo(name), evil)]
        return pair[::-1] if first else pair

    (tmp_path / "m.pt").write_bytes(rewritten(checkpoint(), double))
    with pytest.raises(Refused, match="does not write") as raised:
        load(tmp_path / "m.pt")
    assert "posix.system" in str(raised.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "archive/../../outside",
        "/etc/passwd",
        "archive\\data\\0",
        "archive/data/0/../1",
        "archive/evil.pkl",
        "other/data.pkl",
        "archive/data/\N{RIGHT-TO-LEFT OVERRIDE}",
        "archive/data/0\0.txt",
    ],
)
def test_members_that_torch_does_not_write_are_refused(name: str, tmp_path: Path) -> None:
    info = zipfile.ZipInfo("x")
    info.filename = name
    content = io.BytesIO(zipped(b"\x80\x02}.", **{"0": bytes(4)}))
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr(info, pickled_call())
    (tmp_path / "m.pt").write_bytes(content.getvalue())
    with pytest.raises(Refused, match="does not write") as raised:
        load(tmp_path / "m.pt")
    assert "torch.hub.load" in str(raised.value)
    assert not (tmp_path.parent / "outside").exists()
    assert not (tmp_path / "outside").exists()


def pickled_call() -> bytes:
    return pickle.dumps(Calls(torch.hub.load, "owner/repo"), 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"\0",
        lambda data: data[:-2] + b"\x04\x00PK\x05\x06",
        lambda data: data + data,
        lambda data: b"PK\x03\x04" + data,
        lambda data: data[:-12] + b"\x01" + data[-11:],
    ],
    ids=["a byte after the end", "comment", "twice", "prefix", "false count"],
)
def test_bytes_around_the_archive_are_refused(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    plain = rewritten(checkpoint(), lambda info, data: [(info, data)])
    (tmp_path / "m.pt").write_bytes(change(plain))
    with pytest.raises((Refused, Failed), match=r"does not write|was cut short"):
        load(tmp_path / "m.pt")


def test_the_64_bit_end_record_must_be_where_it_is_said_to_be(tmp_path: Path) -> None:
    """Python looks before the locator, others where the locator points."""
    data = bytearray(checkpoint())
    assert data[-42:-38] == b"PK\x06\x07"
    (tmp_path / "m.pt").write_bytes(data)
    assert load(tmp_path / "m.pt").classes == 3
    struct.pack_into("<Q", data, len(data) - 42 + 8, 64)
    (tmp_path / "m.pt").write_bytes(data)
    with pytest.raises(Refused, match="end record in another place"):
        load(tmp_path / "m.pt")


def test_overlapping_members_are_refused(tmp_path: Path) -> None:
    """Two storages on the same bytes: what makes a small file large without compression."""
    data = bytearray(zipped(b"\x80\x02}.", a=bytes(64), b=bytes(64)))
    first = data.index(b"archive/data/a") - 30
    directory = data.rindex(b"archive/data/b") - 46
    struct.pack_into("<L", data, directory + 42, first)
    (tmp_path / "m.pt").write_bytes(data)
    with pytest.raises(Refused, match="two headers differ"):
        load(tmp_path / "m.pt")
    # With the second header inside the first member's content, both names agree.
    inner = zipped(b"", b=bytes(8))
    header = inner[inner.index(b"archive/data/b") - 30 :][: 30 + 14]
    data = bytearray(zipped(b"\x80\x02}.", a=header + bytes(64), b=bytes(64)))
    directory = data.rindex(b"archive/data/b") - 46
    struct.pack_into("<L", data, directory + 42, data.index(header))
    struct.pack_into("<L", data, directory + 16, 0)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert len(archive.infolist()) == 5
    (tmp_path / "m.pt").write_bytes(data)
    with pytest.raises(Refused, match="overlap"):
        load(tmp_path / "m.pt")


def test_absurdly_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    (tmp_path / "m.pt").write_bytes(checkpoint())
    with pytest.raises(Failed, match="more than 3 members"):
        load(tmp_path / "m.pt")


def test_a_damaged_weight_is_noticed(tmp_path: Path) -> None:
    """torch does not compare checksums; a flipped bit would give another model."""
    data = bytearray(checkpoint())
    data[data.index(STATE["weight"].numpy().tobytes()) + 5] ^= 1
    assert not torch.equal(torch.load(io.BytesIO(data))["weight"], STATE["weight"])
    (tmp_path / "m.pt").write_bytes(data)
    with pytest.raises(Failed, match="checksum"):
        load(tmp_path / "m.pt")


def test_checkpoints_saved_without_checksums_load(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        (tmp_path / "m.pt").write_bytes(checkpoint())
    finally:
        torch.serialization.set_crc32_options(True)
    assert load(tmp_path / "m.pt").classes == 3


FOREIGN = {
    "TorchScript": ("m/constants.pkl", "m/code/x.py", "m/data.pkl"),
    "torch.package": ("m/.data/extern_modules", "m/model.pkl"),
    # One that begins as torch writes it is read: test_exported.py.
    "torch.export": ("m/readme", "m/archive_format", "m/models/model.json"),
    "Keras": ("m/config.json", "m/metadata.json", "m/model.weights.h5"),
    "TorchServe": ("MAR-INF/MANIFEST.json", "model.pt"),
    "NumPy archive": ("x.npy", "y.npy"),
    "zip archive without": ("readme.txt",),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_other_archives_are_named_and_refused(what: str, tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in FOREIGN[what]:
            archive.writestr(name, pickled_call() if name.endswith(".pkl") else b"text")
    (tmp_path / "m.pt").write_bytes(content.getvalue())
    with pytest.raises(Refused, match=what) as raised:
        load(tmp_path / "m.pt")
    named = any(name.endswith(".pkl") for name in FOREIGN[what])
    assert ("torch.hub.load" in str(raised.value)) == named
