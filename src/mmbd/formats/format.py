"""The types of a row of the table of formats, and of what it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Contents:
    """What a file holds: a mapping of tensors or an envelope around it, and `mmbd` metadata.

    `aliases` are names of tensors that the file leaves out, as they are others: name -> that one.
    """

    value: Any
    format: str
    metadata: str | None
    notes: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Format:
    """A format for weights.

    Args:
        title: what a file of it is, as in "the file is {title}".
        suffixes: of the names that such files have, in lower case.
        recognise: whether a file is of the format, by its first megabyte (or all of it), of which
            there are 16 bytes at least.
        read: the tensors in a whole file, all on the CPU. It runs nothing, and raises `Refused` or
            `Failed` for everything that is not as the format has it.
    """

    title: str
    suffixes: tuple[str, ...]
    recognise: Callable[[bytes], bool]
    read: Callable[[bytes | bytearray], Contents]
