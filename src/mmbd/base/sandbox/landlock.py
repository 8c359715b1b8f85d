"""Landlock: the kernel keeps a process from files, TCP ports and other processes' signals, for good.

It needs no rights, and each kernel knows a part of it (its "ABI", 1 to 7 so far); see landlock(7).
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

CREATE, ADD, RESTRICT = 444, 445, 446  # the numbers of its system calls, on every machine
READ_FILE, READ_FOLDER = 1 << 2, 1 << 3
# Bits of the rights over files, TCP ports (bind, connect), and scopes (abstract sockets, signals) by ABI.
FILES = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
PORTS = {4: 0b11}
SCOPES = {6: 0b11}
WHAT_ABI = 1  # the flag that asks for it
BENEATH = 1  # the kind of rule that is about a folder


def abi() -> int:
    """What this kernel knows of landlock; 0 where it has none, or it is turned off."""
    if sys.platform != "linux":
        return 0
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        return max(0, libc.syscall(CREATE, None, ctypes.c_size_t(0), WHAT_ABI))
    except (OSError, AttributeError):
        return 0


def restrict(readable: Iterable[str]) -> tuple[str, ...]:
    """Keep this process and all it starts from every file but the `readable` folders and files.

    It must have no other threads, and have given up gaining privileges (no_new_privs).

    Returns:
        What this kernel's landlock does not cover, in words; empty where it covers all.

    Raises:
        OSError: the kernel refuses, or has none.
    """
    version = abi()
    if not version:
        raise OSError("this kernel has no landlock, or it is turned off")
    libc = ctypes.CDLL(None, use_errno=True)
    files, ports, scopes = (_bits(table, version) for table in (FILES, PORTS, SCOPES))
    parts = [files, ports, scopes][: 1 if version < 4 else 2 if version < 6 else 3]
    asked = struct.pack(f"<{len(parts)}Q", *parts)
    rules = _call(libc, CREATE, asked, ctypes.c_size_t(len(asked)), 0)
    try:
        for path in readable:
            _allow(libc, rules, path)
        _call(libc, RESTRICT, rules, 0)
    finally:
        os.close(rules)
    missing = (("TCP ports", ports), ("signals and abstract sockets", scopes))
    return tuple(name for name, bits in missing if not bits)


def _bits(table: dict[int, int], version: int) -> int:
    return sum(bits for since, bits in table.items() if since <= version)


def _allow(libc: ctypes.CDLL, rules: int, path: str) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # nothing there: nothing to allow
    try:
        rights = READ_FILE | READ_FOLDER if Path(path).is_dir() else READ_FILE
        _call(libc, ADD, rules, BENEATH, struct.pack("<Qi", rights, place), 0)
    finally:
        os.close(place)


def _call(libc: ctypes.CDLL, number: int, *arguments: object) -> int:
    done = libc.syscall(number, *arguments)
    if done < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"landlock: {os.strerror(error)}")
    return done
