"""Statistics of the study zoo under several search settings, one JSON line a model and setting.

    python -m benchmarks.study.measure ZOO OUT.jsonl [--settings fast,l2-small,...] [--most-classes 62]

With "fast" go the universal gains that the joint null needs. What is measured is kept in
ZOO/results.sqlite, so a run can be killed and continued; the lines are written at its end.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mmbd.base.errors import NotEvaluable
from mmbd.formats.load import load
from mmbd.results.store import NAME, Key, Store
from mmbd.search.maximum_margins import maximum_margins
from mmbd.search.universal_data_free import universal_gains
from mmbd.zoo.cards import ENOUGH
from mmbd.zoo.own import cards_in

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


def usable(card: Mapping[str, Any]) -> bool:
    """Trained to some use; and if it was attacked, the attack works (ASR >= 80 %)."""
    learned = card["train_accuracy"] >= min(0.5, 5 / len(card["class_names"]))
    return learned and (card["asr"] is None or card["asr"] >= ENOUGH)


def brief(card: Mapping[str, Any]) -> dict[str, Any]:
    """What the analyses need to know of a model."""
    return {
        "number": card["seed"],
        "source": card["data"],
        "arch": card["arch"],
        "classes": len(card["class_names"]),
        "accuracy": round(card["accuracy"], 3),
        "train_accuracy": round(card["train_accuracy"], 3),
        "attack": None if card["label"] == "clean" else card["attack"],
        "sources": card["sources"],
        "target": card["targets"][0] if card["targets"] else None,
        "asr": card["asr"],
    }


def measured(zoo: Path, card: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The statistics of one model under one setting; raises NotEvaluable where there are none."""
    classifier = load(zoo / card["file"]).classifier
    found = maximum_margins(classifier, **SETTINGS[name])
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
    return entry


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("zoo", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--settings", default="fast")
    parser.add_argument("--most-classes", type=int, default=200)
    parser.add_argument("--parity", type=int, choices=(0, 1))
    options = parser.parse_args()
    torch.set_num_threads(1)
    store, lines = Store(options.zoo / NAME), []
    for card in sorted(cards_in(options.zoo).values(), key=lambda card: card["seed"]):
        if not usable(card) or len(card["class_names"]) > options.most_classes:
            continue
        if options.parity is not None and card["seed"] % 2 != options.parity:
            continue
        for name in options.settings.split(","):
            key = Key(card["sha256"], "", "study statistics", 1, json.dumps(SETTINGS[name], sort_keys=True))
            if (kept := store.get(key)) is None:
                try:
                    entry = measured(options.zoo, card, name)
                except NotEvaluable as error:
                    print(card["name"], name, error)
                    continue
                print(store.put(key, json.dumps(entry)) or card["name"], flush=True)
            else:
                entry = json.loads(kept.value)
            lines.append(json.dumps(entry) + "\n")
    options.out.write_text("".join(lines))


if __name__ == "__main__":
    main()
