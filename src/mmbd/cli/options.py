"""What the commands share: kinds of options, texts to values, and the error of a bad command."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

# Flags without a --no-... or --empty-... twin.
Plain = Parameter(negative="")
Numbers = Annotated[list[float] | None, Parameter(consume_multiple=True, negative="")]


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
