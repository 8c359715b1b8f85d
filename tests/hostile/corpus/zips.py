"""Zip archives that two readers could see differently, that lie, or that unpack to gigabytes."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from functools import partial

from helpers.handmade_checkpoints import packed, zipped
from hostile.corpus import valid
from hostile.corpus.case import EITHER, REFUSED, Case, several, written
from hostile.test_archives import FOREIGN

EMPTY = b"\x80\x02}."
METHODS = {"deflate": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}
NAMES = (
    "../outside",
    "archive/../../outside",
    "/etc/passwd",
    "C:\\x",
    "archive\\data\\0",
    "archive/data/0/../1",
    "archive/evil.pkl",
    "other/data.pkl",
    "archive/data/\u202e",
    "archive/data/0\0.txt",
    "archive/\x1b[2J",
    "archive/a\nb",
    "",
    "/",
    "archive/",
    "archive/data/",
    "archive/data/" + "a" * 60_000,
    "archive/.data/x",
    "archive/DATA.PKL",
    "archive/code/x.py",
    "archive/constants.pkl",
    "archive/data/\u0660",
    "archive//data/0",
    "./archive/data/9",
)


def cases(seed: int) -> list[Case]:
    data = valid.written(valid.state(seed))
    changed: dict[str, bytes] = {
        "a byte after the end": data + b"\0",
        "a comment": data[:-2] + b"\x05\0hello",
        "a comment that is an end": data[:-2] + b"\x16\0PK\x05\x06" + bytes(18),
        "twice": data + data,
        "a prefix": b"PK\x03\x04" + data,
        "a long prefix": b"PK\x03\x04" + bytes(100_000) + data,
        "a member less in its end": _end(data, 10, "<H", 3),
        "a member more in its end": _end(data, 10, "<H", 99),
        "on another disk": _end(data, 4, "<H", 1),
        "a directory elsewhere": _end(data, 16, "<L", 4),
        "a directory of another size": _end(data, 12, "<L", 4),
        "a directory beyond the end": _end(data, 16, "<L", 0xFFFFFFFF),
        "members that overlap": _directory(data, "archive/data/1", 42, "<L", 0),
        "a member beyond the end": _directory(data, "archive/data/1", 42, "<L", 0xFFFFFFF0),
        "a member of four gigabytes": _directory(data, "archive/data/0", 20, "<LL", 0xFFFFFFF0, 0xFFFFFFF0),
        "unequal sizes": _directory(data, "archive/data/0", 20, "<L", 4),
        "encrypted": _directory(data, "archive/data.pkl", 8, "<H", 1),
        "strongly encrypted": _directory(data, "archive/data.pkl", 8, "<H", 0x41),
        "patched": _directory(data, "archive/data.pkl", 8, "<H", 0x20),
        "a masked directory": _directory(data, "archive/data.pkl", 8, "<H", 0x2000),
        "an unknown method": _directory(data, "archive/data.pkl", 10, "<H", 77),
        "a false checksum of the pickle": _directory(data, "archive/data.pkl", 16, "<L", 1),
        "a false checksum of weights": _directory(data, "archive/data/0", 16, "<L", 1),
        "another name in the header": _header(data, "archive/data/0", b"archive/data/7"),
        "another method in the header": _header(data, "archive/data/0", struct.pack("<H", 8), -22),
        "a longer name in the header": _header(data, "archive/data/0", struct.pack("<H", 60_000), -4),
        "extra bytes in the header": _header(data, "archive/data/0", b"\xff\xff", -2),
        "no end": data[:-22],
        "no directory": data[: data.index(b"PK\x01\x02")],
        "an end alone": b"PK\x05\x06" + bytes(18),
        "a start alone": b"PK\x03\x04" + bytes(30),
        "no pickle": packed({"archive/version": b"3", "archive/data/0": bytes(4)}),
        "no member in a folder": packed({"data.pkl": EMPTY}),
        "big-endian": packed({"a/data.pkl": EMPTY, "a/byteorder": b"big"}),
        "an order of bytes that is none": packed({"a/data.pkl": EMPTY, "a/byteorder": b"odd"}),
        "two folders": packed({"a/data.pkl": EMPTY, "b/data.pkl": EMPTY}),
        "ten thousand members": packed({"a/data.pkl": EMPTY} | {f"a/data/{n}": b"" for n in range(10_000)}),
    }
    found = several("zip", changed)
    for name, method in METHODS.items():
        members = {"archive/data.pkl": EMPTY, "archive/data/0": bytes(100)}
        found.append(Case("zip", name, packed(members, method), REFUSED, says="compressed"))
        large = partial(packed, members | {"archive/data/0": bytes(30_000_000)}, method)
        found.append(Case("zip", f"30 MB in {name}", written(large), REFUSED))
    for member in ("archive/data.pkl", "archive/data/0"):
        bomb = written(partial(_bomb, member))
        found.append(Case("zip", f"300 MB of {member}", bomb, REFUSED, megabytes=200))
    for name in NAMES:
        content = io.BytesIO(zipped(EMPTY, **{"0": bytes(4)}))
        info = zipfile.ZipInfo("x")
        info.filename = name
        with zipfile.ZipFile(content, "a") as archive:
            archive.writestr(info, b"\x80\x02cos\nsystem\n.")
        # A long key of a storage is one that torch might write, of what nobody refers to.
        codes = EITHER if len(name) > 1000 else REFUSED
        found.append(Case("zip", f"a member {name[:30]!r}", content.getvalue(), codes))
    for name in ("archive/data.pkl", "archive/Data.Pkl", "archive/data/0", "archive/version"):
        for first in (False, True):
            found.append(
                Case(
                    "zip",
                    f"{name} again, first: {first}",
                    _again(data, name, first),
                    REFUSED,
                    says="torch.save does not write",
                )
            )
    for what, names in FOREIGN.items():
        members = dict.fromkeys(names, b"\x80\x02cos\nsystem\n.")
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            found.append(Case("zip", f"{what}, method {method}", packed(members, method), REFUSED, says=what))
    whole = valid.checkpoint(valid.state(seed))
    for name, offset in (("record", 8), ("record's count", -22 + 8)):
        moved = bytearray(whole)
        struct.pack_into("<Q", moved, len(moved) - 42 + offset, 64)
        found.append(Case("zip", f"the 64-bit {name} elsewhere", bytes(moved), EITHER))
    return found


def _end(data: bytes, offset: int, form: str, *values: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, len(data) - 22 + offset, *values)
    return bytes(changed)


def _directory(data: bytes, name: str, offset: int, form: str, *values: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, data.rindex(name.encode()) - 46 + offset, *values)
    return bytes(changed)


def _header(data: bytes, name: str, new: bytes, offset: int = 0) -> bytes:
    start = data.index(name.encode()) + offset
    return data[:start] + new + data[start + len(new) :]


def _again(data: bytes, name: str, first: bool) -> bytes:
    """The archive with a second member of that name, of no use, before or after the others."""
    content = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(content, "w") as new,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # zipfile warns of duplicates
        members = [(each, old.read(each)) for each in old.namelist()]
        more = (name, EMPTY)
        for each, payload in [more, *members] if first else [*members, more]:
            new.writestr(zipfile.ZipInfo(each), payload)
    return content.getvalue()


def _bomb(member: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        info = zipfile.ZipInfo(member)
        info.compress_type = zipfile.ZIP_DEFLATED
        if member != "archive/data.pkl":
            archive.writestr(zipfile.ZipInfo("archive/data.pkl"), EMPTY)
        with archive.open(info, "w", force_zip64=True) as opened:
            for _ in range(300):
                opened.write(bytes(1_000_000))
    return content.getvalue()
