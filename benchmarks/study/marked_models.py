"""The networks that the score is learned and judged on: their cards, and how far each mark stands out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.study.measure import usable
from mmbd.null import combined
from mmbd.null.combined import AWAY, GAIN, HEAD, MARGIN, PAIRS, WINDOW
from mmbd.null.joint import times
from mmbd.null.population import population, shipped
from mmbd.null.settings import gains_key, joint_key, margins_key
from mmbd.search import marks as searched
from mmbd.search import universal_data_free as gains
from mmbd.search.ascent import FAST

MARKS = (MARGIN, GAIN, WINDOW, AWAY, HEAD, PAIRS)
FITTED = 0.9  # of the training data: clean networks that fit less are reported apart
FAMILY = {
    "cifar10-grey": "cifar10",
    "cifar10-subset": "cifar10",
    "cifar10-48": "cifar10",
    "gtsrb-subset": "gtsrb",
    "tiny-64": "tiny",
}
REPORTING = ("variety", "well")
JOINT_KEY = joint_key(margins_key("fast", asdict(FAST)), gains_key(asdict(gains.Search())))


@dataclass(frozen=True)
class Model:
    """What is known of a model: its card in brief, and how far each mark stands out, by class.

    `marks` are those that count, pairs the last of them.
    """

    card: Mapping[str, Any]
    standing: Mapping[str, Mapping[int, float]]
    in_pairs: float
    joint: float | None  # p-value of the joint null
    family: str = field(default="")
    marks: tuple[str, ...] = MARKS

    @property
    def clean(self) -> bool:
        return self.card["attack"] is None

    @property
    def fits(self) -> bool:
        return self.card["train_accuracy"] >= FITTED

    @property
    def targets(self) -> set[int]:
        pairs = set(self.card["pairs"].values())
        return pairs or {self.card["target"]} - {None}

    @property
    def reports(self) -> bool:
        return self.card["zoo"].startswith(REPORTING) and self.card["number"] % 2 == 1

    def kind(self, what: str) -> str:
        """Its data set, architecture or attack, whatever is asked."""
        if what == "attack":
            return str(self.card["attack"]).rsplit("-", 1)[0]
        return self.family if what == "data set" else self.card["arch"]

    def matrix(self) -> np.ndarray:
        """How far each mark stands out for each class, (classes, marks); pairs are of all classes."""
        classes = self.card["classes"]
        found = np.zeros((classes, len(self.marks)))
        for column, mark in enumerate(self.marks[:-1]):
            for label, value in self.standing.get(mark, {}).items():
                found[label, column] = value
        return found


def read(path: Path) -> list[Model]:
    """All models that count: trained to some use and, if attacked, with an attack that works."""
    found: list[Model] = []
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        card = entry | {"class_names": range(entry["classes"])}
        if (
            entry["classes"] >= 5
            and usable(card)
            and not any("reason" in entry[part] for part in ("margins", "marks"))
        ):
            found.append(_model(entry))
    return found


def _model(entry: dict[str, Any]) -> Model:
    classes, marks = entry["classes"], entry["marks"]
    rows = torch.tensor([[_number(v) for v in row] for row in entry["margins"]["by_restart"]])
    margins = dict(enumerate(rows.amax(1).tolist()))
    values: dict[str, Mapping[int, float]] = {MARGIN: margins}
    in_pairs = 0.0
    if "reason" not in marks:
        counts = torch.zeros(classes, classes, dtype=torch.int64)
        for source, to, many in marks["went"]:
            counts[source, to] = many
        in_pairs = searched.in_pairs(counts)[1]
        values |= {
            GAIN: _gain(marks),
            WINDOW: _by_class(marks["window"]),
            AWAY: dict(enumerate(searched.shares_to(counts).tolist())),
        }
    if "shares" in entry["head"]:
        values[HEAD] = _by_class(entry["head"]["shares"])
    standing = {mark: combined.standing_out(mark, each) for mark, each in values.items()}
    return Model(
        entry,
        standing,
        in_pairs,
        _joint(margins, entry.get("gains", {"reason": "not measured"})),
        FAMILY.get(entry["source"], entry["source"]),
    )


def _joint(margins: Mapping[int, float], found: Mapping[str, Any]) -> float | None:
    if "reason" in found:
        return None
    values = list(times(margins, _gain(found)).values())
    return population(values, JOINT_KEY, shipped("joint"), null="joint").p_value


def _gain(found: Mapping[str, Any]) -> dict[int, float]:
    kinds = (torch.tensor([_number(v) for v in found[kind]]) for kind in ("added", "sparse"))
    return dict(enumerate(gains.together(*kinds).tolist()))


def _by_class(values: Sequence[float | None]) -> dict[int, float]:
    return {label: _number(value) for label, value in enumerate(values)}


def _number(value: float | None) -> float:
    return -math.inf if value is None else float(value)
