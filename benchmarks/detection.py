"""Detection and false alarms: the paper's procedure next to the fast one, on the same models.

    python -m benchmarks.detection ZOO [--half odd] [--answers DIR] [--workers 2] [--out FILE.json]

ZOO is a folder that `mmbd zoo make` wrote. Every model is scanned twice: by the default scan, and
by the paper's search as the authors' script has it (30 restarts of at most 300 plain steps). A line
is one null's p-value after one of the searches. Models whose attack failed do not count. Detected
means p <= 0.05 and the right class: of the largest evidence for the combined and the joint null, of the
largest margin for the others. Rates and AUCs carry 95 % intervals. Answers are kept, so a run can be
killed and continued; the paper's search takes most of the time.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import mmbd
from mmbd.base.environment import environment
from mmbd.evaluation.metrics import Estimate, Rate, auc, auc_interval
from mmbd.evaluation.tables import Result
from mmbd.null.joint import times
from mmbd.render import evaluation_text as formats
from mmbd.results.finding import Column
from mmbd.results.report import Report

LEVEL = 0.05
SEARCHES = {"fast": "mm-bd", "paper": "mm-bd-authors"}
NULLS = ("combined", "joint", "population", "bootstrap", "authors", "paper")


def figures(results: Sequence[Result], null: str) -> dict[str, Any] | None:
    """Detection rate, false-positive rate and AUC of one null; None where it gave no p-value."""
    hits: list[bool] = []
    alarms: list[bool] = []
    scores: dict[bool, list[float]] = {True: [], False: []}
    for result in results:
        answer = result.answer
        test = None if answer is None else next((t for t in answer.finding.tests if t.name == null), None)
        p = None if test is None else test.p_value
        scores[result.backdoored].append(-math.inf if p is None else -p)
        flagged = p is not None and p <= LEVEL
        if not result.backdoored:
            alarms.append(flagged)
        elif answer is not None and flagged:
            hits.append(largest(answer, null) in result.true_targets)
        else:
            hits.append(False)
    if max(scores[True] + scores[False], default=-math.inf) == -math.inf:
        return None
    found: dict[str, Any] = {
        "detection": str(formats.rate(Rate.of(sum(hits), len(hits)))),
        "false positives": str(formats.rate(Rate.of(sum(alarms), len(alarms)))),
    }
    if hits and alarms:
        area = auc(scores[True], scores[False])
        interval = auc_interval(area, len(hits), len(alarms))
        found["AUC"] = str(formats.estimate(Estimate(area, *interval)))
    return found


def largest(report: Report, null: str) -> int | None:
    """The class that a null speaks of: with the largest evidence, or the largest margin."""
    if null == "combined":
        return report.finding.ranking[0]
    columns = {column.name: _valid(column) for column in report.finding.columns}
    values = columns["maximum margin"]
    if null == "joint":
        values = times(values, columns["universal-perturbation gain"])
    return max(values, key=values.__getitem__, default=None)


def _valid(column: Column) -> dict[int, float]:
    return {label: value for label, value in enumerate(column.values) if value is not None}


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
        given.zoo,
        list(SEARCHES.values()),
        half=given.half,
        attacks=given.attacks,
        workers=given.workers,
        results=given.answers,
    )
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
            result.seconds for result in results if result.seconds is not None
        )
    if given.out is not None:
        content = {
            "level": LEVEL,
            "half": given.half,
            "set aside": dict(judged.excluded),
            "environment": dict(environment()),
            "rows": rows,
        }
        given.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
