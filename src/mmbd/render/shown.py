"""What a reader sees first: inputs before and after the perturbation that decides, and the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmbd.base.text import brief, count
from mmbd.render import classes, sounds, words
from mmbd.render.pictures import Picture, picture
from mmbd.results.examples import AFTER, BEFORE, pairs_of
from mmbd.results.report import Report

if TYPE_CHECKING:  # a report without artifacts is rendered without torch
    from torch import Tensor

EXAMPLES = 3
SAME = 1e-6  # of the range of values: what differs by less is unchanged
ABSENT = "The inputs before and after are not in this report: it was read without its file of pictures."


@dataclass(frozen=True)
class Panel:
    """One picture of an example: what it is, its class, a text for those who do not see it, and a sound's
    WAV file as a data URI.
    """

    title: str
    label: str
    alt: str
    picture: Picture
    sound: str = ""


@dataclass(frozen=True)
class First:
    """The part of a page about it.

    Attributes:
        title: its heading.
        sentence: how many inputs go where.
        examples: the panels of each, the first of which is drawn larger.
        notes: on how they are drawn, in sentences.
        heard: whether there are sounds to listen to.
    """

    title: str
    sentence: str
    examples: list[list[Panel]]
    notes: str
    heard: bool


def first(report: Report) -> First | None:
    """The perturbation that is shown; None where a report has none."""
    shown = report.finding.shown
    if shown is None:
        return None
    flagged = report.verdict == "backdoored"
    title = "The change that decides" if flagged else "The strongest change that was found"
    pairs = [(old.tensor, new.tensor) for old, new in pairs_of(shown, report.finding.artifacts)][:EXAMPLES]
    if not pairs:
        return First(title, words.shown(report), [], ABSENT if shown.examples else "", heard=False)
    bounds = report.model.bounds or _range(pairs)
    draw = _Drawing(report, bounds, shown.rate or sounds.RATE, *_differences(pairs, bounds))
    examples = [
        draw.panels(*pair, labels, large=place == 0)
        for place, (pair, labels) in enumerate(zip(pairs, shown.examples, strict=False))
    ]
    heard = any(panel.sound for panels in examples for panel in panels)
    return First(title, words.shown(report), examples, _notes(draw, examples[0], shown.rate), heard)


@dataclass(frozen=True)
class _Drawing:
    """What all examples have in common: how they are drawn, the largest difference, and where any is."""

    report: Report
    bounds: tuple[float, float]
    rate: int
    reach: float
    changed: Tensor | None

    def panels(self, old: Tensor, new: Tensor, labels: tuple[int, int], large: bool) -> list[Panel]:
        """An input before and after, and the difference where it can be drawn as an input.

        Sounds are all large: each has a row of its own.
        """
        large = large or (old.dim() == 2 and len(old) == 1)
        before, after = (
            self._input(what, label, tensor, large, changed)
            for what, label, tensor, changed in (
                (BEFORE, labels[0], old, None),
                (AFTER, labels[1], new, self.changed),
            )
        )
        if self.reach == 0 or before.picture.kind in ("cloud", "note"):
            return [before, after]
        alt = f"{AFTER} minus {BEFORE}"
        drawn = picture(new - old, (-self.reach, self.reach), alt, large, self.changed)
        return [before, after, Panel("difference", "", alt, drawn)]

    def _input(self, what: str, label: int, tensor: Tensor, large: bool, changed: Tensor | None) -> Panel:
        alt = f"{what}, of {classes.class_label(self.report, label)}"
        drawn = picture(tensor, self.bounds, alt, large, changed)
        heard = sounds.uri(tensor, self.bounds, self.rate) if drawn.kind == "sound" else ""
        name = f"{label} {classes.class_name(self.report, label)}".strip()
        return Panel(what.removeprefix("input "), name, alt, drawn, heard)


def _notes(draw: _Drawing, panels: Sequence[Panel], rate: int | None) -> str:
    """How the examples are drawn, and how fast sounds are played."""
    kind, differ = panels[0].picture.kind, len(panels) > 2
    low, high, reach = map(brief, (*draw.bounds, draw.reach))
    said: list[str] = []
    if kind == "image":
        said.append(f"Inputs are drawn from {low} (dark) to {high} (bright).")
        if differ:
            said.append(
                f"The difference is drawn from -{reach} (black) to {reach} (white); grey is no change."
            )
    elif kind in ("sound", "vector"):
        more = f", the difference from -{reach} to {reach}" if differ else ""
        said.append(f"Inputs are drawn from {low} to {high}{more}.")
    elif kind == "cloud":
        said.append(f"The cube is from {low} to {high} on every axis; points that change are in red.")
    if any(panel.picture.framed for panel in panels):
        said.append("The frame is around what changes.")
    if panels[0].sound:
        known = "" if rate else ", which is assumed: nothing says how many it should be"
        said.append(f"Sounds play {count(draw.rate)} samples a second{known}.")
    elif kind == "sound":
        said.append(f"Sounds of more than {count(sounds.LONGEST)} samples are not in this page.")
    return " ".join(said)


def _range(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """From where to where the values of all inputs lie."""
    known = [part[part.isfinite()] for pair in pairs for part in pair if bool(part.isfinite().any())]
    if not known:
        return 0.0, 1.0
    return float(min(part.min() for part in known)), float(max(part.max() for part in known))


def _differences(
    pairs: Sequence[tuple[Tensor, Tensor]], bounds: tuple[float, float]
) -> tuple[float, Tensor | None]:
    """The largest difference, and which pixels, samples or points change in any pair, bool."""
    reach, found = 0.0, None
    for old, new in pairs:
        gap = (new - old).abs().nan_to_num(0.0, 0.0, 0.0)
        reach = max(reach, float(gap.max()) if gap.numel() else 0.0)
        differs = gap > SAME * (bounds[1] - bounds[0])
        places = differs.any(0) if differs.dim() > 1 else differs
        found = places if found is None else found | places
    return reach, found if found is not None and found.dim() in (1, 2) else None
