"""Repairs of checkpoints that other people published, whose triggers are white squares in a corner.

    python -m benchmarks.strangers_repaired MODELS DATA [--method auto] [--out FILE.json]

MODELS is the folder with models.json and the files, DATA one with CIFAR-10 as the hub's Parquet files. MNIST
is not at hand: scikit-learn's digits, enlarged and shifted, stand in for it, which these networks get right
less often. 20 images of every class repair, others measure. No setting is chosen by these models.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mmbd
from benchmarks.strangers import loaded_from
from benchmarks.study.sources import digits
from mmbd.base.environment import environment
from mmbd.data import read
from mmbd.data.dataset import Dataset, split
from mmbd.model.forward import classes_of

# Where the white square begins, and its side.
SQUARES: dict[str, tuple[int, int]] = {
    "ibau-badnets_8": (27, 4),
    "verazuo-cifar": (27, 5),
    "verazuo-mnist": (23, 5),
    "longph-mnist2": (0, 3),
    "longph-badnet": (0, 3),
}
MOST = 2000  # images that measure


def stamped(images: Tensor, square: tuple[int, int]) -> Tensor:
    """Images (n, channels, height, width) in [0, 1] with the white square on the diagonal."""
    start, side = square
    found = images.clone()
    found[:, :, start : start + side, start : start + side] = 1.0
    return found


def repaired(folder: Path, card: dict[str, Any], samples: Dataset, method: str) -> dict[str, Any]:
    """What a repair of one of them does, and what is said of it with and without its trigger."""
    classifier = loaded_from(folder, card).classifier
    given, rest = split(samples, 20, seed=0)
    held = rest.take(torch.arange(min(MOST, len(rest))))
    images = held.inputs.float() / 255
    attacked = stamped(images[held.labels != card["target"]], SQUARES[card["name"]])
    before = float((classes_of(classifier, attacked) == card["target"]).double().mean())
    start = time.process_time()
    network, record = mmbd.fix(classifier, given, held, method=method)
    spent = time.process_time() - start
    after = float((classes_of(network, attacked) == card["target"]).double().mean())
    accuracy = None if record.accuracy is None else [round(one, 4) for one in record.accuracy]
    return {
        "name": card["name"],
        "method": method,
        "chosen": record.record.settings.get("chosen"),
        "attack_success": [round(before, 4), round(after, 4)],
        "accuracy": accuracy,
        "images": len(held),
        "verdict without the trigger": record.verdict.word,
        "because": list(record.verdict.because),
        "seconds": round(spent, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--method", default="auto")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cards = json.loads((options.models / "models.json").read_text(encoding="utf-8"))
    sets = {3: read.load(options.data / "cifar10" / "test.parquet"), 1: digits()[0]}
    models: list[dict[str, Any]] = []
    for card in cards:
        if card["name"] in SQUARES:
            models.append(repaired(options.models, card, sets[card["input"][0]], options.method))
            print(json.dumps(models[-1]), flush=True)
    if options.out is not None:
        content = {"models": models, "environment": environment()}
        options.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
