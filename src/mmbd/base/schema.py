"""Checks a JSON value against the few JSON Schema keywords that this package's schemas use.

What is read and its published schema can then never disagree, and no dependency is needed.
Stricter than the standard in two points: 1.0 is not an integer, and numbers fit into a float.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}
LIMITS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "minimum": ("at least", lambda value, limit: value >= limit),
    "maximum": ("at most", lambda value, limit: value <= limit),
    "exclusiveMinimum": ("more than", lambda value, limit: value > limit),
    "exclusiveMaximum": ("less than", lambda value, limit: value < limit),
}


def check(
    value: Any, schema: dict[str, Any], root: dict[str, Any] | None = None, where: str = "report"
) -> None:
    """Raise ValueError, naming the place, if `value` does not conform.

    Args:
        value: as `json.loads` returns it.
        schema: the part of `root` that is about this value.
        root: the whole schema, for its `$defs`; `schema` itself by default.
        where: the path to this value, for the message.
    """
    root = schema if root is None else root
    if "$ref" in schema:
        check(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, where)
    if "anyOf" in schema and value is not None:
        # An optional object: its own schema comes first, null second.
        check(value, schema["anyOf"][0], root, where)
    if "const" in schema and value != schema["const"]:
        raise ValueError(f"{where} is {_brief(value)}, expected {schema['const']!r}")
    if "enum" in schema and value not in schema["enum"]:
        raise ValueError(f"{where} is {_brief(value)}, expected one of {schema['enum']}")
    if "type" in schema:
        names = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        if not any(TYPES[name](value) for name in names):
            raise ValueError(f"{where} is {_brief(value)}, expected {' or '.join(names)}")
    if TYPES["number"](value):
        _number(value, schema, where)
    elif isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            raise ValueError(f"{where} is {_brief(value)}, expected it to match {schema['pattern']}")
    elif isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf):
            raise ValueError(f"{where} has {len(value)} items, expected {schema['minItems']}")
        for position, item in enumerate(value):
            check(item, schema.get("items", {}), root, f"{where}[{position}]")
    elif isinstance(value, dict):
        _members(value, schema, root, where)


def _members(value: dict[str, Any], schema: dict[str, Any], root: Any, where: str) -> None:
    for name in schema.get("required", ()):
        if name not in value:
            raise ValueError(f"{where}.{name} is missing")
    known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    pattern = schema.get("propertyNames", {}).get("pattern", "")
    for name, item in value.items():
        if name not in known and others is False:
            raise ValueError(f"{where}.{name[:60]} is not a known field")
        if not re.search(pattern, name):
            raise ValueError(f"{where}: the key {_brief(name)} does not match {pattern}")
        check(item, known.get(name, others), root, f"{where}.{name[:60]}")


def _number(value: Any, schema: dict[str, Any], where: str) -> None:
    try:
        finite = math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        finite = False
    if not finite:
        raise ValueError(f"{where} is not a finite number")
    for keyword, (words, holds) in LIMITS.items():
        if keyword in schema and not holds(value, schema[keyword]):
            raise ValueError(f"{where} is {value!r}, expected {words} {schema[keyword]}")


def _brief(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", type(None): "null"}
    return kinds.get(type(value)) or repr(value)[:60]
