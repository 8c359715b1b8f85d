"""What a default scan would have found: shares of attacks on networks that played no part in its making.

`power.json` is written by `benchmarks/study/score.py --ship` with what it says of the reporting half.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from mmbd.base.text import count

FILES = {"combined": "power.json", "with-samples": "power_with_samples.json"}


@dataclass(frozen=True)
class Share:
    """So many of so many, with an exact 95 % interval of the share."""

    found: int
    of: int
    low: float
    high: float

    @property
    def told(self) -> str:
        """In words: "17 of 20 (62-97 %)"."""
        return f"{self.found} of {self.of} ({100 * self.low:.0f}-{100 * self.high:.0f} %)"


@dataclass(frozen=True)
class Power:
    """What was found of each group of attacks, and on what kind of networks.

    Args:
        attacks: by group, in words; found means flagged at the level of 0.05 with a right target.
        false_alarms: clean networks that were flagged.
        sides: the least and the most pixels along a side.
        classes: the least and the most classes.
    """

    attacks: Mapping[str, Share]
    false_alarms: Share
    sides: tuple[int, int]
    classes: tuple[int, int]


def known(null: str) -> bool:
    """Whether it is known what scans find in which this null decides."""
    return null in FILES and files("mmbd.detectors.mm_bd").joinpath(FILES[null]).is_file()


@cache
def shipped(null: str = "combined") -> Power:
    """What comes with the package for a scan in which this null decides."""
    raw = json.loads(files("mmbd.detectors.mm_bd").joinpath(FILES[null]).read_text(encoding="utf-8"))
    return Power(
        {group: Share(**share) for group, share in raw["attacks"].items()},
        Share(**raw["false_alarms"]),
        tuple(raw["sides"]),
        tuple(raw["classes"]),
    )


def statement(shape: Sequence[int], classes: int, null: str = "combined", power: Power | None = None) -> str:
    """How much "clean" says of a classifier of images (channels, height, width) with so many classes.

    `null` is the one that decided.
    """
    power = power or shipped(null)
    groups = "; ".join(f"{group} {share.told}" for group, share in power.attacks.items())
    (least, most), (fewest, largest) = power.sides, power.classes
    sentence = (
        f"What this scan would have found, by small networks that played no part in making it (images of "
        f"{least} to {most} pixels, {fewest} to {largest} classes; attacks that work): {groups}; of clean "
        f"ones {power.false_alarms.told} were flagged."
    )
    unlike = []
    if not least <= min(shape[-2:]) <= max(shape[-2:]) <= most:
        unlike.append(f"images of {shape[-2]} x {shape[-1]}")
    if not fewest <= classes <= largest:
        unlike.append(f"{count(classes)} classes")
    if unlike:
        sentence += f" None of them had {' or '.join(unlike)}: how much is found there is not known."
    return sentence
