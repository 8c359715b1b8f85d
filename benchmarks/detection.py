"""Detection and false alarms: the paper's procedure next to the fast one, on the same models.

    python benchmarks/detection.py ZOO [--half odd] [--answers DIR] [--workers 2] [--out FILE.json]

ZOO is a folder that `mmbd zoo make` wrote. Every model is scanned twice: by the default scan, and
by the paper's search as the authors' script has it (30 restarts of at most 300 plain steps). A line
is one null's p-value after one of the searches. Models whose attack failed do not count. Detected
means p <= 0.05 and the right class: of the largest evidence for the joint null, of the largest
margin for the others. Rates and AUCs carry 95 % intervals. Answers are kept, so a run can be killed
and continued; the paper's search takes most of the time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import mmbd
from mmbd.evaluate.environment import environment
from mmbd.evaluate.metrics import Rate, auc, auc_interval
from mmbd.evaluate.tables import Result
from mmbd.null.joint import evidence

LEVEL = 0.05
SEARCHES = {"fast": "mm-bd", "paper": "mm-bd-authors"}
NULLS = ("joint", "population", "bootstrap", "authors", "paper")


def largest(result: Result, null: str) -> int:
    """The class that a null speaks of."""
    answer = result.answer
    assert answer is not None
    values = {
        label: value for label, value in enumerate(answer.statistics or ()) if value is not None
    }
    if null == "joint":
        gains = answer.details["gains"]
        values = evidence(values, {label: gains[label] for label in values})
    return max(values, key=values.__getitem__)


def figures(results: Sequence[Result], null: str) -> dict[str, Any] | None:
    """Detection rate, false-positive rate and AUC of one null; None where it gave no p-value."""
    hits: list[bool] = []
    alarms: list[bool] = []
    scores: dict[bool, list[float]] = {True: [], False: []}
    for result in results:
        p = None if result.answer is None else result.answer.details["p_values"].get(null)
        flagged = p is not None and p <= LEVEL
        scores[result.backdoored].append(-2.0 if p is None else -p)
        if result.backdoored:
            hits.append(flagged and largest(result, null) in result.true_targets)
        else:
            alarms.append(flagged)
    if max(scores[True] + scores[False], default=-2.0) == -2.0:
        return None
    found: dict[str, Any] = {"detection": _rate(hits), "false positives": _rate(alarms)}
    if hits and alarms:
        area = auc(scores[True], scores[False])
        low, high = auc_interval(area, len(hits), len(alarms))
        found["AUC"] = f"{area:.3f} ({low:.3f}-{high:.3f})"
    return found


def _rate(hits: Sequence[bool]) -> str:
    found = Rate.of(sum(hits), len(hits))
    if found.share is None:
        return "-"
    return f"{found.share:.3f} ({found.hits}/{found.n}; {found.low:.3f}-{found.high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--half", choices=("even", "odd"), help="only models with such seeds")
    parser.add_argument("--attacks", nargs="+", default=[], help="only these, and clean models")
    parser.add_argument("--answers", type=Path, help="where answers are kept")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    judged = mmbd.evaluate(
        given.zoo, list(SEARCHES.values()), half=given.half, attacks=given.attacks,
        workers=given.workers, results=given.answers,
    )  # fmt: skip
    rows: dict[str, Any] = {}
    for search, detector in SEARCHES.items():
        results = [result for result in judged.results if result.detector == detector]
        groups = {"all": results} | {
            group: [result for result in results if result.group == group]
            for group in sorted({result.group for result in results})
        }
        for group, members in groups.items():
            for null in NULLS:
                found = figures(members, null)
                if found is not None:
                    rows[f"{group} / {search} / {null}"] = found
                    print(f"{group:20}  {search:6} {null:11}", *found.values(), sep="  ")
        rows[f"{search}, mean seconds"] = fmean(
            result.answer.seconds for result in results if result.answer is not None
        )
    if given.out is not None:
        content = {
            "level": LEVEL, "half": given.half, "set aside": dict(judged.set_aside),
            "environment": dict(environment()), "rows": rows,
        }  # fmt: skip
        given.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
