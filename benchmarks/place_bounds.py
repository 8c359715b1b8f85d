"""What bounds by place leave of an attack, beside bounds by channel.

    python -m benchmarks.place_bounds ZOO DATA [--half odd] [--names NAME,NAME] [--out FILE.json]

ZOO is a folder of models with their cards, such as `mmbd zoo make benchmarks/paper/plans/corners.toml` makes,
and DATA what its plan was made from. 20 images of every class of one half of the test set repair, up to 1,500
of the other half measure. Attacks that work on less than 80 % do not count.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.paper.mitigations import Case, counts, defended, opened, rates
from mmbd.base.environment import environment
from mmbd.data.dataset import split
from mmbd.mitigators import mm_bm
from mmbd.model.samples import prepare
from mmbd.zoo.own import cards_in

IMAGES, MOST = 20, 1500


def measured(case: Case, seed: int, places: str) -> dict[str, Any]:
    """One repair: attack success and accuracy before and after, on images that it did not see."""
    held = case.held_out.take(torch.arange(min(MOST, len(case.held_out))))
    learn, _ = split(case.given, IMAGES, seed=seed)
    samples = prepare(case.classifier, learn.inputs, learn.labels, fewest=1)
    start = time.process_time()
    repaired, record = mm_bm(case.classifier, samples, places=places, seed=seed)
    seconds = time.process_time() - start
    before, after = (rates(network, case.backdoor, held) for network in (case.classifier, repaired))
    return {
        "places": places,
        "images": len(held),
        "attack_success": [round(before.attack_success, 4), round(after.attack_success, 4)],
        "untriggered": round(after.untriggered, 4),
        "accuracy": [round(before.accuracy, 4), round(after.accuracy, 4)],
        "by_place": record.settings["by_place"],
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("zoo", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--half", choices=("even", "odd"), help="of the seeds; both by default")
    parser.add_argument("--names", help="models, with commas between; all by default")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = None if given.names is None else given.names.split(",")
    rows: list[dict[str, Any]] = []
    for name, card in sorted(cards_in(given.zoo).items()):
        if not counts(card) or (names is not None and name not in names):
            continue
        if given.half is not None and card["seed"] % 2 != (given.half == "odd"):
            continue
        case = opened(given.zoo, card, defended(card["settings"]["data"], given.data))
        for places in ("channel", "auto"):
            rows.append({"model": name} | measured(case, card["seed"], places))
            print(json.dumps(rows[-1]), flush=True)
    if given.out is not None:
        given.out.write_text(json.dumps({"rows": rows, "environment": environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
