"""How well search settings separate backdoored from clean models, on the even recipes.

    python -m benchmarks.study.ascents STATISTICS.jsonl

Per setting: how often the target class has the largest statistic, and the AUC of the log ratio of
the two largest (a target that is not the largest scores lowest), over the models all settings have.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from benchmarks.study.intervals import auc_interval, rate
from mmbd.evaluation.metrics import auc


def score(entry: dict[str, Any]) -> float:
    """The log ratio of the two largest statistics; -1 where the target is not the largest."""
    order = sorted(range(entry["classes"]), key=lambda label: -entry["statistics"][label])
    if entry["attack"] is not None and order[0] != entry["target"]:
        return -1.0
    first, second = (max(entry["statistics"][label], 1e-3) for label in order[:2])
    return math.log(first / second)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("statistics", type=Path)
    options = parser.parse_args()
    by_setting: dict[str, dict[int, dict[str, Any]]] = {}
    for line in options.statistics.read_text().splitlines():
        entry = json.loads(line)
        if entry["classes"] >= 5:
            by_setting.setdefault(entry["settings"], {})[entry["number"]] = entry
    common = set.intersection(*(set(entries) for entries in by_setting.values()))
    for name, entries in by_setting.items():
        chosen = [entries[number] for number in sorted(common)]
        positives = [score(entry) for entry in chosen if entry["attack"] is not None]
        negatives = [score(entry) for entry in chosen if entry["attack"] is None]
        low, high = auc_interval(positives, negatives)
        print(
            f"{name:16} largest: {rate([value >= 0 for value in positives])}  "
            f"AUC {auc(positives, negatives):.3f} ({low:.3f}-{high:.3f})  clean {len(negatives)}"
        )


if __name__ == "__main__":
    main()
