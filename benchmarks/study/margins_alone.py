"""Detection and false alarms by the margins alone, on the study zoo's frozen statistics.

    python -m benchmarks.study.margins_alone STATISTICS.jsonl [--out FILE.json]

Reads what `study/measure.py` wrote, for the models that have both settings, "fast" and "paper". A
detection is a flagged model with the right target class; attacks below 80 % success are not in the
set. The population null is fitted without the models it is applied to, on the other half of the
recipes (even numbers for odd ones and the other way round). Rates carry exact 95 % intervals, AUCs
bootstrap ones; a backdoored model whose target is not the largest class scores lowest of all.
Margins and gains together are measured on other models, by `benchmarks/detection.py`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.study.intervals import auc_interval, rate
from benchmarks.study.population import FITTED
from mmbd.evaluation.metrics import auc
from mmbd.null.bootstrap import bootstrap
from mmbd.null.paper import authors, paper
from mmbd.null.population import Population, fit, population

LEVEL = 0.05
Test = Callable[[list[float]], float | None]


def tables(entries: list[dict[str, Any]]) -> dict[int, Population]:
    """For each parity of a recipe's number, a population of the other parity."""
    clean = [
        entry
        for entry in entries
        if entry["settings"] == "fast"
        and entry["attack"] is None
        and entry["classes"] >= 5
        and entry["train_accuracy"] >= FITTED
        and not entry["source"].startswith("glyphs")
    ]
    return {
        parity: fit([entry["statistics"] for entry in clean if entry["number"] % 2 != parity], "study")
        for parity in (0, 1)
    }


def judge(entries: list[dict[str, Any]], test: Callable[[dict[str, Any]], float | None]) -> Any:
    """Detection rate, false-positive rate and AUC of one p-value over some models."""
    flagged, alarms, positives, negatives = [], [], [], []
    for entry in entries:
        p = test(entry)
        score = -1.0 if p is None else 1 - p
        if entry["attack"] is None:
            alarms.append(p is not None and p <= LEVEL)
            negatives.append(score)
        else:
            largest = max(range(entry["classes"]), key=entry["statistics"].__getitem__)
            right = largest == entry["target"]
            flagged.append(p is not None and p <= LEVEL and right)
            positives.append(score if right else -1.0)
    low, high = auc_interval(positives, negatives)
    return {
        "detection": rate(flagged),
        "false positives": rate(alarms),
        "AUC": f"{auc(positives, negatives):.3f} ({low:.3f}-{high:.3f})",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("statistics", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    entries = [json.loads(line) for line in options.statistics.read_text().splitlines()]
    fitted = tables(entries)
    usable = [entry for entry in entries if entry["classes"] >= 5]
    both = {e["number"] for e in usable if e["settings"] == "paper"} & {
        e["number"] for e in usable if e["settings"] == "fast"
    }

    @cache  # the groups overlap, and a bootstrap takes a while
    def bootstrapped(statistics: tuple[float, ...]) -> float | None:
        return bootstrap(statistics).p_value

    tests: dict[str, Callable[[dict[str, Any]], float | None]] = {
        "authors": lambda entry: authors(entry["statistics"]).p_value,
        "paper": lambda entry: paper(entry["statistics"]).p_value,
        "bootstrap": lambda entry: bootstrapped(tuple(entry["statistics"])),
        "population": lambda entry: (
            population(entry["statistics"], "study", fitted[entry["number"] % 2]).p_value
        ),
    }
    result: dict[str, Any] = {"level": LEVEL}
    groups = {
        "both methods": [entry for entry in usable if entry["number"] in both],
        "all, well fitted": [e for e in usable if e["train_accuracy"] >= 0.9],
        "all": usable,
    }
    for group, members in groups.items():
        for method in ("paper", "fast") if group == "both methods" else ("fast",):
            chosen = [entry for entry in members if entry["settings"] == method]
            for name, test in tests.items():
                if name == "population" and method == "paper":
                    continue  # the table belongs to the fast search
                figures = judge(chosen, test)
                result[f"{group} / {method} / {name}"] = figures
                print(f"{group:26}{method:7}{name:11}", *figures.values(), sep="  ")
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
