"""Names that a shell, a terminal or an option parser could trip over, and what is no file."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from helpers.handmade_checkpoints import zipped
from hostile.corpus.case import FAILED, REFUSED, Case

EVIL = zipped(b"\x80\x02cposix\nsystem\n.")
LONG = 250
NAMES = (
    "{}\x1b[2J\x1b[31m.pt",
    "{}\x1b]0;owned\x07.pt",
    "{}\x9b31m.pt",
    "{}\rclean.pt",
    "{}\nclean: model.pt",
    "{}\u202etp.exe.pt",
    "{}\u2066\u2069\u200b.pt",
    "{}\u2028\u2029.pt",
    "{}\ufeff\u00ad\ue000.pt",
    "{}" + "\u0301" * 60 + ".pt",
    "--help {}",
    "-h{}",
    "--version{}.pt",
    "--level=1e-9 {}",
    "--arch={}.py:f.safetensors",
    "-{}",
    "--{}.pt",
    "@{}.pt",
    "%s%n{}.pt",
    "{}$(touch marker).pt",
    "{};touch marker;.pt",
    "{}`touch marker`.pt",
    "{}'\".pt",
    "{} .pt ",
    "{}[bold red].pt",
    "{}:smile:.pt",
    "{}<script>alert(1)</script".replace("/", "") + ".pt",
    "{}|&<>.pt",
    "{}\\..\\x.pt",
    "~{}.pt",
    "{}*?.pt",
    "東京{}.pt",
    "{}" + "a" * (LONG - 5),
    "{}" + "é" * 120 + ".pt",
    "{}\x7f\x01\x02.pt",
    "{}.safetensors.exe",
    "{}.PT",
    ".{}",
)


def cases() -> list[Case]:
    found: list[Case] = []
    for name in NAMES:
        for codes, what, data in ((FAILED, "empty", b""), (REFUSED, "a payload", EVIL)):
            found.append(Case("name", f"{what}: {name[:30]!r}", data, codes, file=name))
    raw = os.fsdecode(b"\xff\xfe{}.pt")
    found.append(Case("name", "bytes that are no UTF-8", EVIL, REFUSED, file=raw))
    return found + [
        Case("no file", name, make, FAILED, says=says) for name, (make, says) in _things().items()
    ]


def _things() -> dict[str, tuple[Callable[[Path], object], str]]:
    things: dict[str, tuple[Callable[[Path], object], str]] = {
        "missing": (lambda path: None, "no such file"),
        "a FIFO": (os.mkfifo, "a FIFO"),
        "a link to a FIFO": (_link_to_fifo, "a FIFO"),
        "a socket": (_socket, "a socket"),
        "a link to itself": (lambda path: path.symlink_to(path.name), "cannot be read"),
        "a link to nothing": (lambda path: path.symlink_to("nowhere"), "no such file"),
        "ten sparse gigabytes of zip": (_sparse(b"PK\x03\x04"), "the limit is"),
        "ten sparse gigabytes of pickle": (_sparse(b"\x80\x04\x95"), "the limit is"),
        "ten sparse gigabytes of safetensors": (
            _sparse((10 << 30).to_bytes(8, "little") + b'{"'),
            "the limit is",
        ),
        "a sparse gigabyte with a short header": (
            _sparse((100).to_bytes(8, "little") + b'{"', 1 << 30),
            "JSON",
        ),
    }
    for device in ("zero", "null", "random", "full", "tty", "stdin"):
        target = Path("/dev") / device
        if target.exists():
            says = "" if device == "stdin" else "a character device"
            things[f"a link to {target}"] = (lambda path, to=target: path.symlink_to(to), says)
    for name in ("/proc/self/mem", "/proc/self/environ", "/proc/kmsg"):
        if Path(name).exists():
            things[f"a link to {name}"] = (lambda path, to=name: path.symlink_to(to), "")
    return things


def _link_to_fifo(path: Path) -> None:
    other = path.with_suffix(".fifo")
    os.mkfifo(other)
    path.symlink_to(other.name)


def _socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's whole path may only be short
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
    finally:
        os.chdir(before)


def _sparse(head: bytes, size: int = 10 << 30) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(head)
        os.truncate(path, size)

    return make
