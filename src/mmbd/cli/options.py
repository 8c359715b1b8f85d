"""What the commands share: kinds of options, texts to values, and the error of a bad command."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Annotated

from cyclopts import Group, Parameter

from mmbd.base.choose import unknown

# Help shows the options of a command in these groups, in this order.
HOW = Group("How it is done", sort_key=2)
INPUT = Parameter(group=Group("What goes in", sort_key=1))
MM_BD = Parameter(group=Group("How the MM-BD detectors search and judge", sort_key=3))
OUTPUT = Parameter(group=Group("What comes out", sort_key=4))

# Flags without a --no-... or --empty-... twin.
Plain = Parameter(negative="", show_default=False)
# An option that may be repeated, with one text each time.
Texts = Annotated[list[str] | None, Plain]
# An option that takes every word up to the next option.
Names = Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")]
# The place of a file, or "-" to print it; and several of them.
Place = Annotated[str | None, Parameter(allow_leading_hyphen=True)]
Outs = Annotated[list[str] | None, Parameter(negative="", allow_leading_hyphen=True)]
# One number or several, with commas or blanks between; see `numbers`.
Numbers = str | None
UNITS = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}


class Usage(ValueError):
    """The command line does not make sense (exit 4)."""


def shape(text: str | None) -> tuple[int, ...] | None:
    """The shape in a text such as 3x32x32; Usage if there is none."""
    if text is None:
        return None
    try:
        lengths = tuple(int(length) for length in text.lower().split("x"))
    except ValueError:
        lengths = ()
    if not lengths or min(lengths) < 1:
        raise Usage(f"--input {text!r}: expected lengths such as 3x32x32")
    return lengths


def numbers(option: str, text: str | None, *, positive: bool = False) -> list[float] | None:
    """The numbers in a text such as "0.5", "0.49,0.48,0.45" or "0.49 0.48 0.45".

    Raises:
        Usage: none, or one that is not finite, or not above 0 where `positive`.
    """
    if text is None:
        return None
    try:
        found = [float(part) for part in text.replace(",", " ").split()]
    except ValueError:
        found = []
    if not found or not all(map(math.isfinite, found)):
        raise Usage(
            f"{option} {text!r}: expected a number, or one a channel: {option} 0.5, or "
            f"{option} 0.49 0.48 0.45"
        )
    if positive and min(found) <= 0:
        raise Usage(f"{option} {text!r}: expected numbers above 0")
    return found


def size(option: str, text: str | None) -> int | None:
    """The bytes in a text such as 8GB, 500MB, 2GiB or 1000000; Usage if there are none."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([kmgt]i?)?b?\s*", text.lower())
    amount = 0 if found is None else int(float(found[1]) * UNITS[found[2] or ""])
    if amount < 1:
        raise Usage(f"{option} {text!r}: expected a size such as 500MB, 8GB or a number of bytes")
    return amount


def duration(option: str, text: str | None) -> float | None:
    """The seconds in a text such as 90s, 10m, 2h, 1h30m or 90; Usage if there are none."""
    if text is None:
        return None
    number = r"[0-9]{1,9}(?:\.[0-9]{1,6})?"
    pattern = rf"(?:({number})h)?(?:({number})m(?:in)?)?(?:({number})s?)?"
    found = re.fullmatch(pattern, text.strip().lower().replace(" ", ""))
    parts = [0.0] if found is None else [float(part or 0) for part in found.groups()]
    amount = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if not amount > 0:
        raise Usage(f"{option} {text!r}: expected a time such as 90s, 10m, 2h or 1h30m")
    return amount


def at_least(least: int, **options: int | None) -> None:
    """Check that options, by their Python names, are at least so large; Usage where one is not."""
    for name, value in options.items():
        if value is not None and value < least:
            raise Usage(f"--{name.replace('_', '-')} {value}: expected at least {least}")


def level_between(level: float) -> None:
    """Check a false-positive rate; Usage where it is none."""
    if not 0 < level < 1:
        raise Usage(f"--level {level:g}: expected a rate between 0 and 1, such as 0.05")


def device_here(device: str) -> None:
    """Check that a device can be used; Usage where it cannot."""
    from mmbd.base.devices import usable

    try:
        usable(device)
    except ValueError as error:
        raise Usage(f"--device {device}: {error}; cpu always works") from error


def one_of(option: str, given: str, kind: str, known: Iterable[str], listing: str) -> None:
    """Check a name that is looked up in a table; Usage says which are close, and what lists them all."""
    if given not in (names := list(known)):
        raise Usage(f"{option}: {unknown(kind, given, names)} (see: mmbd list {listing})")
