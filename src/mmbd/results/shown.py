"""What a reader is shown first: the perturbation that decides, and what it does to inputs.

It is data of the finding; the inputs themselves are artifacts, see `results.examples`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

ShownKind = Literal["window", "added", "sparse", "flow"]
HIGHEST_RATE = 10_000_000  # samples a second


@dataclass(frozen=True)
class Shown:
    """One perturbation of all inputs, and how many of them it takes elsewhere.

    Args:
        kind: "window" (a small part is replaced), "added" (a pattern is added everywhere), "sparse" (a
            few places change) or "flow" (inputs are warped).
        target: the class that inputs go to; None where each class goes to its own.
        moved: how many of the inputs that were tried go there.
        tried: how many inputs of other classes were tried; all of them where there is no target.
        places: how many pixels, samples or points of an input change; None for all of them.
        where: where they are, in words such as "rows 24 to 28, columns 26 to 30", counted from 0.
        examples: the class before and the class after, of some inputs; the first three are drawn.
        rate: of sounds, in samples a second; None where it is not known.

    Raises:
        ValueError: parts that contradict each other.
    """

    kind: ShownKind
    target: int | None
    moved: int
    tried: int
    places: int | None = None
    where: str | None = None
    examples: tuple[tuple[int, int], ...] = ()
    rate: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(ShownKind):
            raise ValueError(f"the perturbation is {self.kind!r}, expected one of {get_args(ShownKind)}")
        if not 0 <= self.moved <= self.tried:
            raise ValueError(f"{self.moved} of {self.tried} inputs cannot have moved")
        if self.places is not None and self.places < 0:
            raise ValueError(f"{self.places} places cannot change")
        if self.rate is not None and not 0 < self.rate <= HIGHEST_RATE:
            raise ValueError(f"a sound cannot have {self.rate} samples a second")

    @property
    def classes(self) -> list[int]:
        """Every class that it names."""
        named = [label for example in self.examples for label in example]
        return named if self.target is None else [self.target, *named]

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """What the JSON of a report says of it, checked by the schema."""
        pairs: list[list[int]] = raw["examples"]
        parts: dict[str, Any] = {**raw, "examples": tuple((before, after) for before, after in pairs)}
        return cls(**parts)
