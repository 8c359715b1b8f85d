"""The population nulls: their tables, and how they hold on kinds of networks they have not seen.

    python -m benchmarks.study.population STATISTICS.jsonl [--null joint] [--ship]

Reads the clean models of `measure.py` (settings "fast"). The false-positive rate is measured on
models whose data set, or whose architecture, is not in the table: each kind is left out in turn.
`--ship` writes the table of all clean models into the package. "population" is the null of maximum
margins alone, "joint" that of margins and universal gains.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.study.intervals import rate
from mmbd.null.joint import times
from mmbd.null.population import fit, population
from mmbd.null.settings import gains_key, joint_key, margins_key
from mmbd.search.ascent import FAST
from mmbd.search.universal_data_free import Search, together

ROOT = Path(__file__).parents[2]
TABLES = ROOT / "src" / "mmbd" / "null"
MARGINS = margins_key("fast", asdict(FAST))
SETTINGS_KEYS = {"population": MARGINS, "joint": joint_key(MARGINS, gains_key(asdict(Search())))}
# The table holds classifiers that fit at least this share of their training data.
FITTED = 0.9
FAMILY = {
    "cifar10-grey": "cifar10",
    "cifar10-subset": "cifar10",
    "gtsrb-subset": "gtsrb",
    "glyphs10": "glyphs",
    "fsdd-image": "fsdd",
}


def values(entry: dict[str, Any], null: str) -> list[float]:
    """What a null is asked about, one number a class."""
    if null == "population":
        return entry["statistics"]
    gains = together(torch.tensor(entry["faint"]), torch.tensor(entry["sparse"])).tolist()
    statistics = dict(enumerate(entry["statistics"]))
    return list(times(statistics, dict(enumerate(gains))).values())


def clean_models(path: Path, null: str) -> list[dict[str, Any]]:
    """All clean models; `group` says which are in the table, and why the others are not."""
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    models = [
        entry
        for entry in entries
        if entry["settings"] == "fast"
        and entry["attack"] is None
        and entry["classes"] >= 5
        and (null == "population" or "sparse" in entry)
    ]
    for entry in models:
        entry["values"] = values(entry, null)
        entry["family"] = FAMILY.get(entry["source"], entry["source"])
        entry["group"] = "table"
        if entry["family"] == "glyphs":
            entry["group"] = "one font"  # rendered letters hardly vary within a class
        elif entry["train_accuracy"] < FITTED:
            entry["group"] = "poorly fitted"
    return models


def left_out(models: list[dict[str, Any]], kind: str, null: str) -> dict[str, list[float]]:
    """p-values of every model under a table without its kind, by kind."""
    p_values: dict[str, list[float]] = {}
    for value in sorted({entry[kind] for entry in models}):
        others = [entry["values"] for entry in models if entry[kind] != value]
        fitted = fit(others, SETTINGS_KEYS[null])
        answers = [
            population(entry["values"], SETTINGS_KEYS[null], fitted).p_value
            for entry in models
            if entry[kind] == value
        ]
        p_values[value] = [answer for answer in answers if answer is not None]
    return p_values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("statistics", type=Path)
    parser.add_argument("--null", choices=("population", "joint"), default="population")
    parser.add_argument("--ship", action="store_true")
    options = parser.parse_args()
    null = options.null
    everything = clean_models(options.statistics, null)
    models = [entry for entry in everything if entry["group"] == "table"]
    fitted = fit([entry["values"] for entry in models], SETTINGS_KEYS[null])
    validation: dict[str, Any] = {}
    for kind in ("family", "arch"):
        by_kind = left_out(models, kind, null)
        pooled = [p for values in by_kind.values() for p in values]
        validation[f"leave one {kind} out"] = {
            "all": {f"p <= {level}": rate([p <= level for p in pooled]) for level in (0.05, 0.01)},
            **{value: rate([p <= 0.05 for p in p_values]) for value, p_values in by_kind.items()},
        }
    for group in ("one font", "poorly fitted"):
        p_values = [
            population(entry["values"], SETTINGS_KEYS[null], fitted).p_value
            for entry in everything
            if entry["group"] == group
        ]
        validation[f"not in the table: {group}"] = rate([p <= 0.05 for p in p_values if p is not None])
    print(json.dumps(validation, indent=1))
    if options.ship:
        content = {
            "about": "Top gaps of clean networks, in units of scale * K ** -power; see "
            "benchmarks/study/population.py",
            "models": len(models),
            "classes": dict(sorted(Counter(entry["classes"] for entry in models).items())),
            "architectures": dict(Counter(entry["arch"] for entry in models).most_common()),
            "data": dict(Counter(entry["source"] for entry in models).most_common()),
            "validation": validation,
            "torch": torch.__version__,
            "made_by": fitted.settings_key,
            "scale": round(fitted.scale, 5),
            "power": round(fitted.power, 5),
            "gaps": [round(gap, 4) for gap in fitted.gaps],
        }
        (TABLES / f"{null}.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
