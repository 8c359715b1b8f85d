"""How a scan with ten clean pictures a class is judged: which marks count, their weights, and the tables.

    python -m benchmarks.study.score_with_samples SAMPLES.jsonl [MORE.jsonl ...] [--frozen FILE.jsonl]
        [--choice NAME] [--report [--ship]] [--out FILE.json]

SAMPLES is what `with_samples.py` measured on clean pictures, `results/variety.jsonl` what `marks.py` did
without data; networks that are in both count. Even seeds choose and odd ones report, as in `score.py`. Ways
to judge are compared on the choosing half, each fitted without a data set, an architecture and an attack in
turn, with all marks of a way counting alike:

- without data: the marks of the combined null, on the same networks,
- without data, and flows: one mark more,
- a second look: these and flows alone, each at half the level,
- on samples: the same marks, with windows and pairs of classes on clean samples,
- on samples, and flows: one mark more,
- on samples, flows and added: two marks more,
- a second look at pairs: the ways with flows and, at a small share of the level, pairs of classes on samples
  alone, against those of clean networks.

`--choice` is the way that is taken, with the second look at pairs; `--ship` writes its weights, fitted on the
choosing half, and the evidence and the pairs of all clean networks, as `src/mmbd/null/with_samples.json`, and
what the reporting half says of its power. `--frozen` keeps what was measured as one file.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.study.marked_models import MARKS, Model, read
from benchmarks.study.score import (
    Judged,
    Tables,
    by_kind,
    figures,
    grouped,
    judge,
    nested,
    power_of,
    shipped,
    written,
)
from benchmarks.study.ways import Score, equal, units_of, weighted
from mmbd.detectors.mm_bd import power
from mmbd.null import with_samples
from mmbd.null.combined import AWAY, FLOW, HEAD, PAIRS, WINDOW, standing_out
from mmbd.null.settings import joint_key, margins_key, marks_key
from mmbd.search import marks as without_data
from mmbd.search import marks_on_samples as on_samples
from mmbd.search.ascent import FAST
from mmbd.search.marks import in_pairs, shares_to

DATA_FREE = Path(__file__).parents[1] / "results/variety.jsonl"
ADDED = "added"
SIZES = (0.02, 0.03, 0.045)
KEY = joint_key(
    margins_key("fast", asdict(FAST)),
    with_samples.samples_key(marks_key(without_data.Search()), with_samples.search_key(on_samples.Search())),
)
Entry = Mapping[str, Any]
Way = Callable[[Sequence[Model]], Score]


@dataclass(frozen=True)
class Choice:
    """Which marks count, and whether windows are those on clean samples."""

    marks: tuple[str, ...]
    windows: bool = True


CHOICES: dict[str, Choice] = {
    "without data": Choice(MARKS, windows=False),
    "without data, and flows": Choice((*MARKS[:-1], FLOW, PAIRS), windows=False),
    "on samples": Choice(MARKS),
    "on samples, and flows": Choice((*MARKS[:-1], FLOW, PAIRS)),
    "on samples, flows and added": Choice((*MARKS[:-1], FLOW, ADDED, PAIRS)),
}
TAKEN = "without data, and flows"
ON_SAMPLES = "on samples, and flows"
SHARES = (0.1, 0.2, 0.3, 0.5)  # of the level, for the second look at pairs
SHARE = 0.1


def entries_of(paths: Sequence[Path]) -> dict[tuple[str, str], Entry]:
    """What was measured with samples, by zoo and name."""
    found = (json.loads(line) for path in paths for line in path.read_text().splitlines())
    return {(entry["zoo"], entry["name"]): entry for entry in found if "reason" not in entry}


def merged(model: Model, entry: Entry, choice: Choice, size: float) -> Model:
    """A model with the marks of a choice, with flows of this size."""
    standing = {mark: dict(values) for mark, values in model.standing.items()}
    pairs = model.in_pairs
    if choice.windows:
        counts = torch.zeros(entry["classes"], entry["classes"], dtype=torch.int64)
        for source, goes, many in entry["went"]:
            counts[source, goes] = many
        pairs = in_pairs(counts)[1]
        standing[WINDOW] = standing_out(WINDOW, dict(enumerate(entry["window"])))
        standing[AWAY] = standing_out(AWAY, dict(enumerate(shares_to(counts).tolist())))
    standing[FLOW] = standing_out(FLOW, dict(enumerate(entry[f"flow {size}"]["shares"])))
    standing[ADDED] = standing_out(AWAY, dict(enumerate(entry["added 0.03"]["shares"])))
    return replace(model, standing=standing, in_pairs=pairs, marks=choice.marks)


def looked_twice(first: Sequence[Judged], second: Sequence[Judged], share: float = 0.5) -> list[Judged]:
    """Each model by the smaller of two p-values over their shares of the level; `share` is the second's."""
    found: list[Judged] = []
    for one, other in zip(first, second, strict=True):
        ps = one.p_value / (1 - share), other.p_value / share
        p = min(1.0, *ps)
        found.append(replace(one if ps[0] <= ps[1] else other, p_value=p, score=1 / p))
    return found


def by_pairs(model: Model) -> tuple[float, int]:
    """The share of clean samples that one window takes away by pairs of classes, as a score."""
    return model.in_pairs, -1


def alone(mark: str, marks: tuple[str, ...]) -> Way:
    """One mark alone."""
    return lambda _: weighted(np.eye(len(marks))[marks.index(mark)])


def compared(given: Callable[[str, float], list[Model]]) -> dict[str, Any]:
    """What the ways to judge find on the choosing half, kinds left out; `given` has its models."""
    found: dict[str, Any] = {}
    for size in SIZES:
        for name, choice in CHOICES.items():
            of_size = f"{name} of {size}" if FLOW in choice.marks else name
            if of_size not in found:
                judged = nested(equal, given(name, size))
                found[of_size] = figures(judged) | {"by attack": hits(judged)}
        models = given(TAKEN, size)
        flows = nested(alone(FLOW, models[0].marks), models)
        found[f"flows of {size} alone"] = figures(flows) | {"by attack": hits(flows)}
        twice = looked_twice(nested(equal, given("without data", size)), flows)
        found[f"a second look at flows of {size}"] = figures(twice) | {"by attack": hits(twice)}
    pairs = nested(lambda _: by_pairs, given(ON_SAMPLES, on_samples.Search.flow))
    for name in (TAKEN, ON_SAMPLES):
        first = nested(equal, given(name, on_samples.Search.flow))
        for share in SHARES:
            twice = looked_twice(first, pairs, share)
            key = f"{name}, and a second look at pairs, {share} of the level"
            found[key] = figures(twice) | {"by attack": hits(twice)}
    models = given("on samples, flows and added", SIZES[0])
    for mark in (WINDOW, AWAY, ADDED, PAIRS):
        found[f"{mark} on samples alone"] = figures(nested(alone(mark, models[0].marks), models))
    return found


def hits(judged: Sequence[Judged]) -> dict[str, str]:
    """How many are found with the right target, by attack."""
    return {kind: one["found, right target"] for kind, one in by_kind(judged, "attack").items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("samples", type=Path, nargs="+")
    parser.add_argument("--frozen", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--choice", default=TAKEN, choices=list(CHOICES))
    parser.add_argument("--report", action="store_true", help="look at the reporting half")
    parser.add_argument("--ship", action="store_true", help="with --report: write weights, tables and power")
    options = parser.parse_args()
    if options.ship and not (options.report and options.choice == TAKEN):
        parser.error(f"--ship goes with --report, and with {TAKEN!r}, which the null adds up")
    entries = entries_of(options.samples)
    if options.frozen is not None:
        kept = [{k: v for k, v in entries[key].items() if k != "taken"} for key in sorted(entries)]
        options.frozen.write_text("".join(json.dumps(entry) + "\n" for entry in kept))
    every = [model for model in read(DATA_FREE) if _key(model) in entries]
    flow = on_samples.Search().flow

    def given(name: str, size: float = flow, *, reports: bool = False) -> list[Model]:
        choice = CHOICES[name]
        return [merged(m, entries[_key(m)], choice, size) for m in every if m.reports == reports]

    content: dict[str, Any] = {
        "models": dict(Counter(f"{m.card['zoo']}, {'clean' if m.clean else 'attacked'}" for m in every)),
        "choosing, kinds left out": compared(given),
    }
    choosing = given(options.choice)
    weights = units_of(choosing)
    weights /= weights.sum()
    score, marks = weighted(weights), CHOICES[options.choice].marks
    content["choice"], content["flow"], content["second look"] = options.choice, flow, SHARE
    content["weights"] = {mark: round(float(weight), 5) for mark, weight in zip(marks, weights, strict=True)}
    if options.report:
        first = judge(score, Tables.of(score, choosing), given(options.choice, reports=True))
        content["reporting, one look"] = figures(first) | {"by attack": hits(first)}
        tables = Tables.of(by_pairs, given(ON_SAMPLES))
        pairs = judge(by_pairs, tables, given(ON_SAMPLES, reports=True))
        judged = looked_twice(first, pairs, SHARE)
        reported(content, judged)
        plain = given("without data")
        free = equal(plain)
        before = judge(free, Tables.of(free, plain), given("without data", reports=True))
        content["reporting, without data"] = figures(before) | {"by attack": hits(before)}
        if options.ship:
            paired = [*given(ON_SAMPLES), *given(ON_SAMPLES, reports=True)]
            ship(score, content, [*choosing, *given(options.choice, reports=True)], paired, judged)
    print(json.dumps(content, indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(content, indent=1) + "\n")


def reported(content: dict[str, Any], judged: Sequence[Judged]) -> None:
    """What the reporting half says, into what is printed."""
    content["reporting"] = figures(judged) | {"by attack": hits(judged)}
    content["reporting, by zoo"] = grouped(judged, lambda one: one.model.card["zoo"])
    content["reporting, by data set"] = by_kind(judged, "data set")
    content["reporting, by last layer"] = grouped(
        judged, lambda one: "pooled" if HEAD in one.model.standing else "others"
    )


def ship(
    score: Score,
    content: Mapping[str, Any],
    models: Sequence[Model],
    paired: Sequence[Model],
    judged: Sequence[Judged],
) -> None:
    """Write weights and the tables of all clean networks into the package, and what was found.

    `paired` are the same models with their pairs of classes on clean samples.
    """
    pairs = Tables.of(by_pairs, paired)
    raw = shipped("score_with_samples", KEY, content, models, Tables.of(score, models))
    raw["pairs"] = {"share": SHARE, "table": written(pairs.whole), "headless": written(pairs.headless)}
    path = Path(with_samples.__file__).with_suffix(".json")
    path.write_text(json.dumps(raw, indent=1) + "\n")
    path = Path(power.__file__).with_name(power.FILES[with_samples.NAME])
    path.write_text(json.dumps(power_of(judged), indent=1) + "\n")


def _key(model: Model) -> tuple[str, str]:
    return model.card["zoo"], model.card["name"]


if __name__ == "__main__":
    main()
