"""Names and texts that are only wanted for a message must not cost what they could."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest

import mmbd
from helpers.cost_limits import bounded
from helpers.handmade_checkpoints import legacy, zipped
from mmbd.base.errors import Refused
from mmbd.formats.pickles import opcodes as pickles
from mmbd.formats.pickles.opcodes import names_in

MILLION = 1 << 20


def long(size: int, start: bytes = b"") -> bytes:
    return b"X" + struct.pack("<L", size) + start.ljust(size, b"a")


def short(name: str) -> bytes:
    return b"\x8c" + bytes([len(name)]) + name.encode()


def many(count: int, size: int, get: bytes = b"q\x00", again: bytes = b"h\x00") -> bytes:
    """So many names that each begin with the same text of so many bytes."""
    names = (again + short(f"n{number}") + b"\x93" for number in range(count))
    return b"\x80\x04" + long(size) + get + b"".join(names) + b"."


def compressed(pickled: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("archive/data.pkl", pickled)
    return content.getvalue()


BOMBS = {
    "forty names": many(40, 31 * MILLION),
    "nine hundred names": many(900, 30 * MILLION),
    "through PUT and GET": many(900, 30 * MILLION, b"p5\n", b"g5\n"),
    "through MEMOIZE": many(900, 30 * MILLION, b"\x94"),
    "wide characters": b"\x80\x04" + long(31 * MILLION, "\N{GRINNING FACE}".encode()) + b"2" * 900 + b"\x93.",
    "old strings": b"S'" + b"a" * 30 * MILLION + b"'\n" + b"2" * 900 + b"\x93.",
}


@pytest.mark.parametrize(
    "wrap", [compressed, bytes, zipped, legacy], ids=["compressed", "raw", "zip", "legacy"]
)
@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_does_not_take_gigabytes(name: str, wrap, tmp_path: Path) -> None:
    """These took between one gigabyte and thirty; what is left is a file of 32 MB unpacked."""
    (tmp_path / "m.bin").write_bytes(wrap(BOMBS[name]))
    with bounded(megabytes=200), pytest.raises(Refused) as raised:
        mmbd.load(tmp_path / "m.bin")
    assert len(str(raised.value)) < 20_000


def test_a_long_name_is_cut_and_what_follows_is_still_listed() -> None:
    evil = short("posix") + short("system") + b"\x93"
    found = names_in([b"\x80\x04" + long(MILLION) + short("x") + b"\x93" + evil + b"."])
    assert found.complete
    assert found.globals == ("a" * 40 + "....x", "posix.system")


def test_a_name_of_the_usual_length_is_whole() -> None:
    name = "a" * 5000
    found = names_in([b"\x80\x04" + long(5000) + short("x") + b"\x93."])
    assert found.globals == (f"{name}.x",)


def test_all_names_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "MAX_KEPT", 30_000)
    names = names_in([many(100, 9000)])
    assert not names.complete
    assert len(names.globals) == 3
    assert sum(map(len, names.globals)) <= 30_000
    # And over several pickles, as an archive may hold.
    assert sum(map(len, names_in([many(2, 9000), many(9, 8000)]).globals)) <= 30_000


def test_a_text_beyond_the_end_is_still_cut_short() -> None:
    names = names_in([b"\x80\x04X\xff\xff\xff\x7f" + b"a" * 20_000 + b"."])
    assert not names.complete
