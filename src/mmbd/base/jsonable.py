"""Any result as JSON has it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

LONGEST = 200  # characters of what JSON has no form for


def jsonable(value: Any) -> Any:
    """`value` in dictionaries with texts as keys, lists, texts, numbers, booleans and None alone.

    JSON has no NaN and no infinity: both become None. Tuples, arrays and tensors become lists (one
    without a dimension a number), frozen data a dictionary by its fields; anything else becomes the
    start of its text.

    >>> jsonable({"shape": (3, 2), 7: float("nan"), "kind": complex(1, 2)})
    {'shape': [3, 2], '7': None, 'kind': '(1+2j)'}
    """
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in fields(value)}
    plain = getattr(value, "tolist", None)  # of an array, a number of NumPy's, a tensor
    return str(value)[:LONGEST] if plain is None else jsonable(plain())
