"""The checks behind a plan: every error says what was given, what was expected and where."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from functools import partial
from types import NoneType, UnionType
from typing import Any, TypeVar

import torch
from torch import nn

from mmbd import attacks
from mmbd.base import choose
from mmbd.training import loop as train

T = TypeVar("T")

# Parameters that are no plain values, which a plan could not write.
UNWRITABLE = ("trigger", "surrogate", "domain")


def unknown(what: str, name: str, known: Iterable[str], where: str = "") -> ValueError:
    """The error about a name that is not in `known`, with the closest one."""
    return ValueError((f"{where}: " if where else "") + choose.unknown(what, name, dict.fromkeys(known)))


def keys(table: Mapping[str, Any], known: Iterable[str], where: str, what: str = "option") -> None:
    """ValueError for the first key that is not in `known`."""
    for key in table:
        if key not in known:
            raise unknown(what, key, known, where)


def table(raw: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    """The table under `key`, empty if there is none."""
    found = raw.get(key, {})
    if not isinstance(found, dict):
        raise ValueError(f"{key} in {where}: expected a table, got {found!r}")
    return found


def text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where}: expected a text, got {value!r}")
    return value


def numbers(value: object, where: str) -> tuple[int, ...]:
    """A list of different whole numbers from 0."""
    given: list[Any] = value if isinstance(value, list) else [value]
    found = [item for item in given if type(item) is int and item >= 0]
    if not found or len(set(found)) < len(given):
        raise ValueError(f"{where}: expected different whole numbers from 0, got {value!r}")
    return tuple(found)


def sources(value: object, where: str) -> str | int | tuple[int | str, ...]:
    """What a plan says of sources: S, M, how many random ones, or a list of classes."""
    if value in ("S", "M") or (type(value) is int and value > 0):
        return typing.cast("str | int", value)
    if isinstance(value, list) and value and all(type(item) in (int, str) for item in value):
        return tuple(value)
    raise ValueError(
        f'sources in {where}: expected "M" (all other classes), "S" (one random class), a number '
        f"of random classes, or a list of classes; got {value!r}"
    )


def recipe(values: Mapping[str, Any], where: str) -> train.Recipe:
    """A recipe that `train.fit` accepts."""
    keys(values, [item.name for item in fields(train.Recipe)], where)
    made = build(train.Recipe, values, where)
    for name in ("epochs", "batch", "lr"):
        if not getattr(made, name) > 0:
            raise ValueError(f"{name} in {where}: expected more than 0, got {getattr(made, name)}")
    try:  # train nothing with it: the loop knows best what it can do
        empty = torch.empty(0, 1)
        train.fit(nn.Linear(1, 2), empty, empty[:, 0].long(), replace(made, epochs=0), seed=0)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return made


def private(value: object, where: str) -> Mapping[str, float]:
    """Options of `private.fit`."""
    if not isinstance(value, dict):
        raise ValueError(f"private in {where}: expected a table, got {value!r}")
    keys(value, ("noise", "bound"), f"private in {where}")
    if not all(_fits(number, float) and number >= 0 for number in value.values()):
        raise ValueError(f"private in {where}: expected numbers from 0, got {value!r}")
    return value


def recipe_table(table: dict[str, Any], where: str) -> Mapping[str, Any]:
    """Take the part of a recipe out of a table."""
    found = table.pop("recipe", {})
    if not isinstance(found, dict):
        raise ValueError(f"recipe in {where}: expected a table, got {found!r}")
    recipe(found, f"the recipe in {where}")
    return found


def build(kind: Callable[..., T], values: Mapping[str, Any], where: str) -> T:
    """`kind(**values)` for a frozen dataclass, with lists as tuples and every type checked."""
    kinds(values, typing.get_type_hints(kind), where)
    return kind(**plain(values))


def kinds(values: Mapping[str, Any], hints: Mapping[str, Any], where: str) -> None:
    """ValueError for the first value that is not of the type in `hints`."""
    for key, value in values.items():
        if not _fits(_plain(value), hints[key]):
            wanted = str(hints[key]).removeprefix("<class '").removesuffix("'>")
            raise ValueError(f"{key} in {where}: expected {wanted}, got {value!r}")


def _fits(value: object, hint: Any) -> bool:
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return value in inside
    if origin in (typing.Union, UnionType):
        return any(_fits(value, option) for option in inside)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if inside[-1] is Ellipsis:
            return all(_fits(item, inside[0]) for item in value)
        return len(value) == len(inside) and all(map(_fits, value, inside))
    if hint is Any:
        return True
    if hint is float:
        largest = sys.float_info.max  # whole numbers may be larger, and NaN is no number
        return isinstance(value, int | float) and type(value) is not bool and (-largest <= value <= largest)
    return type(value) is (NoneType if hint is None else hint)


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with lists as tuples, so that equal plans are equal."""
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def options(kind: str) -> dict[str, Any]:
    """The options of an attack besides sources and target, by name, with their types."""
    row = {**attacks.HARD_CLEAN, **attacks.ATTACKS}.get(kind)
    return {} if row is None else parameters(row.train)


def parameters(function: Callable[..., Any]) -> dict[str, Any]:
    """The keyword-only parameters that a plan can write, also those handed on to a trigger.

    By name, with their types.
    """
    inner = function.func if isinstance(function, partial) else function
    hints = typing.get_type_hints(inner)
    found: dict[str, Any] = {}
    taken = function.keywords if isinstance(function, partial) else {}
    for parameter in inspect.signature(inner).parameters.values():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        value = taken.get(parameter.name, parameter.default)
        if callable(value) and value is not parameter.empty:
            found |= {name: hint for name, hint in parameters(value).items() if name != "seed"}
        elif parameter.name not in taken and parameter.name not in UNWRITABLE:
            found[parameter.name] = hints.get(parameter.name, Any)
    hidden = ("sources", "target", "classes", "input_shape")
    return {name: hint for name, hint in found.items() if name not in hidden}
