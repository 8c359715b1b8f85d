"""How a scan with ten clean pictures a class is judged: which marks, their weights, the table, how it holds.

    python -m benchmarks.study.score_with_samples MARKS.jsonl SAMPLES.jsonl [MORE.jsonl ...] [--report] [--ship]

MARKS is what `marks.py` measured without data, SAMPLES what `with_samples.py` did on clean pictures; networks
that are in both count. Even seeds choose and odd ones report, as in `score.py`. Ways to judge are compared on
the choosing half, each fitted without a data set, without an architecture and without an attack in turn, with
all marks of a way counting alike. `--ship` writes the weights of the way that is taken, fitted on the
choosing half, and the evidence of all clean networks, as `src/mmbd/null/with_samples.json`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.study.marked_models import MARKS, Model, read
from benchmarks.study.score import Judged, by_kind, figures, grouped, judge, nested, Tables
from benchmarks.study.ways import equal, units_of, weighted
from mmbd.null.combined import AWAY, FLOW, GAIN, HEAD, MARGIN, PAIRS, WINDOW, standing_out
from mmbd.search.marks import in_pairs, shares_to

SIZES = (0.02, 0.03, 0.045)
ADDED = "added"
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Choice:
    """Which marks count, and whether windows are those on clean samples."""

    marks: tuple[str, ...]
    windows: bool = False


CHOICES: dict[str, Choice] = {
    "without data": Choice(MARKS),
    "without data, and flows": Choice((*MARKS[:-1], FLOW, PAIRS)),
    "on samples": Choice(MARKS, True),
    "on samples, and flows": Choice((*MARKS[:-1], FLOW, PAIRS), True),
    "on samples, flows and added": Choice((*MARKS[:-1], FLOW, ADDED, PAIRS), True),
}


def merged(model: Model, entry: Entry, choice: Choice, size: float) -> Model:
    """A model with the marks of a choice, flows of this size."""
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
    standing[ADDED] = standing_out(FLOW, dict(enumerate(entry["added 0.03"]["shares"])))
    return replace(model, standing=standing, in_pairs=pairs, marks=choice.marks)


def looked_twice(first: Sequence[Judged], second: Sequence[Judged]) -> list[Judged]:
    """Each model by the smaller of two p-values, twice that: half of the level each."""
    found: list[Judged] = []
    for one, other in zip(first, second, strict=True):
        least = min(one, other, key=lambda judged: judged.p_value)
        p = min(1.0, 2 * least.p_value)
        found.append(replace(least, p_value=p, score=1 / p))
    return found


def entries_of(paths: Sequence[Path]) -> dict[tuple[str, str], Entry]:
    """What was measured with samples, by zoo and name."""
    found = (json.loads(line) for path in paths for line in path.read_text().splitlines())
    return {(entry["zoo"], entry["name"]): entry for entry in found if "reason" not in entry}


def alone(column: int, marks: int) -> Callable[[Sequence[Model]], Any]:
    """One mark alone."""
    import numpy as np

    return lambda _: weighted(np.eye(marks)[column])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("marks", type=Path)
    parser.add_argument("samples", type=Path, nargs="+")
    options = parser.parse_args()
    entries = entries_of(options.samples)
    models = [model for model in read(options.marks) if (model.card["zoo"], model.card["name"]) in entries]
    choosing = [model for model in models if not model.reports]
    print(len(models), len(choosing), sum(m.clean for m in choosing))
    for size in SIZES:
        for name, choice in CHOICES.items():
            if size != SIZES[0] and FLOW not in choice.marks:
                continue
            some = [merged(m, entries[m.card["zoo"], m.card["name"]], choice, size) for m in choosing]
            judged = nested(equal, some)
            print(size, name, json.dumps(figures(judged)))
            print("   ", {k: v["found, right target"] for k, v in by_kind(judged, "attack").items()})
        some = [
            merged(m, entries[m.card["zoo"], m.card["name"]], CHOICES["on samples, flows and added"], size)
            for m in choosing
        ]
        for column, mark in enumerate(some[0].marks):
            if size == SIZES[0] or mark == FLOW:
                judged = nested(alone(column, len(some[0].marks)), some)
                f = figures(judged)
                print("   alone", size, mark, json.dumps(f))
                print("       ", {k: v["found, right target"] for k, v in by_kind(judged, "attack").items()})


if __name__ == "__main__":
    main()
