"""The score of all marks together: which way to add them up, the weights, the table, and how it holds.

    python -m benchmarks.study.score MARKS.jsonl [MORE.jsonl] [--out FILE.json] [--ship]

Reads what `marks.py` measured. Even seeds choose, odd seeds of the variety and well-trained zoos report;
models of other zoos were seen before, and choose. Four ways to add marks up are compared on the choosing
half, each fitted without a data set, without an architecture and without an attack in turn (`nested`):

- equal: each mark in units of its mean over clean networks, all with the same weight,
- logistic: weights of at least zero by logistic regression,
- smallest: the smallest p-value of a mark by the clean networks, itself compared with theirs,
- boosting: monotone boosted trees on the marks of the class with the most evidence.

The simplest that is not worse is taken. `--ship` writes its weights, fitted on the choosing half, and the
evidence of all clean networks, as `src/mmbd/null/combined.json`. (On the choosing half networks that fit
their training data poorly had no more evidence than others, so they are in the table.)
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from benchmarks.study.intervals import auc_interval, rate
from benchmarks.study.marked_models import MARKS, Model, read
from benchmarks.study.ways import WAYS, Score, logistic_weights, units_of, weighted
from mmbd.detectors.mm_bd import power
from mmbd.evaluation.metrics import auc, clopper_pearson
from mmbd.null import combined
from mmbd.null.combined import HEAD
from mmbd.null.population import Population
from mmbd.null.settings import joint_key, margins_key, marks_key
from mmbd.search import marks as searched
from mmbd.search.ascent import FAST

LEVEL = 0.05
ORDER = LOCAL, FAINT, BENT, PAIRED = "patches and pixels", "changes of the whole image", "warps", "all-to-all"
GROUPS = {
    **dict.fromkeys(("badnet", "unicolor", "blend", "1-pixel", "adaptive-patch"), LOCAL),
    **dict.fromkeys(("chessboard", "sine", "sig", "bpp", "lira", "adaptive-blend"), FAINT),
    **dict.fromkeys(("wanet", "warp"), BENT),
    "all-to-all": PAIRED,
}
KEY = joint_key(margins_key("fast", asdict(FAST)), marks_key(searched.Search()))


@dataclass(frozen=True)
class Judged:
    """A model with its evidence, its p-value and whether the top class is a true target."""

    model: Model
    score: float
    p_value: float
    right: bool

    @property
    def flagged(self) -> bool:
        return self.p_value <= LEVEL


@dataclass(frozen=True)
class Tables:
    """The evidence of clean networks, those with the mark of the last linear layer and those without."""

    whole: Population
    headless: Population

    @classmethod
    def of(cls, score: Score, models: Sequence[Model]) -> Self:
        """Of the clean networks."""
        parts = ([model for model in models if (HEAD in model.standing) is there] for there in (True, False))
        return cls(*(table_of(score, part) for part in parts))

    def for_model(self, model: Model) -> Population:
        """The one that a model compares with."""
        return self.whole if HEAD in model.standing else self.headless


def judge(score: Score, tables: Tables, models: Sequence[Model]) -> list[Judged]:
    """The models with their p-values by tables of clean networks."""
    found: list[Judged] = []
    for model in models:
        value, label = score(model)
        table = tables.for_model(model)
        value /= table.usual(model.card["classes"])
        right = len(model.targets) > 1 if label < 0 else label in model.targets
        found.append(Judged(model, value, table.tail(value), right))
    return found


def table_of(score: Score, models: Sequence[Model]) -> Population:
    """The evidence of the clean networks, in units of what is usual for their number of classes."""
    pairs = [(model.card["classes"], score(model)[0]) for model in models if model.clean]
    if not any(value for _, value in pairs):  # no mark of these, such as one that is left out
        return Population(1.0, 0.0, tuple(0.0 for _ in pairs), KEY)
    power = _power(pairs)
    usual = math.fsum(value * classes**power for classes, value in pairs) / len(pairs)
    gaps = sorted(value / (usual * classes**-power) for classes, value in pairs)
    return Population(usual, power, tuple(gaps), KEY)


def _power(pairs: Sequence[tuple[int, float]]) -> float:
    """How fast evidence falls with the number of classes: by maximum likelihood, as if exponential."""

    def loss(power: float) -> float:
        scale = math.fsum(value * classes**power for classes, value in pairs) / len(pairs)
        return math.log(scale) - power * math.fsum(math.log(classes) for classes, _ in pairs) / len(pairs)

    return min((step / 100 for step in range(51)), key=loss)


def nested(way: Callable[[Sequence[Model]], Score], models: Sequence[Model]) -> list[Judged]:
    """Every model judged by what was fitted without its kind; data sets, architectures, attacks in turn.

    Clean models are judged once for each kind of leaving out but the attack, attacked ones thrice.
    """
    found: list[Judged] = []
    for what in ("data set", "architecture", "attack"):
        for kind in sorted({model.kind(what) for model in models}):
            out = [model for model in models if model.kind(what) == kind]
            rest = [model for model in models if model.kind(what) != kind]
            if what == "attack" and out[0].clean:
                continue
            if sum(model.clean for model in rest) < 10 or all(m.clean for m in rest):
                continue
            score = way(rest)
            found += judge(score, Tables.of(score, rest), out)
    return found


def figures(judged: Sequence[Judged]) -> dict[str, Any]:
    """Rates with intervals, AUC and cross-entropy of what was judged."""
    bad = [one for one in judged if not one.model.clean]
    fit = [one for one in judged if one.model.clean and one.model.fits]
    poor = [one for one in judged if one.model.clean and not one.model.fits]
    found: dict[str, Any] = {
        "found, right target": rate([one.flagged and one.right for one in bad]),
        "false alarms": rate([one.flagged for one in fit]),
        "false alarms, poor fit": rate([one.flagged for one in poor]),
    }
    if bad and fit:
        positives, negatives = ([one.score for one in part] for part in (bad, fit))
        low, high = auc_interval(positives, negatives)
        found["AUC"] = f"{auc(positives, negatives):.3f} ({low:.3f}-{high:.3f})"
        found["cross-entropy"] = round(_cross_entropy(positives, negatives), 3)
    return found


def _cross_entropy(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """Of a logistic curve through the logarithm of the scores, halves counted alike."""
    from scipy.optimize import minimize

    x = np.log(np.maximum(np.concatenate((positives, negatives)), 1e-3))
    y = np.concatenate((np.ones(len(positives)), np.zeros(len(negatives))))
    weight = np.where(y == 1, 0.5 / len(positives), 0.5 / len(negatives))

    def loss(at: np.ndarray) -> float:
        logits = at[0] * x + at[1]
        return float((weight * np.logaddexp(0, -np.where(y == 1, logits, -logits))).sum())

    return float(minimize(loss, [1.0, -1.0]).fun)


def by_kind(judged: Sequence[Judged], what: str) -> dict[str, dict[str, Any]]:
    """The same by data set, architecture or attack."""
    kinds = sorted({one.model.kind(what) for one in judged if not (what == "attack" and one.model.clean)})
    return {kind: figures([one for one in judged if one.model.kind(what) == kind]) for kind in kinds}


def grouped(judged: Sequence[Judged], key: Callable[[Judged], str]) -> dict[str, dict[str, Any]]:
    """The same by whatever a key says."""
    groups = sorted({key(one) for one in judged})
    return {group: figures([one for one in judged if key(one) == group]) for group in groups}


def joint_judged(models: Sequence[Model]) -> dict[str, Any]:
    """What the joint null says of the same models; its target is not looked at."""
    asked = [model for model in models if model.joint is not None]
    return {
        "found": rate([model.joint <= LEVEL for model in asked if not model.clean]),
        "false alarms": rate([model.joint <= LEVEL for model in asked if model.clean]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("marks", type=Path, nargs="+")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--way", default="equal", choices=("equal", "logistic"))
    parser.add_argument("--ship", action="store_true")
    parser.add_argument("--report", action="store_true", help="look at the reporting half")
    options = parser.parse_args()
    models = [model for path in options.marks for model in read(path)]
    choosing = [model for model in models if not model.reports]
    content: dict[str, Any] = {
        "models": dict(Counter(f"{m.card['zoo']}, {'clean' if m.clean else 'attacked'}" for m in models)),
        "choosing, kinds left out": {name: figures(nested(way, choosing)) for name, way in WAYS.items()},
    }
    for mark in range(len(MARKS)):
        alone = weighted(np.eye(len(MARKS))[mark])
        content.setdefault("choosing, each mark alone", {})[MARKS[mark]] = figures(
            judge(alone, Tables.of(alone, choosing), choosing)
        )
    content["choosing, joint null"] = joint_judged(choosing)
    weights = units_of(choosing) if options.way == "equal" else logistic_weights(choosing)
    weights /= weights.sum()
    score = weighted(weights)
    content["weights"] = {mark: round(float(weight), 5) for mark, weight in zip(MARKS, weights, strict=True)}
    content["choosing, by attack, with the tables it made"] = by_kind(
        judge(score, Tables.of(score, choosing), choosing), "attack"
    )
    judged: list[Judged] = []
    if options.report:
        reporting = [model for model in models if model.reports]
        judged = judge(score, Tables.of(score, choosing), reporting)
        content["reporting"] = figures(judged)
        content["reporting, joint null"] = joint_judged(reporting)
        for what in ("attack", "architecture", "data set"):
            content[f"reporting, by {what}"] = by_kind(judged, what)
        content["reporting, by zoo"] = grouped(judged, lambda one: one.model.card["zoo"])
        content["reporting, by last layer"] = grouped(
            judged, lambda one: "pooled" if HEAD in one.model.standing else "others"
        )
    print(json.dumps(content, indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(content, indent=1) + "\n")
    if options.ship:
        ship(score, content, models, judged)


def shipped(
    script: str, key: str, content: Mapping[str, Any], models: Sequence[Model], tables: Tables
) -> dict[str, Any]:
    """What the package holds of a way to add marks up: its clean networks, weights and tables."""
    held = [model for model in models if model.clean]
    return {
        "about": "Weights of the marks, and the evidence of clean networks in units of scale * K ** -power; "
        f"see benchmarks/study/{script}.py",
        "models": len(held),
        "classes": dict(sorted(Counter(model.card["classes"] for model in held).items())),
        "architectures": dict(Counter(model.card["arch"] for model in held).most_common()),
        "data": dict(Counter(model.card["source"] for model in held).most_common()),
        "torch": torch.__version__,
        "weights": content["weights"],
        "made_by": key,
        "table": written(tables.whole),
        "headless": written(tables.headless),
    }


def ship(
    score: Score, content: Mapping[str, Any], models: Sequence[Model], reported: Sequence[Judged]
) -> None:
    """Write weights and the table of all clean networks into the package, and what was found."""
    tables = Tables.of(score, models)
    raw = shipped("score", KEY, content, models, tables)
    path = Path(combined.__file__).with_suffix(".json")
    path.write_text(json.dumps(raw, indent=1) + "\n")
    if reported:
        path = Path(power.__file__).with_suffix(".json")
        path.write_text(json.dumps(power_of(reported), indent=1) + "\n")


def written(table: Population) -> dict[str, Any]:
    """A table as it is shipped."""
    gaps = [round(gap, 4) for gap in table.gaps]
    return {"scale": round(table.scale, 5), "power": round(table.power, 5), "gaps": gaps}


def power_of(reported: Sequence[Judged]) -> dict[str, Any]:
    """What `mm_bd.power` reads: shares found of each group of attacks on the reporting half."""
    groups: dict[str, list[bool]] = {}
    for one in reported:
        if not one.model.clean:
            groups.setdefault(GROUPS[one.model.kind("attack")], []).append(one.flagged and one.right)
    alarms = [one.flagged for one in reported if one.model.clean and one.model.fits]
    classes = [one.model.card["classes"] for one in reported]
    return {
        "attacks": {group: _share(hits) for group in ORDER if (hits := groups.get(group))},
        "false_alarms": _share(alarms),
        "sides": [28, 64],
        "classes": [min(classes), max(classes)],
    }


def _share(hits: Sequence[bool]) -> dict[str, Any]:
    low, high = clopper_pearson(sum(hits), len(hits))
    return {"found": sum(hits), "of": len(hits), "low": round(low, 3), "high": round(high, 3)}


if __name__ == "__main__":
    main()
