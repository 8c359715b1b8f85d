"""Pickles that create a marker file when they are loaded, in as many ways as pickle has.

`pickles(marker)` gives them by name, each with the globals that a refusal has to list.
"""

from __future__ import annotations

import builtins
import importlib
import os
import pickle
import runpy
import subprocess
from pathlib import Path
from typing import Any


class Calls:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call

    def __call__(self) -> None:
        """Only so that it may stand for the function of another one."""


def code(marker: Path) -> str:
    """Python that creates the marker."""
    return f"open({str(marker)!r}, 'w').close()\n"


def pickles(marker: Path) -> dict[str, tuple[bytes, tuple[str, ...]]]:
    """Name -> (a pickle that creates `marker`, the globals it needs for that).

    One of them runs the script beside the marker, which has to have `code(marker)` in it.
    """
    touch = f"touch {marker}"
    text, argument = f"S'{touch}'\n".encode(), _short(touch)
    system = Calls(os.system, touch)
    found: dict[str, tuple[bytes, tuple[str, ...]]] = {
        f"os.system, protocol {protocol}": (pickle.dumps(system, protocol), ("posix.system",))
        for protocol in range(6)
    }
    calls: dict[str, tuple[Any, tuple[str, ...]]] = {
        "open": (Calls(open, str(marker), "w"), ("io.open",)),
        "exec": (Calls(exec, code(marker)), ("exec",)),
        "eval": (Calls(eval, f"open({str(marker)!r}, 'w')"), ("eval",)),
        "subprocess": (Calls(subprocess.Popen, ["touch", str(marker)]), ("subprocess.Popen",)),
        "run_path": (Calls(runpy.run_path, str(marker.with_suffix(".py"))), ("runpy.run_path",)),
        "getattr chain": (
            Calls(Calls(getattr, Calls(importlib.import_module, "os"), "system"), touch),
            ("getattr", "importlib.import_module"),
        ),
        "nested": (
            Calls(builtins.map, Calls(getattr, Calls(__import__, "os"), "system"), [touch]),
            ("getattr", "__import__", "map"),
        ),
        "pickle in a pickle": (Calls(pickle.loads, pickle.dumps(system)), ("pickle.loads",)),
    }
    for name, (call, names) in calls.items():
        thing = [Calls(list, call)] if name == "nested" else call
        for protocol in (2, 4):
            found[f"{name}, protocol {protocol}"] = pickle.dumps(thing, protocol), names
    found |= {
        "INST": (b"(" + text + b"ios\nsystem\n.", ("os.system",)),
        "OBJ": (
            b"(csubprocess\nPopen\n" + f"S'{touch}'\nI-1\nNNNNNI01\nI01\no.".encode(),
            ("subprocess.Popen",),
        ),
        "NEWOBJ": (
            b"\x80\x02cbuiltins\ntuple\ncbuiltins\nmap\ncos\nsystem\n(" + text + b"l\x86\x81\x85\x81.",
            ("builtins.tuple", "builtins.map", "os.system"),
        ),
        "POP hides the result": (b"cos\nsystem\n(" + text + b"tR0}.", ("os.system",)),
        "STACK_GLOBAL through the memo": (
            b"\x80\x04"
            + _short("system")
            + b"\x940"
            + _short("os")
            + b"\x940h\x01h\x00\x93"
            + argument
            + b"\x85R.",
            ("os.system",),
        ),
        "STACK_GLOBAL through PUT and DUP": (
            b"\x80\x04" + _short("os") + b"2p7\n0g7\n" + _short("system") + b"\x93" + argument + b"\x85R.",
            ("os.system",),
        ),
        "STACK_GLOBAL of a computed name": (
            b"\x80\x04"
            + _short("os")
            + _short("builtins")
            + _short("str.upper")
            + b"\x93"
            + _short("SYSTEM")
            + b"\x85R0"
            + _short("builtins")
            + _short("str.lower")
            + b"\x93"
            + _short("SYSTEM")
            + b"\x85R\x93"
            + argument
            + b"\x85R.",
            ("builtins.str.lower", "computed while loading"),
        ),
        "dotted name": (
            b"\x80\x04" + _short("pathlib") + _short("os.system") + b"\x93" + argument + b"\x85R.",
            ("pathlib.os.system",),
        ),
        "after a harmless pickle": (
            pickle.dumps({"weights": [1.0]}, 2) + pickle.dumps(system, 2),
            ("posix.system",),
        ),
        "extension registry": (b"\x80\x02\x82\xf0(" + text + b"tR.", ("extension code 240",)),
        "BUILD": (
            b"\x80\x02ctypes\nSimpleNamespace\n)\x81}U\x01acos\nsystem\n" + text + b"\x85Rsb.",
            ("types.SimpleNamespace", "os.system"),
        ),
        "name beyond ASCII": ("\x80\x02cbuiltins\nexec\n(c\u00e9\nname\n".encode("latin-1"), ("exec",)),
    }
    return found


# These do nothing under `pickle.loads`: what comes second, and what is only there to hide behind.
INERT = ("after a harmless pickle", "name beyond ASCII")


def _short(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()
