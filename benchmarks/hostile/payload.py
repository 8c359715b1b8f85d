"""What every payload of the corpus does: it creates one empty file, whose path is in the environment."""

from __future__ import annotations

import base64
import marshal
import os
import pickle
import posixpath
import struct
from collections.abc import Callable
from typing import Any

VARIABLE = "MMBD_CANARY"
CODE = f"import os; open(os.environ['{VARIABLE}'], 'w').close()"
EXPRESSION = f"open(__import__('os').environ['{VARIABLE}'], 'w').close()"
SHELL = f': > "${VARIABLE}"'


class Calls:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call

    def __call__(self) -> None:
        """Only so that it may stand for the function of another one."""


class Named:
    """Pickles as the name of something in a module that need not be installed here."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __call__(self) -> None:
        """Only so that it may be called in a pickle."""


def system() -> Calls:
    return Calls(os.system, SHELL)


def path() -> Calls:
    """The canary's path, as an object of a pickle."""
    return Calls(posixpath.expandvars, f"${VARIABLE}")


def pickled(value: Any = None, protocol: int = 2) -> bytes:
    return pickle.dumps(system() if value is None else value, protocol)


def short(text: str) -> bytes:
    """SHORT_BINUNICODE."""
    return b"\x8c" + bytes([len(text)]) + text.encode()


def text(value: str) -> bytes:
    """BINUNICODE."""
    return b"X" + struct.pack("<L", len(value)) + value.encode()


def called(module: str, name: str, *arguments: bytes, start: bytes = b"\x80\x02") -> bytes:
    """A call of a global, whether it can be imported here or not; the arguments are parts of a pickle."""
    return start + f"c{module}\n{name}\n(".encode() + b"".join(arguments) + b"tR."


def marshalled() -> str:
    """A function that creates the canary and returns what it got, as Keras keeps the code of a Lambda."""
    function: Callable[[Any], Any] = eval(f"lambda x: ({EXPRESSION}, x)[1]")  # a constant of this file
    return base64.b64encode(marshal.dumps(function.__code__)).decode()
