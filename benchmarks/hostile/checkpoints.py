"""Zip archives as torch's and unlike torch's: what hides in them, what two readers would see differently."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from collections.abc import Mapping

from benchmarks.hostile import payload, valid
from benchmarks.hostile.case import BROKEN, REFUSED, STOPPED, Case, Content, later, several
from benchmarks.hostile.payload import CODE, pickled, text

ZIP, PROGRAM = "zip archive", "program of torch"
EMPTY = b"\x80\x02}."
EVIL = pickled()


def checkpoint(data: bytes = EVIL, more: Mapping[str, bytes] | None = None, method: int = 0) -> bytes:
    parts = {"archive/data.pkl": data, "archive/byteorder": b"little", "archive/version": b"3\n"}
    return valid.packed({**parts, **(more or {})}, method)


def cases() -> list[Case]:
    return [*_zips(), *_names(), *_programs()]


def _zips() -> list[Case]:
    data, honest = checkpoint(), checkpoint(EMPTY, {"archive/data/0": bytes(4)})
    twice = {False: (EMPTY, EVIL), True: (EVIL, EMPTY)}
    contents: dict[str, Content] = {
        "deflated": checkpoint(method=zipfile.ZIP_DEFLATED),
        "packed by bzip2": checkpoint(method=zipfile.ZIP_BZIP2),
        "packed by lzma": checkpoint(method=zipfile.ZIP_LZMA),
        "the payload in another member": checkpoint(EMPTY, {"archive/evil.pkl": EVIL}),
        "the payload as a tensor's bytes": checkpoint(
            EMPTY, {"archive/data/0": EVIL, "archive/data/x.pkl": EVIL}
        ),
        "a false checksum": _directory(data, b"archive/data.pkl", 16, "<L", 1),
        "a bit that says encrypted": _directory(data, b"archive/data.pkl", 8, "<H", 1),
        "a bit that says strongly encrypted": _directory(data, b"archive/data.pkl", 8, "<H", 0x41),
        "a bit that says patched": _directory(data, b"archive/data.pkl", 8, "<H", 0x20),
        "an unknown method": _directory(data, b"archive/data.pkl", 10, "<H", 77),
        "another size in the directory": _directory(data, b"archive/data.pkl", 24, "<L", 3),
        "sizes of four gigabytes": _directory(data, b"archive/data.pkl", 20, "<LL", 0xFFFFFFF0, 0xFFFFFFF0),
        "sizes that are elsewhere (zip64)": _directory(
            data, b"archive/data.pkl", 20, "<LL", 0xFFFFFFFF, 0xFFFFFFFF
        ),
        "a place that is elsewhere (zip64)": _directory(data, b"archive/data.pkl", 42, "<L", 0xFFFFFFFF),
        "a link (symbolic)": _directory(data, b"archive/data.pkl", 38, "<L", 0xA1ED0000),
        "two members of one name, the last harmless": _several(twice[True]),
        "two members of one name, the first harmless": _several(twice[False]),
        "names that differ in case": checkpoint(EMPTY, {"archive/DATA.PKL": EVIL}),
        "another name in its header": data.replace(b"archive/data.pkl", b"archive/data.txt", 1),
        "headers that point to one member": _directory(honest, b"archive/data/0", 42, "<L", 0),
        "sizes behind the data": _described(EVIL),
        "a comment": data[:-2] + b"\x05\0hello",
        "a comment that is a directory": data[:-2] + struct.pack("<H", len(honest)) + honest,
        "a byte behind it": data + b"\0",
        "a script before it": b'#!/bin/sh\n: > "$MMBD_CANARY"\nexit\n' + data,
        "a pickle before it": EVIL + data,
        "two archives": honest + data,
        "one disk of two": _end(data, 4, "<H", 1),
        "a member more than it has": _end(data, 8, "<HH", 9, 9),
        "a zip in a zip": valid.packed({"model.pt": data}),
        "a zip in a zip in a zip": valid.packed({"a.zip": valid.packed({"b.zip": data})}),
        "a pickle in a zip": valid.packed({"model.pkl": EVIL}),
        "two folders": valid.packed({"a/data.pkl": EMPTY, "b/data.pkl": EVIL}),
        "a pickle of another byte order": checkpoint(more={"archive/byteorder": b"big"}),
        "300 MB of zeros as the pickle": later(lambda: _bomb("archive/data.pkl", EVIL)),
        "300 MB of zeros as a tensor": later(lambda: _bomb("archive/data/0", b"")),
        "forty thousand members": later(
            lambda: checkpoint(EMPTY, {f"archive/data/{n}.txt": b"" for n in range(40_000)})
        ),
    }
    found = several(ZIP, contents, STOPPED, loader="torch_load")
    broken = {
        "cut in the middle": data[: len(data) // 2],
        "without a directory": data[: data.index(b"PK\x01\x02")],
        "an end alone": b"PK\x05\x06" + bytes(18),
    }
    return found + several(ZIP, broken, BROKEN, loader="torch_load")


def _names() -> list[Case]:
    names = (
        "../outside.pkl", "archive/../../outside", "/tmp/outside.pkl", "C:\\outside.pkl", "archive\\data.pkl",
        "archive/\x1b[2J.pkl", "archive/\u202elkp.pkl", "archive/a\nb.pkl", "archive/data.pkl\0.txt",
        "archive/code/x.py", "archive/constants.pkl", "__init__.py", "archive/" + "a" * 5000,
    )  # fmt: skip
    return [
        Case(
            ZIP,
            f"a member named {name[:24]!r}",
            checkpoint(EMPTY, {name: EVIL}),
            REFUSED,
            loader="torch_load",
        )
        for name in names
    ]


def _programs() -> list[Case]:
    evil_module = f"{CODE}\ndef f(x):\n    return x\n".encode()
    package = {
        "p/.data/extern_modules": b"os\n",
        "p/.data/version": b"6\n",
        "p/byteorder": b"little",
        "p/evil.py": evil_module,
        "p/m/model.pkl": b"\x80\x02cevil\nf\n.",
    }
    handler = {"MAR-INF/MANIFEST.json": b'{"model": {"handler": "h.py"}}', "h.py": evil_module, "m.pkl": EVIL}
    script = valid.script()
    parts = valid.members(script)
    pickle_name = next(name for name in parts if name.endswith("/data.pkl"))
    held = {
        "TorchScript": script,
        "TorchScript with a payload as its data": valid.packed({**parts, pickle_name: EVIL}),
        "TorchScript with a pickle more": valid.packed({**parts, "archive/evil.pkl": EVIL}),
        "a module whole": valid.checkpoint(_module()),
        "torch.jit before 1.0": valid.packed(
            {"m/model.json": b"{}", "m/code/m.py": evil_module, "m/tensors/0": EVIL}
        ),
        "TorchServe": valid.packed(handler),
        "ExecuTorch": b"\x1c\0\0\0ET12" + bytes(64),
    }
    found = several(PROGRAM, held, REFUSED, loader="torch_load")
    found.append(Case(PROGRAM, "torch.package", valid.packed(package), REFUSED, ".pt", "package_load"))
    legacy = valid.checkpoint(payload.system(), old=True)
    parts_of_old = {
        "the old format": legacy,
        "the old format, called in its last part": valid.checkpoint({}, old=True)[:-10] + EVIL,
        "the old format, called before its magic": EVIL + legacy,
        "a storage's class": checkpoint(
            b"\x80\x02(" + text("storage") + EVIL[2:-1] + text("0") + text("cpu") + b"K\x04tQ."
        ),
        "a storage's place": checkpoint(
            b"\x80\x02(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + EVIL[2:-1] + b"K\x04tQ."
        ),
        "a tensor's hook": checkpoint(
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + EVIL[2:-1] + b"K\0)))" + b"tR."
        ),
        "a class of its own": checkpoint(b"\x80\x02c__main__\nNet\n)\x81}" + text("x") + EVIL[2:-1] + b"sb."),
    }
    return found + several(PROGRAM, parts_of_old, STOPPED, loader="torch_load")


def _module() -> object:
    import torch

    return torch.nn.Sequential(torch.nn.Linear(2, 2))


def _directory(data: bytes, name: bytes, offset: int, form: str, *values: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, data.rindex(name) - 46 + offset, *values)
    return bytes(changed)


def _end(data: bytes, offset: int, form: str, *values: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, len(data) - 22 + offset, *values)
    return bytes(changed)


def _several(contents: tuple[bytes, ...]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the second name
        archive.writestr(zipfile.ZipInfo("archive/byteorder"), b"little")
        archive.writestr(zipfile.ZipInfo("archive/version"), b"3\n")
        for each in contents:
            archive.writestr(zipfile.ZipInfo("archive/data.pkl"), each)
    return content.getvalue()


class _Stream(io.RawIOBase):
    """A file that cannot be gone back in, for which zipfile writes sizes behind the data."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, part: object) -> int:  # type: ignore[override]
        self.data += bytes(part)  # type: ignore[call-overload]
        return len(bytes(part))  # type: ignore[call-overload]


def _described(data: bytes) -> bytes:
    stream = _Stream()
    with zipfile.ZipFile(stream, "w") as archive:  # type: ignore[call-overload]
        for name, content in (("archive/data.pkl", data), ("archive/version", b"3\n")):
            archive.writestr(zipfile.ZipInfo(name), content)
    return bytes(stream.data)


def _bomb(member: str, start: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        if member != "archive/data.pkl":
            archive.writestr(zipfile.ZipInfo("archive/data.pkl"), EMPTY)
        info = zipfile.ZipInfo(member)
        info.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(info, "w", force_zip64=True) as opened:
            opened.write(start)
            for _ in range(300):
                opened.write(bytes(1_000_000))
    return content.getvalue()
