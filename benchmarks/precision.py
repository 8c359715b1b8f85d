"""Whether searches in bfloat16 find what those in float32 find: both on the same models, and another seed.

    python -m benchmarks.precision ZOO_OR_MODEL... [--out FILE.json]

A small network would not be searched in bfloat16 by default; here it is made to. What bfloat16 changes is
set against what another seed changes, in the same unit.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

import mmbd
from mmbd.base.environment import environment

WAYS: dict[str, dict[str, Any]] = {
    "float32": {"precision": "float32"},
    "bfloat16": {"precision": "bfloat16"},
    "another seed": {"precision": "float32", "seed": 1},
}
# The numbers that are compared, where all classes have them.
NUMBERS = ("maximum margin", "universal-perturbation gain", "window lift")


def seen(report: mmbd.Report, seconds: float) -> dict[str, Any]:
    """What is compared of one scan."""
    finding = report.finding
    columns = {name: finding.column(name) for name in NUMBERS}
    return {
        "p-value": report.p_value,
        "verdict": report.verdict,
        "first": finding.ranking[0] if finding.ranking else None,
        "precision": finding.settings.get("precision", "float32"),
        "evaluations": finding.facts["evaluations"],
        "processor seconds": round(seconds, 2),
        **{name: None if column is None else column.values for name, column in columns.items()},
    }


def compared(path: Path) -> dict[str, Any]:
    """One model, scanned in every way."""
    classifier, found = mmbd.load(path).classifier, dict[str, Any]()
    for name, how in WAYS.items():
        start = time.process_time()
        found[name] = seen(mmbd.scan(classifier, **how), time.process_time() - start)
    return found


def apart(one: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    """How far numbers of two scans are apart: the median over classes, as a share of the largest."""
    found: dict[str, float] = {}
    for name in NUMBERS:
        if one[name] is not None and other[name] is not None:
            pairs = [(a, b) for a, b in zip(one[name], other[name], strict=True) if None not in (a, b)]
            largest = max(abs(a) for a, _ in pairs)
            found[name] = round(median(abs(a - b) for a, b in pairs) / max(largest, 1e-12), 4)
    if one["p-value"] and other["p-value"]:
        found["log10 p"] = round(abs(math.log10(one["p-value"] / other["p-value"])), 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, Any] = {}
    for path in given.models:
        files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
        for file in files:
            if ".trigger." in file.name:
                continue
            found = compared(file)
            both = {name: apart(found["float32"], found[name]) for name in WAYS if name != "float32"}
            rows[file.stem] = found | {"apart from float32": both}
            told = {
                name: (one["p-value"], one["first"], one["processor seconds"]) for name, one in found.items()
            }
            print(file.stem, told, both, flush=True)
            if given.out is not None:
                result = {"models": rows, "environment": environment()}
                given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
