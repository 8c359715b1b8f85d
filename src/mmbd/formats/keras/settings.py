"""What the description of one layer says, checked: every number within bounds, every word a known one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmbd.base.errors import Failed, Refused
from mmbd.base.text import clean_text

MOST = 1 << 24  # of any size that a layer is given: units, pixels, steps
MISSING: Any = object()


@dataclass(frozen=True)
class Settings:
    """The configuration of a layer, which a stranger wrote.

    Args:
        kind: the layer's class.
        name: of the layer in its model.
        values: its `config`.

    Every method raises `Failed` for what is not there (and has no default) or is not as expected.
    """

    kind: str
    name: str
    values: Mapping[str, Any]

    def failed(self, what: str) -> Failed:
        """The error that says what is wrong with this layer."""
        return Failed(
            f"the layer {clean_text(self.name)!r} ({self.kind}) {what}: the file is broken or made up; save "
            "the model again with Keras"
        )

    def refused(self, what: str) -> Refused:
        """The error that says what this layer would need that is not known here."""
        return Refused(
            f"the layer {clean_text(self.name)!r} ({self.kind}) {what}, which mmbd does not know: save the "
            "model without it, or export it to ONNX and scan that"
        )

    def has(self, name: str) -> bool:
        """Whether it is said, and not None."""
        return self.values.get(name) is not None

    def whole(self, name: str, default: Any = MISSING, low: int = 1, high: int = MOST) -> int:
        """A whole number from `low` to `high`."""
        return self._whole(name, self._value(name, default), low, high)

    def optional(self, name: str, low: int = 1, high: int = MOST) -> int | None:
        """A whole number, or None."""
        return self.whole(name, low=low, high=high) if self.has(name) else None

    def number(self, name: str, default: Any = MISSING) -> float:
        """A finite number."""
        value = self._value(name, default)
        if isinstance(value, Mapping):  # of Keras 3, where it was given as a NumPy number
            value = _plain(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self._unexpected(name, value, "a number")
        return float(value)

    def flag(self, name: str, default: Any = MISSING) -> bool:
        """True or false."""
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise self._unexpected(name, value, "true or false")
        return value

    def word(self, name: str, choices: Sequence[str], default: Any = MISSING) -> str:
        """One of the words."""
        value = self._value(name, default)
        if not isinstance(value, str) or value not in choices:
            raise self._unexpected(name, value, " or ".join(choices))
        return value

    def sizes(self, name: str, length: int, default: Any = MISSING, low: int = 1) -> tuple[int, ...]:
        """`length` whole numbers, or one for all."""
        value = self._value(name, default)
        if isinstance(value, list | tuple) and len(value) == length:
            return tuple(self._whole(name, each, low, MOST) for each in value)
        if isinstance(value, list | tuple) and len(value) == 1 == length:
            value = value[0]
        return (self._whole(name, value, low, MOST),) * length

    def pairs(self, name: str, length: int, default: Any = MISSING) -> tuple[tuple[int, int], ...]:
        """`length` pairs of whole numbers from 0: as pairs, as numbers, or one number for all."""
        value = self._value(name, default)
        if length == 1 and isinstance(value, list | tuple) and len(value) == 2:
            value = [value]
        if not isinstance(value, list | tuple):
            value = [value] * length
        if len(value) != length:
            raise self._unexpected(name, value, f"{length} pairs")
        found: list[tuple[int, int]] = []
        for each in value:
            pair = each if isinstance(each, list | tuple) else (each, each)
            if len(pair) != 2:
                raise self._unexpected(name, value, f"{length} pairs")
            found.append((self._whole(name, pair[0], 0, MOST), self._whole(name, pair[1], 0, MOST)))
        return tuple(found)

    def wholes(self, name: str, default: Any = MISSING, low: int = -MOST, most: int = 8) -> tuple[int, ...]:
        """At most `most` whole numbers; one alone counts as a list of it."""
        value = self._value(name, default)
        value = value if isinstance(value, list | tuple) else [value]
        if len(value) > most:
            raise self._unexpected(name, value, f"{most} numbers at most")
        return tuple(self._whole(name, each, low, MOST) for each in value)

    def numbers(self, name: str) -> list[float]:
        """Any list of finite numbers, or one, however nested: flat."""
        found: list[float] = []
        left = [_plain(self._value(name, MISSING))]
        while left:
            value = left.pop()
            if isinstance(value, list | tuple):
                left.extend(reversed(value))
            elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                found.append(float(value))
            else:
                raise self._unexpected(name, value, "numbers")
        return found

    @property
    def channels_first(self) -> bool:
        """Whether the layer has its channels before the places."""
        return self.word("data_format", ("channels_last", "channels_first"), "channels_last") == (
            "channels_first"
        )

    def _value(self, name: str, default: Any) -> Any:
        value = self.values.get(name)
        if value is None:
            value = default
        if value is MISSING:
            raise self.failed(f"does not say its {name}")
        return value

    def _whole(self, name: str, value: Any, low: int, high: int) -> int:
        if isinstance(value, float) and value.is_integer() and abs(value) <= MOST:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._unexpected(name, value, f"a whole number from {low:,} to {high:,}")
        return value

    def _unexpected(self, name: str, value: Any, expected: str) -> Failed:
        return self.failed(f"has {name} {clean_text(repr(value), 60)}, expected {expected}")


def _plain(value: Any) -> Any:
    """A number or list, also where Keras 3 has wrapped it as an array."""
    if isinstance(value, Mapping):
        held = value.get("config")
        return held.get("value") if isinstance(held, Mapping) else held
    return value
