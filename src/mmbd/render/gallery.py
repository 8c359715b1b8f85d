"""The artifacts of a report as pictures: by class, all kinds of one class side by side."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmbd.base.text import brief, clean_text
from mmbd.render import classes, words
from mmbd.render.pictures import Picture, picture
from mmbd.results.examples import AFTER, BEFORE
from mmbd.results.finding import Artifact
from mmbd.results.report import Report

if TYPE_CHECKING:  # a report without artifacts is rendered without them
    from torch import Tensor

SHOWN = 24  # classes with pictures
EACH = 6  # pictures of a class
ENLARGED = 3


@dataclass(frozen=True)
class Drawn:
    """One artifact, drawn: its kind and a text for those who do not see it."""

    kind: str
    alt: str
    picture: Picture


@dataclass(frozen=True)
class Group:
    """The pictures of one class; the label is None for those of no class."""

    label: int | None
    name: str
    value: str
    said: str
    target: bool
    enlarged: bool
    drawn: list[Drawn]

    @property
    def title(self) -> str:
        """The class's number and name."""
        return "of no class" if self.label is None else f"{self.label} {self.name}".strip()


def gallery(report: Report) -> list[Group]:
    """Targets first, then in the order of the ranking; the first few targets enlarged.

    Inputs before and after the perturbation that is shown first are left out (`render.shown`).
    """
    found: dict[int | None, list[Artifact]] = defaultdict(list)
    elsewhere = () if report.finding.shown is None else (BEFORE, AFTER)
    for artifact in report.finding.artifacts:
        if artifact.kind not in elsewhere:
            found[artifact.label].append(artifact)
    order: list[int | None] = [*report.targets, *classes.ranking(report)]
    order += [label for label in found if label is not None]
    chosen = [label for label in dict.fromkeys([*order, None]) if label in found]
    return [_group(report, label, found[label], place) for place, label in enumerate(chosen[:SHOWN])]


def bounds_told(report: Report, groups: list[Group]) -> str:
    """From where to where the pictures are drawn, in sentences."""
    bounds = [brief(bound) for bound in report.model.bounds or ()]
    drawn = [one for group in groups for one in group.drawn]
    masks = " Masks are drawn from 0 (dark) to 1 (bright)." if any(map(_is_mask, drawn)) else ""
    if any(one.picture.kind == "cloud" for one in drawn):
        cube = f" from {bounds[0]} to {bounds[1]} on every axis" if bounds else ""
        return f"Each cloud is drawn in a cube{cube}; the farther half of its points is paler.{masks}"
    if all(map(_is_mask, drawn)):
        return masks.strip()
    if bounds:
        return f"Drawn from {bounds[0]} (dark or low) to {bounds[1]} (bright or high).{masks}"
    return f"Each is drawn over its own range.{masks}"


def _group(report: Report, label: int | None, artifacts: list[Artifact], place: int) -> Group:
    target = label is not None and label in report.targets
    large = target and place < ENLARGED
    column = classes.statistic(report)
    value = "" if label is None else classes.numbers(column)[label]
    told = "" if value in ("", "-") else classes.with_unit(value, column)
    return Group(
        label=label,
        name="" if label is None else classes.class_name(report, label),
        value="" if value == "-" else value,
        said=words.filled(words.about(report).suspect, value=told, column=clean_text(column.name, 60))
        if told
        else "",
        target=target,
        enlarged=large,
        drawn=[_drawn(report, artifact, large) for artifact in artifacts[:EACH]],
    )


def _drawn(report: Report, artifact: Artifact, large: bool) -> Drawn:
    kind = clean_text(artifact.kind, 40)
    whose = "" if artifact.label is None else f" of {classes.class_label(report, artifact.label)}"
    alt = f"{kind}{whose}"
    mask = _mask(artifact.kind)
    tensor = _as_image(artifact.tensor, report) if mask else artifact.tensor
    return Drawn(kind, alt, picture(tensor, (0.0, 1.0) if mask else report.model.bounds, alt, large))


def _as_image(mask: Tensor, report: Report) -> Tensor:
    """A mask of an image's height and width as an image of one channel."""
    return mask[None] if mask.ndim == 2 and len(report.model.input_shape) == 3 else mask


def _is_mask(one: Drawn) -> bool:
    return _mask(one.kind)


def _mask(kind: str) -> bool:
    return "mask" in kind.lower()
