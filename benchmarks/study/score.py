"""The score of all marks together: which way to add them up, the weights, the table, and how it holds.

    python -m benchmarks.study.score MARKS.jsonl [MORE.jsonl] [--out FILE.json] [--ship]

Reads what `marks.py` measured. Even seeds choose, odd seeds of the variety zoo report; models of other zoos
were seen before, and choose. Four ways to add marks up are compared on the choosing half, each fitted without
a data set, without an architecture and without an attack in turn (`nested`):

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
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from benchmarks.study.intervals import auc_interval, rate
from benchmarks.study.measure import usable
from mmbd.detectors.mm_bd import power
from mmbd.evaluation.metrics import auc, clopper_pearson
from mmbd.null import combined
from mmbd.null.combined import AWAY, GAIN, HEAD, MARGIN, PAIRS, WINDOW
from mmbd.null.joint import times
from mmbd.null.population import Population, population, shipped
from mmbd.null.settings import gains_key, joint_key, margins_key, marks_key
from mmbd.search import marks as searched
from mmbd.search import universal_data_free as gains
from mmbd.search.ascent import FAST

MARKS = (MARGIN, GAIN, WINDOW, AWAY, HEAD, PAIRS)
LEVEL = 0.05
FITTED = 0.9  # of the training data: clean networks that fit less are reported apart
FAMILY = {"cifar10-grey": "cifar10", "cifar10-subset": "cifar10", "cifar10-48": "cifar10"}
FAMILY |= {"gtsrb-subset": "gtsrb", "tiny-64": "tiny"}
REPORTING = "variety"
ORDER = LOCAL, FAINT, BENT, PAIRED = "patches and pixels", "changes of the whole image", "warps", "all-to-all"
GROUPS = {
    **dict.fromkeys(("badnet", "unicolor", "blend", "1-pixel", "adaptive-patch"), LOCAL),
    **dict.fromkeys(("chessboard", "sine", "sig", "bpp", "lira", "adaptive-blend"), FAINT),
    **dict.fromkeys(("wanet", "warp"), BENT),
    "all-to-all": PAIRED,
}
KEY = combined.combined_key(margins_key("fast", asdict(FAST)), marks_key(searched.Search()))
JOINT_KEY = joint_key(margins_key("fast", asdict(FAST)), gains_key(asdict(gains.Search())))


@dataclass(frozen=True)
class Model:
    """What is known of a model: its card in brief, and how far each mark stands out, by class."""

    card: Mapping[str, Any]
    standing: Mapping[str, Mapping[int, float]]
    in_pairs: float
    joint: float | None  # p-value of the joint null
    family: str = field(default="")

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
        found = np.zeros((classes, len(MARKS)))
        for column, mark in enumerate(MARKS[:-1]):
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


Score = Callable[[Model], tuple[float, int]]  # the evidence, and the class it is of


def weighted(weights: np.ndarray) -> Score:
    """The sum of the marks of a class, weighted; the class for which it is largest, -1 for pairs."""

    def score(model: Model) -> tuple[float, int]:
        evidence = model.matrix() @ weights
        by_pairs = weights[-1] * model.in_pairs
        top = int(evidence.argmax())
        return (by_pairs, -1) if by_pairs > evidence[top] else (float(evidence[top]), top)

    return score


def equal(models: Sequence[Model]) -> Score:
    """Each mark in units of its mean over clean networks."""
    return weighted(_units(models))


def _units(models: Sequence[Model]) -> np.ndarray:
    """One over the mean of each mark's largest value over clean networks."""
    tops = np.array([_tops(model) for model in models if model.clean])
    return 1 / np.maximum(tops.mean(0), 1e-3)


def _tops(model: Model) -> np.ndarray:
    found = model.matrix().max(0)
    found[-1] = model.in_pairs
    return found


def logistic(models: Sequence[Model]) -> Score:
    """Weights of at least zero by logistic regression: the marks of the true target, or of the clean top."""
    return weighted(logistic_weights(models))


def logistic_weights(models: Sequence[Model], rounds: int = 8, strength: float = 0.1) -> np.ndarray:
    """The weights in turns with the class that they put on top, from equal ones; in units as `equal`.

    `strength` draws them towards equal ones: of 0.02, 0.1, 0.3 and 1 the best on the choosing half.
    """
    from scipy.optimize import minimize

    units = _units(models)
    labels = np.array([0.0 if model.clean else 1.0 for model in models])
    count = np.array([np.sum(labels == label) for label in labels])
    weights = np.ones(len(MARKS))
    for _ in range(rounds):
        rows = np.array([_row(model, weights * units) for model in models]) * units

        def loss(at: np.ndarray, rows: np.ndarray = rows) -> float:
            logits = rows @ at[:-1] + at[-1]
            each = np.logaddexp(0, -np.where(labels == 1, logits, -logits))
            return float((each / count).sum() + strength * ((at[:-1] - 0.5) ** 2).sum())

        start = np.append(weights, -2.0)
        bounds = [(0.0, None)] * len(MARKS) + [(None, None)]
        weights = minimize(loss, start, bounds=bounds, method="L-BFGS-B").x[:-1]
    return weights * units


def _row(model: Model, weights: np.ndarray) -> np.ndarray:
    """The marks of the class that counts: the top one with these weights, of the targets if there are any."""
    matrix = model.matrix()
    pairs = np.zeros(len(MARKS))
    pairs[-1] = model.in_pairs
    rows = [matrix[label] for label in (model.targets or range(len(matrix)))]
    if model.clean or len(model.targets) > 1:
        rows.append(pairs)
    return max(rows, key=lambda row: float(row @ weights))


def smallest(models: Sequence[Model]) -> Score:
    """Minus the logarithm of the smallest p-value of a mark by clean networks."""
    tops = np.sort(np.array([_tops(model) for model in models if model.clean]), axis=0)

    def score(model: Model) -> tuple[float, int]:
        matrix, best = model.matrix(), (0.0, 0)
        for column in range(len(MARKS)):
            value = model.in_pairs if column == len(MARKS) - 1 else matrix[:, column].max()
            above = len(tops) - np.searchsorted(tops[:, column], value, side="left")
            found = -math.log((1 + above) / (1 + len(tops))) + 1e-6 * float(value)
            label = -1 if column == len(MARKS) - 1 else int(matrix[:, column].argmax())
            best = max(best, (found, label))
        return best

    return score


def boosting(models: Sequence[Model]) -> Score:
    """Monotone boosted trees on the marks of the class with the most evidence by `equal`."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    units = _units(models)
    rows = np.array([_row(model, units) for model in models])
    labels = [not model.clean for model in models]
    trees = HistGradientBoostingClassifier(
        monotonic_cst=[1] * len(MARKS), max_iter=60, learning_rate=0.1, min_samples_leaf=5, random_state=0
    ).fit(rows, labels)
    plain = weighted(units)

    def score(model: Model) -> tuple[float, int]:
        value, label = plain(model)
        matrix = model.matrix()
        row = np.zeros(len(MARKS)) if label < 0 else matrix[label]
        row[-1] = model.in_pairs if label < 0 else 0.0
        return float(trees.predict_proba([row])[0, 1]) + 1e-6 * value, label

    return score


WAYS: dict[str, Callable[[Sequence[Model]], Score]] = {
    "equal": equal,
    "logistic": logistic,
    "smallest": smallest,
    "boosting": boosting,
}


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
    """The evidence of clean networks, with and without the mark of the last linear layer."""

    whole: Population
    headless: Population

    @classmethod
    def of(cls, score: Score, models: Sequence[Model]) -> Self:
        """Of the clean networks."""
        bare = [replace(model, standing={**model.standing, HEAD: {}}) for model in models]
        return cls(table_of(score, models), table_of(score, bare))

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
    parser.add_argument("--way", default="logistic", choices=("equal", "logistic"))
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
    weights = _units(choosing) if options.way == "equal" else logistic_weights(choosing)
    weights /= weights.sum()
    score = weighted(weights)
    content["weights"] = {mark: round(float(weight), 5) for mark, weight in zip(MARKS, weights, strict=True)}
    judged: list[Judged] = []
    if options.report:
        reporting = [model for model in models if model.reports]
        judged = judge(score, Tables.of(score, choosing), reporting)
        content["reporting"] = figures(judged)
        content["reporting, joint null"] = joint_judged(reporting)
        for what in ("attack", "architecture", "data set"):
            content[f"reporting, by {what}"] = by_kind(judged, what)
    print(json.dumps(content, indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(content, indent=1) + "\n")
    if options.ship:
        ship(score, content, models, judged)


def ship(
    score: Score, content: Mapping[str, Any], models: Sequence[Model], reported: Sequence[Judged]
) -> None:
    """Write weights and the table of all clean networks into the package, and what was found."""
    tables = Tables.of(score, models)
    held = [model for model in models if model.clean]
    raw = {
        "about": "Weights of the marks, and the evidence of clean networks in units of scale * K ** -power; "
        "see benchmarks/study/score.py",
        "models": len(held),
        "classes": dict(sorted(Counter(model.card["classes"] for model in held).items())),
        "architectures": dict(Counter(model.card["arch"] for model in held).most_common()),
        "data": dict(Counter(model.card["source"] for model in held).most_common()),
        "torch": torch.__version__,
        "weights": content["weights"],
        "made_by": KEY,
        "table": _written(tables.whole),
        "headless": _written(tables.headless),
    }
    path = Path(combined.__file__).with_suffix(".json")
    path.write_text(json.dumps(raw, indent=1) + "\n")
    if reported:
        path = Path(power.__file__).with_suffix(".json")
        path.write_text(json.dumps(_power_of(reported), indent=1) + "\n")


def _written(table: Population) -> dict[str, Any]:
    gaps = [round(gap, 4) for gap in table.gaps]
    return {"scale": round(table.scale, 5), "power": round(table.power, 5), "gaps": gaps}


def _power_of(reported: Sequence[Judged]) -> dict[str, Any]:
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
