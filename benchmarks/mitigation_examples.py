"""Mitigation on the bundled example models, which anybody has: attack success before and after.

    python -m benchmarks.mitigation_examples CIFAR10 OUT.json [--methods auto mm-bm ...]

CIFAR10 is a folder with the hub's `test.parquet`. As in `paper/mitigations.py` 20 images a class of
one half of the test set are the defender's and the figures are on 5000 others. Rows are added to
OUT.json one by one, and what is there is not done again. The seeds of the badnet and the blend are
even: those were looked at while settings were chosen.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from mmbd.base.environment import environment
from mmbd.base.seeds import generator_for
from mmbd.base.writing import write_text
from mmbd.data import read as data
from mmbd.data.dataset import Dataset, some, split
from mmbd.formats.load import load
from mmbd.triggers import MAKERS
from mmbd.triggers.backdoor import Backdoor
from mmbd.workflows import repair as fixing

MODELS = Path(__file__).parents[1] / "examples/models"
IMAGES, EVALUATED = 20, 5000
METHODS = ("auto", "mm-bm", "hardening")


def backdoor(card: dict[str, Any]) -> Backdoor | None:
    """The trigger of an example, drawn again from its seed; None of a clean one."""
    attack = card["attack"]
    if attack is None:
        return None
    trigger = MAKERS[attack["trigger"]]((3, 32, 32), seed=card["seed"], **attack["parameters"])
    return Backdoor(
        dict.fromkeys(attack["sources"], trigger),
        dict.fromkeys(attack["sources"], attack["target"]),
        torch.empty(0, dtype=torch.int64),
    )


def repaired(card: dict[str, Any], test: Dataset, method: str) -> dict[str, Any]:
    """One row: a model repaired and measured."""
    order = torch.randperm(len(test), generator=generator_for("mitigation halves"))
    given, held_out = (test.take(order[: len(test) // 2]), test.take(order[len(test) // 2 :]))
    learn, _ = split(given, IMAGES, seed=card["seed"])
    _, outcome = fixing.fix(
        load(MODELS / card["file"]).classifier,
        learn,
        some(held_out, EVALUATED),
        method=method,
        backdoor=backdoor(card),
        seed=card["seed"],
    )
    record = outcome.record
    return {
        "model": card["name"],
        "seed": card["seed"],
        "method": method,
        "samples": record.samples,
        "held_out": outcome.held_out,
        "chosen": record.settings.get("chosen"),
        "accuracy": outcome.accuracy,
        "attack_success": outcome.attack_success,
        "seconds": round(record.seconds, 1),
        "reason": record.reason,
        "notes": record.notes,
        "perturbations": record.perturbations,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cifar10", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--models", nargs="+", help="only these")
    given = parser.parse_args()
    torch.set_num_threads(1)
    test = data.load(given.cifar10 / "test.parquet")
    found: list[dict[str, Any]] = []
    if given.out.exists():
        found = json.loads(given.out.read_text())["rows"]
    made = {(row["model"], row["method"]) for row in found}
    for card in json.loads((MODELS / "models.json").read_text()):
        for method in given.methods:
            if (card["name"], method) in made or (given.models and card["name"] not in given.models):
                continue
            found.append(repaired(card, test, method))
            print({key: found[-1][key] for key in list(found[-1])[:10]}, flush=True)
            content = {"environment": dict(environment()), "rows": found}
            write_text(given.out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
