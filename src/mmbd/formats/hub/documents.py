"""The JSON files of a hub's folder, read with care: whoever made the folder chose every word in them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mmbd.base.reading import strict_json
from mmbd.base.text import clean_text
from mmbd.formats.advice import broken, excessive

MAX_BYTES = 16 << 20  # 22,000 classes with their names take two
MAX_DEPTH = 12
MAX_WHOLE = 1 << 30
MAX_LIST = 50_000


def parse(data: bytes | bytearray, name: str) -> dict[str, Any]:
    """The JSON object in a file called `name`.

    Its whole numbers are at most `MAX_WHOLE`, its other numbers finite, its lists at most `MAX_LIST`
    long, and no name comes twice in an object.

    Raises:
        Failed: anything else; names the file.
    """
    name = clean_text(name, 80)
    if len(data) > MAX_BYTES:
        raise excessive(f"{name} has {len(data):,} bytes, the limit is {MAX_BYTES:,}")
    try:
        found = strict_json(bytes(data).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise broken(f"{name} is not JSON: {clean_text(str(error), 200)}") from None
    if not isinstance(found, dict):
        raise broken(f"{name} holds no JSON object but {type(found).__name__}")
    _check(found, name, 0)
    return found


def numbers(value: Any, most: int = 4096) -> tuple[float, ...] | None:
    """The numbers in a JSON number or list of numbers; None where it is neither."""
    values = value if isinstance(value, list) else [value]
    if not values or len(values) > most or not all(_is_number(each) for each in values):
        return None
    return tuple(float(each) for each in values)


def whole(value: Any, least: int = 1) -> int | None:
    """A whole number of at least `least`; None where it is none."""
    return value if type(value) is int and value >= least else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check(value: Any, name: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise excessive(f"{name} is nested more than {MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        for each in value.values():
            _check(each, name, depth + 1)
    elif isinstance(value, list):
        if len(value) > MAX_LIST:
            raise excessive(f"{name} has a list of {len(value):,} values, the limit is {MAX_LIST:,}")
        for each in value:
            _check(each, name, depth + 1)
    elif isinstance(value, int) and abs(value) > MAX_WHOLE:
        raise excessive(f"{name} has a whole number beyond {MAX_WHOLE:,}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise broken(f"{name} has a number that is not finite")
