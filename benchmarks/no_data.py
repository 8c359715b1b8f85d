"""What bounds from drawn inputs alone leave of an attack, and cost, beside those from 20 clean images each.

    python -m benchmarks.no_data ZOO DATA [--names NAME,NAME] [--inputs drawn] [--out FILE.json]

ZOO is a folder of models with their cards, and DATA what its plan was made from. 500 images of one half of
the test set measure; with clean images, those of the other half repair, 20 a class. Attacks that work on less
than 80 % do not count; clean models do.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.paper.mitigations import counts, defended, rates
from mmbd.base.environment import environment
from mmbd.data.dataset import Dataset, split
from mmbd.formats.load import load
from mmbd.mitigators import mm_bm
from mmbd.model.forward import classes_of
from mmbd.model.samples import prepare
from mmbd.triggers import files
from mmbd.workflows.no_data import drawn
from mmbd.zoo.own import cards_in

MEASURED = 500


def measured(
    folder: Path, card: dict[str, Any], halves: tuple[Dataset, Dataset], inputs: str
) -> dict[str, Any]:
    """One repair: attack success and accuracy before and after."""
    classifier, seed = load(folder / card["file"]).classifier, card["seed"]
    held = halves[1].take(torch.arange(min(MEASURED, len(halves[1]))))
    start = time.process_time()
    if inputs == "drawn":
        samples = prepare(classifier, drawn(classifier, seed=seed)[0].inputs)
    else:
        learn, _ = split(halves[0], 20, seed=seed)
        samples = prepare(classifier, learn.inputs, learn.labels, fewest=1)
    repaired, record = mm_bm(classifier, samples, seed=seed)
    networks = (classifier, repaired)
    row: dict[str, Any] = {
        "inputs": inputs,
        "samples": len(samples.labels),
        "fewest of a class": int(samples.labels.bincount(minlength=classifier.classes).min()),
        "by_place": record.settings["by_place"],
        "seconds": round(time.process_time() - start, 1),
    }
    if card["targets"]:
        backdoor = files.load(folder / card["trigger_file"])
        found = [rates(network, backdoor, held) for network in networks]
        row["attack_success"] = [round(rate.attack_success, 4) for rate in found]
        row["untriggered"] = round(found[1].untriggered, 4)
        accuracy = [rate.accuracy for rate in found]
    else:
        accuracy = [
            float((classes_of(network, held.inputs) == held.labels).double().mean()) for network in networks
        ]
    return row | {"accuracy": [round(share, 4) for share in accuracy]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("zoo", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--names", help="models, with commas between, in their order; all by default")
    parser.add_argument("--inputs", choices=("drawn", "clean"), help="to repair with; both by default")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cards = cards_in(given.zoo)
    halves: dict[str, tuple[Dataset, Dataset]] = {}
    rows: list[dict[str, Any]] = []
    for name in sorted(cards) if given.names is None else given.names.split(","):
        card = dict(cards[name])
        if card["targets"] and not counts(card):
            continue
        if card["data"] not in halves:
            halves[card["data"]] = defended(card["settings"]["data"], given.data)
        for inputs in ("drawn", "clean") if given.inputs is None else (given.inputs,):
            rows.append({"model": name} | measured(given.zoo, card, halves[card["data"]], inputs))
            print(json.dumps(rows[-1]), flush=True)
    if given.out is not None:
        given.out.write_text(json.dumps({"rows": rows, "environment": environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
