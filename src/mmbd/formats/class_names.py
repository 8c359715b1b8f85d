"""Class names in a file: plain text, or JSON as Hugging Face, Keras and others keep them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.base.text import clean_text

MAX_BYTES = reading.MOST_TEXT
MAX_NAMES = 1_000_000
FORMS = (
    "one class name a line, or JSON: a list of texts, an object of numbers and names "
    '({"0": "cat"} or {"cat": 0}, also under "id2label" or "label2id"), or Keras\' '
    '{"0": ["n01440764", "tench"]}'
)


def read_class_names(path: str | Path) -> tuple[str, ...]:
    """The class names in a file of at most 16 MB, in the order of the classes.

    The file has one name a line, or it is JSON: a list of texts; an object that maps class numbers
    to names or names to numbers, itself or under "id2label" or "label2id" (the config.json of
    Hugging Face); or one of pairs, of which the second is the name (imagenet_class_index.json of
    Keras). The numbers must be 0, 1, 2, ... without a gap.

    Raises:
        Failed: not a regular file, too large, not readable, not UTF-8, or no names in such a form.
    """
    path = Path(path)
    try:
        text = reading.text(path, MAX_BYTES, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        words = str(error).removeprefix(f"{reading.named(path)}: ")
        raise Failed(f"cannot read the class names in {path}: {words}") from error
    start = text.lstrip()[:1]
    if start in ("[", "{"):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Failed(f"{path}: the class names are broken JSON: {error}") from error
        names = _from_list(value, path) if start == "[" else _from_object(value, path)
    else:
        names = [line.strip() for line in text.rstrip().splitlines()]
    if not names or not all(names):
        found = "an empty name" if names else "no names"
        raise Failed(f"{path}: expected a class name for every class, found {found}; known: {FORMS}")
    if len(names) > MAX_NAMES:
        raise Failed(f"{path}: {len(names):,} class names, expected at most {MAX_NAMES:,}")
    return tuple(names)


def _from_list(value: Any, path: Path) -> list[str]:
    for name in value:
        if not isinstance(name, str):
            raise _other(path, f"a JSON list with {_said(name)} in it")
    return value


def _from_object(value: Mapping[str, Any], path: Path) -> list[str]:
    for key in ("id2label", "label2id"):
        if isinstance(value.get(key), dict):
            return _from_object(value[key], path)
    for key, item in value.items():
        paired = isinstance(item, list) and len(item) == 2 and isinstance(item[1], str)
        if not isinstance(item, str | int) and not paired:
            raise _other(path, f"a JSON object with {_said(item)} at {clean_text(key)!r}")
    numbers: dict[int, str] = {}
    for key, item in value.items():
        if isinstance(item, int) and not isinstance(item, bool):
            number, name = item, key
        else:
            number, name = _number(key), item[1] if isinstance(item, list) else item
        if number is None or not isinstance(name, str):
            raise _other(path, f"a JSON object with {_said(item)} at {clean_text(key)!r}")
        if number in numbers:
            raise Failed(f"{path}: the class names have {_brief(number)} twice")
        numbers[number] = name
    names = [numbers[number] for number in range(len(numbers)) if number in numbers]
    if len(names) < len(numbers):
        first = next(number for number in range(len(numbers)) if number not in numbers)
        raise Failed(
            f"{path}: the class names have {len(numbers):,} numbers, expected 0 to "
            f"{len(numbers) - 1:,}, but {first:,} is missing"
        )
    return names


def _number(key: str) -> int | None:
    return int(key) if key.isascii() and key.isdecimal() and len(key) < 10 else None


def _brief(number: int) -> str:
    return str(number) if number.bit_length() < 64 else "a number"


def _said(value: Any) -> str:
    kinds = {
        str: "a text",
        bool: "a truth value",
        type(None): "null",
        list: "a list",
        dict: "an object",
        int: "a number",
        float: "a number",
    }
    what = kinds[type(value)]
    if isinstance(value, int) and value.bit_length() > 64:
        return what
    return f"{what} ({clean_text(json.dumps(value), 60)})" if isinstance(value, str | int | float) else what


def _other(path: Path, found: str) -> Failed:
    return Failed(f"{path}: found {found}, expected class names: {FORMS}")
