"""Every mitigator over the models of a plan: accuracy and attack success before and after.

Rows are kept in one file beside the models, ZOO/PLAN-mitigations.sqlite; what is there is not done
again, so a run can be killed and continued. Half of the test set, 500 images a class, is the defender's; the
figures are on the other half, with the trigger on all samples of the source classes for the ASR.
All methods run in one process with one thread, and the processor's seconds count, so they compare.

`nc-m` is the paper's: the trigger that Neural Cleanse finds for the true target, whether or not it
flags it, is unlearned. `unlearning` is given the true trigger instead.

    python -m benchmarks.paper.mitigations DATA ZOO [--plan rivals] [--half odd] [--methods ...]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mmbd
from benchmarks.paper.cleansing import Found, cleansed
from benchmarks.paper.common import pick
from mmbd.base.seeds import generator_for
from mmbd.data.dataset import Dataset, split
from mmbd.data.read import GENERATED
from mmbd.formats.load import load
from mmbd.mitigators.mitigator import Mitigation, Record
from mmbd.model.classifier import Classifier
from mmbd.model.forward import classes_of
from mmbd.results.store import Key, Store
from mmbd.triggers import files
from mmbd.triggers.backdoor import Backdoor
from mmbd.workflows.repaired import fidelity as fidelity_of
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
    "nc-m": 500,
    "unlearning": 500,
    "fine-pruning": 500,
    "distillation": 250,
}
EVALUATED = 5000
VERSION = 3  # of how rows are measured, and of the methods: raise it to have all measured again
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
    seeds: Sequence[int] | None = None,
    only_made: bool = False,
) -> list[dict[str, Any]]:
    """One row for every backdoored model that counts and every method.

    `half` keeps even or odd seeds, `attacks`, `sets` and `seeds` some ensembles, data sets and seeds;
    `images` is the number of clean images a class, Table 3's by default; `only_made` does no work.
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
        if seeds is not None and card["seed"] not in seeds:
            continue
        case = None
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
                case = case or opened(folder, card, halves[kind])
                rows.append(row := one(case, method, wanted))
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


@dataclass(frozen=True)
class Rates:
    """What a network does with the held-out samples: each share from 0 to 1.

    `untriggered` is how many of the source classes' samples go to their target without a trigger.
    """

    accuracy: float
    attack_success: float
    untriggered: float


@dataclass(frozen=True)
class Case:
    """A model, its backdoor, the defender's half of the samples and the other, and its rates."""

    card: Any
    classifier: Classifier
    backdoor: Backdoor
    given: Dataset
    held_out: Dataset
    before: Rates


def opened(folder: Path, card: Any, halves: tuple[Dataset, Dataset]) -> Case:
    """The model of a card, ready to be repaired and measured."""
    classifier: Classifier = load(folder / card["file"]).classifier
    backdoor: Backdoor = files.load(folder / card["trigger_file"])
    return Case(card, classifier, backdoor, *halves, before=rates(classifier, backdoor, halves[1]))


def rates(network: Classifier, backdoor: Backdoor, held_out: Dataset) -> Rates:
    """Measure a network."""
    answers = classes_of(network, held_out.inputs)
    targets = torch.full((len(held_out.names),), -1)
    for source in backdoor.triggers:
        targets[source] = backdoor.targets[source]
    wanted = targets[held_out.labels]
    return Rates(
        share(answers == held_out.labels),
        backdoor.success(partial(classes_of, network), held_out),
        share((answers == wanted)[wanted >= 0]),
    )


def share(hits: Tensor) -> float:
    return float(hits.double().mean())


def one(case: Case, method: str, images: int) -> dict[str, Any]:
    """Repair one model and measure."""
    card, seed = case.card, case.card["seed"]
    learn, _ = split(case.given, images, seed=seed)
    started = time.process_time()
    found = cleansed(case.classifier, learn, card["targets"][0], seed) if method == "nc-m" else None
    ready = time.process_time()
    repaired, record = _repaired(case, learn, method, found)
    ended = time.process_time()
    before = case.before
    after = rates(repaired, case.backdoor, case.held_out) if record.changed else before
    accuracy = before.accuracy, after.accuracy
    success = before.attack_success, after.attack_success
    fidelity = fidelity_of(success, accuracy)
    return {
        "model": card["name"],
        "data": card["data"],
        "arch": card["arch"],
        "attack": card["attack"],
        "seed": seed,
        "method": method,
        "images_a_class": images,
        "samples": record.samples,
        "held_out": len(case.held_out),
        "accuracy": accuracy,
        "attack_success": success,
        "untriggered": (before.untriggered, after.untriggered),
        "fidelity": fidelity,
        "seconds": ended - ready,
        "seconds_of_finding": ready - started,
        "wall": record.seconds,
        "found": found and found.said,
        "mitigated": record.changed,
        "reason": record.reason,
        "perturbations": list(record.perturbations),
        "chosen": record.settings.get("chosen"),
        "notes": list(record.notes),
    }


def _repaired(case: Case, learn: Dataset, method: str, found: Found | None) -> Mitigation:
    options: dict[str, Any] = {}
    if method == "unlearning":
        options["trigger"] = next(iter(case.backdoor.triggers.values()))
    elif method == "nc-m":
        if found is None or found.trigger is None:
            reason = "no mask and pattern took enough samples to the target"
            return Mitigation(case.classifier, Record(method, changed=False, reason=reason))
        method, options["trigger"] = "unlearning", found.trigger
    seed = case.card["seed"]
    return mmbd.mitigate(case.classifier, learn.inputs, learn.labels, method=method, seed=seed, **options)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--plan", default="rivals")
    parser.add_argument("--scale", choices=("small", "paper"), default="small")
    parser.add_argument("--half", choices=("even", "odd"))
    parser.add_argument("--methods", nargs="+", default=list(IMAGES))
    parser.add_argument("--attacks", nargs="+", help="only these ensembles")
    parser.add_argument("--seeds", nargs="+", type=int, help="only these seeds")
    parser.add_argument("--images", type=int, help="clean images a class, instead of Table 3's")
    given = parser.parse_args()
    folder = given.zoo / f"{given.plan}-{given.scale}"
    measured(
        folder,
        given.data,
        given.methods,
        half=given.half,
        images=given.images,
        attacks=given.attacks,
        seeds=given.seeds,
    )


if __name__ == "__main__":
    main()
