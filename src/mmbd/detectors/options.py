"""Checks of options that detectors share: ValueError for values that make no sense."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def whole(options: Mapping[str, Any], *names: str, least: int = 1) -> None:
    """Those of these options that are given, and not None, are whole numbers from `least`."""
    for name in names:
        value = options.get(name)
        if value is not None and (not isinstance(value, int) or value < least):
            raise ValueError(f"{name} must be a whole number from {least}, got {value!r}")


def positive(options: Mapping[str, Any], *names: str) -> None:
    """Those of these options that are given are above 0."""
    for name in names:
        if not options.get(name, 1) > 0:
            raise ValueError(f"{name} must be above 0, got {options[name]!r}")
