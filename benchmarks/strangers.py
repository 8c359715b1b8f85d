"""The default scan on fourteen checkpoints that other people published, ten of them backdoored.

    python -m benchmarks.strangers MODELS [--out FILE.json]

MODELS is the folder with models.json and the files. No setting is chosen by them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import mmbd
from benchmarks.study.intervals import rate
from mmbd.base.environment import environment
from mmbd.formats.loaded import Loaded

NETWORKS = Path(__file__).parents[1] / "tests" / "helpers" / "published_networks.py"
FACTORIES = {
    "ibau": "elu_net",
    "verazuo": "BadNet",
    "coldchair": "BadNet",
    "longph": "Perceptron",
    "longph-cifar": "SmallCnn",
    "resnet20": "ResNet20A",
}
IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def loaded_from(folder: Path, card: dict[str, Any]) -> Loaded:
    """One of them, as its card in models.json says."""
    factory = FACTORIES.get(card["name"]) or FACTORIES[card["name"].partition("-")[0]]
    said: str = card["normalisation"]
    scaled: dict[str, Any] = {"mean": 0.5, "std": 0.5} if said == "x * 2 - 1" else {}
    return mmbd.load(
        folder / card["file"],
        arch=f"{NETWORKS}:{factory}",
        arch_args={"channels": card["input"][0]} if factory == "BadNet" else {},
        input_shape=card["input"],
        **(IMAGENET if said.startswith("ImageNet") else scaled),
    )


def scanned(folder: Path, card: dict[str, Any]) -> dict[str, Any]:
    """What the default scan says of one of them."""
    report = mmbd.scan(loaded_from(folder, card))
    test = report.finding.test
    return {
        "name": card["name"],
        "backdoored": card["label"] == "backdoored",
        "target": card.get("target"),
        "verdict": report.verdict,
        "targets": list(report.targets),
        "top": report.finding.ranking[0] if report.finding.ranking else None,
        "p-values": {each.name: each.p_value for each in report.finding.tests},
        "parts": {} if test is None else dict(test.parameters),
        "evaluations": report.finding.facts["evaluations"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cards = json.loads((options.models / "models.json").read_text(encoding="utf-8"))
    models: list[dict[str, Any]] = []
    for card in cards:
        models.append(scanned(options.models, card))
        print(json.dumps(models[-1]), flush=True)
    bad = [one for one in models if one["backdoored"]]
    content = {
        "found, right target": rate([one["target"] in one["targets"] for one in bad]),
        "right class on top": rate([one["target"] == one["top"] for one in bad]),
        "false alarms": rate([one["verdict"] == "backdoored" for one in models if not one["backdoored"]]),
        "models": models,
        "environment": environment(),
    }
    print({key: value for key, value in content.items() if key not in ("models", "environment")})
    if options.out is not None:
        options.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
