"""Every mitigator over the models of a plan: accuracy and attack success before and after.

Rows are kept in one file beside the models, ZOO/PLAN-mitigations.sqlite; what is there is not done
again, so a run can be killed and continued. Half of the test set, 500 images a class, is the defender's; the
figures are on the other half, with the trigger on all samples of the source classes for the ASR.
All methods run in one process with one thread, so their seconds compare.

    python -m benchmarks.paper.mitigations DATA ZOO [--plan classical] [--half odd] [--methods ...]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.paper.common import pick
from mmbd.base.seeds import generator_for
from mmbd.data.dataset import Dataset, split
from mmbd.data.read import GENERATED
from mmbd.formats.load import load
from mmbd.model.classifier import Classifier
from mmbd.results.store import Key, Store
from mmbd.triggers import files
from mmbd.triggers.backdoor import Backdoor
from mmbd.workflows import repair as fixing
from mmbd.zoo import samples
from mmbd.zoo.job import DataPlan
from mmbd.zoo.own import cards_in

# Clean images a class: Table 3's.
IMAGES = {
    "auto": 20,
    "mm-bm": 20,
    "mm-bm-paper": 20,
    "mm-bm-script": 20,
    "hardening": 20,
    "mm-bm-fine-pruning": 500,
    "unlearning": 500,
    "fine-pruning": 500,
    "distillation": 250,
}
EVALUATED = 5000
VERSION = 1  # of how rows are measured, and of the methods: raise it to have all measured again
CLOUDS = 80  # a class, where a plan has its clouds generated


def measured(
    folder: Path,
    root: Path,
    methods: Iterable[str],
    *,
    half: str | None = None,
    images: int | None = None,
    attacks: Sequence[str] | None = None,
    sets: Sequence[str] | None = None,
    only_made: bool = False,
) -> list[dict[str, Any]]:
    """One row for every backdoored model that counts and every method.

    `half` keeps even or odd seeds, `attacks` and `sets` some ensembles and data sets; `images` is
    the number of clean images a class, Table 3's by default; `only_made` does no work.
    """
    torch.set_num_threads(1)
    halves: dict[str, tuple[Dataset, Dataset]] = {}
    store = Store(folder.with_name(f"{folder.name}-mitigations.sqlite"))
    rows: list[dict[str, Any]] = []
    for name, card in sorted(cards_in(folder).items()):
        if half is not None and card["seed"] % 2 != (half == "odd"):
            continue
        if not counts(card) or (attacks is not None and card["attack"] not in attacks):
            continue
        if sets is not None and card["data"] not in sets:
            continue
        for method in methods:
            wanted = images or IMAGES[method]
            # The data set of the card, not its halves: what is there is found without reading them.
            settings = json.dumps({"images a class": wanted})
            key = Key(card["sha256"], card["digests"]["test"], method, VERSION, settings, seed=card["seed"])
            if (kept := store.get(key)) is not None:
                rows.append(json.loads(kept.value))
            elif not only_made:
                kind = card["data"]
                if kind not in halves:
                    halves[kind] = defended(card["settings"]["data"], root)
                rows.append(row := one(folder, card, halves[kind], method, wanted))
                said = f"ACC {row['accuracy']} ASR {row['attack_success']} {row['seconds']:.0f} s"
                print(f"{name} {method}: {store.put(key, json.dumps(row)) or said}", flush=True)
    return rows


def counts(card: dict[str, Any] | Any) -> bool:
    """Whether a model's backdoor works."""
    return bool(card["targets"]) and card["asr"] is not None and card["asr"] >= 0.8


def working(folder: Path, attack: str) -> Any:
    """The card of the first model of CIFAR-10 with this attack whose backdoor works."""
    return pick(
        cards_in(folder).values(),
        f"a CIFAR-10 classifier with {attack}",
        lambda card: counts(card) and (card["attack"], card["data"]) == (attack, "cifar10"),
    )


def defended(source: dict[str, Any], root: Path) -> tuple[Dataset, Dataset]:
    """The defender's half of a card's test set, and the half for measuring."""
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in source.items()}
    plan = replace(DataPlan(**given), test_limit=None)
    if plan.test.startswith(GENERATED):  # as many as one likes
        plan = replace(plan, test=f"{GENERATED}{CLOUDS}")
    test = samples.load(plan, root).test
    order = torch.randperm(len(test), generator=generator_for("mitigation halves"))
    middle = len(test) // 2
    return test.take(order[:middle]), test.take(order[middle:][:EVALUATED])


def one(
    folder: Path, card: Any, halves: tuple[Dataset, Dataset], method: str, images: int, **options: Any
) -> dict[str, Any]:
    """Repair one model and measure."""
    classifier: Classifier = load(folder / card["file"]).classifier
    backdoor: Backdoor = files.load(folder / card["trigger_file"])
    given, held_out = halves
    learn, _ = split(given, images, seed=card["seed"])
    if method == "unlearning":  # the true trigger stands in for Neural Cleanse's
        options = {"trigger": next(iter(backdoor.triggers.values())), **options}
    _, outcome = fixing.fix(
        classifier, learn, held_out, method=method, backdoor=backdoor, seed=card["seed"], options=options
    )
    record = outcome.record
    return {
        "model": card["name"],
        "data": card["data"],
        "arch": card["arch"],
        "attack": card["attack"],
        "seed": card["seed"],
        "method": method,
        "images_a_class": images,
        "samples": record.samples,
        "held_out": outcome.held_out,
        "triggered": outcome.triggered,
        "accuracy": outcome.accuracy,
        "attack_success": outcome.attack_success,
        "untriggered": outcome.untriggered,
        "fidelity": outcome.fidelity,
        "seconds": record.seconds,
        "mitigated": record.mitigated,
        "reason": record.reason,
        "perturbations": list(record.perturbations),
        "chosen": record.settings.get("chosen"),
        "notes": list(record.notes),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--plan", default="classical")
    parser.add_argument("--scale", choices=("small", "paper"), default="small")
    parser.add_argument("--half", choices=("even", "odd"))
    parser.add_argument("--methods", nargs="+", default=list(IMAGES))
    parser.add_argument("--attacks", nargs="+", help="only these ensembles")
    parser.add_argument("--images", type=int, help="clean images a class, instead of Table 3's")
    given = parser.parse_args()
    folder = given.zoo / f"{given.plan}-{given.scale}"
    measured(folder, given.data, given.methods, half=given.half, images=given.images, attacks=given.attacks)


if __name__ == "__main__":
    main()
