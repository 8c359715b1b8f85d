"""Statistics of the study zoo under several search settings, one JSON line a model and setting.

    python benchmarks/study/measure.py ZOO OUT.jsonl [--settings fast,l2-20,...] [--most-classes 62]

With "fast" go the universal gains that the joint null needs. Lines that are there already are
skipped, so a run can be killed and continued.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from mmbd.base.errors import NotEvaluable
from mmbd.formats.load import load
from mmbd.search.maximum_margins import maximum_margins
from mmbd.search.universal_data_free import universal_gains

# What was compared before `ascent.FAST` was chosen; sizes are in extents an element.
SETTINGS: dict[str, dict[str, Any]] = {
    "fast": {},
    "l2-constant": {"momentum": 0.0, "final_size": 1.0},
    "l2-small": {"momentum": 0.0, "size": 0.02, "final_size": 1.0},
    "l2-large": {"momentum": 0.0, "size": 0.1},
    "l2-5-steps": {"steps": 5},
    "l2-10-steps": {"steps": 10},
    "l2-40-steps": {"steps": 40},
    "l2-2-restarts": {"restarts": 2},
    "l2-8-restarts": {"restarts": 8},
    "sign": {"rule": "sign", "momentum": 0.0},
    "sign-momentum": {"rule": "sign", "size": 0.1, "final_size": 0.05},
    "sign-small": {"rule": "sign", "momentum": 0.0, "size": 0.02, "final_size": 1.0},
    "paper": {"method": "paper"},
}


def usable(card: dict[str, Any]) -> bool:
    """Trained to some use; and if it was attacked, the attack works (ASR >= 80 %)."""
    if "failed" in card:
        return False
    chance = 1 / card["classes"]
    learned = card["train_accuracy"] >= min(0.5, 5 * chance)
    return learned and (card["attack"] is None or card["asr"] >= 0.8)


def brief(card: dict[str, Any]) -> dict[str, Any]:
    """What the analyses need to know of a model."""
    attack = card["attack"] or {}
    return {
        "number": card["number"],
        "source": card["source"],
        "arch": card["arch"],
        "classes": card["classes"],
        "accuracy": round(card["accuracy"], 3),
        "train_accuracy": round(card["train_accuracy"], 3),
        "attack": attack.get("kind"),
        "sources": attack.get("sources"),
        "target": card.get("target"),
        "asr": card.get("asr"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("zoo", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--settings", default="fast")
    parser.add_argument("--most-classes", type=int, default=200)
    parser.add_argument("--parity", type=int, choices=(0, 1))
    options = parser.parse_args()
    torch.set_num_threads(1)
    done = set()
    if options.out.exists():
        for line in options.out.read_text().splitlines():
            entry = json.loads(line)
            done.add((entry["number"], entry["settings"]))
    cards = [json.loads(path.read_text()) for path in sorted(options.zoo.glob("[0-9]*.json"))]
    for card in cards:
        number = card["number"]
        if not usable(card) or card["classes"] > options.most_classes:
            continue
        if options.parity is not None and number % 2 != options.parity:
            continue
        for name in options.settings.split(","):
            if (number, name) in done:
                continue
            classifier = load(options.zoo / f"{number:04}.safetensors").classifier
            try:
                found = maximum_margins(classifier, **SETTINGS[name])
            except NotEvaluable as error:
                print(number, name, error)
                continue
            entry = brief(card) | {
                "settings": name,
                "evaluations": found.evaluations,
                "seconds": round(found.seconds, 3),
                "statistics": [round(value, 4) for value in found.statistics.tolist()],
            }
            if name == "fast":
                gained = universal_gains(classifier)
                for kind, gains in (("faint", gained.added), ("sparse", gained.sparse)):
                    entry[kind] = [round(gain, 4) for gain in gains.tolist()]
            with options.out.open("a") as file:
                file.write(json.dumps(entry) + "\n")


if __name__ == "__main__":
    main()
