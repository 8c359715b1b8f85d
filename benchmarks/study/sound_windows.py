"""What a short stretch of a recording does in clean and attacked networks for sounds; a JSON line each.

    python -m benchmarks.study.sound_windows OUT.jsonl ZOO [--odd] [--report OUT.json]

One window of 60 samples to each class, raced over positions on quiet scenes (`mmbd.search.scenes` at a
fiftieth to a fifth of their loudness: at that, and not at full loudness, a true trigger takes them as it
takes recordings). Then how loud it has to be, as a share of the full range, for 60 % of other scenes, or of
clean recordings of other classes, to go to the class; and how alike the shift of the last features is at
that loudness to the difference between recordings of the class and the others. Networks of even numbers,
which choose; with --odd those that report. A network that is in OUT already is left.

The report tells how often the target is on top, and the AUC of how far the top class is ahead, for these
numbers alone and for each class beside the same one of the other clean networks for the same words.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.study.measure import brief, usable
from mmbd.data.dataset import Dataset
from mmbd.evaluation.metrics import auc, auc_interval
from mmbd.formats.options import LoadOptions
from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of
from mmbd.model.head import Head, find
from mmbd.model.samples import Samples
from mmbd.search.scenes import noises
from mmbd.search.windows import Race, Round, race
from mmbd.zoo import own
from mmbd.zoo.own import cards_in

LENGTH = 60
LOUDNESS = (0.02, 0.05, 0.1, 0.2)
SCENES = 24  # that are searched on, and as many that are counted
EACH = 5  # recordings of a class
ENOUGH = 0.6  # of the inputs
SIZES = (0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.75, 1.0)
ROUNDS = (Round(2, 1, rows=0.06, aims=1.0), Round(6, 2, aims=1.0), Round(12, 4, aims=1.0))
MISSED = -99.0  # of an attacked network with another class on top
MADE_UP, RECORDED, UNLIKE = "made-up inputs", "recordings", "recordings, unlike the class"


def of_model(classifier: Classifier, recordings: Dataset) -> dict[str, Any]:
    """For each class how easily a window takes inputs there, and how like the class these become."""
    drawn = noises(classifier.domain, 0, range(2 * SCENES)).tensor_split(len(LOUDNESS))
    quiet = torch.cat([part * loud for part, loud in zip(drawn, LOUDNESS, strict=True)])
    used, counted = quiet[::2], quiet[1::2]
    chosen = [(recordings.labels == label).nonzero()[:EACH, 0] for label in range(classifier.classes)]
    places = torch.cat(chosen)
    inputs, labels = recordings.inputs[places], recordings.labels[places]
    with classifier.frozen():
        logits = logits_of(classifier, used)
        samples = Samples(used, logits.argmax(1), logits, own=True)
        aims = range(classifier.classes)
        found = race(classifier, samples, aims=aims, seed=0, side=LENGTH, rounds=ROUNDS, leading=len(aims))
        head, rows = find(classifier), []
        before = logits_of(classifier, counted).argmax(1)
        for label in aims:
            scenes, _ = smallest(classifier, found, label, counted[before != label])
            size, moved = smallest(classifier, found, label, inputs[labels != label])
            rows.append([scenes, size, _likeness(classifier, head, inputs, labels, label, moved)])
    return {"sizes": rows, "evaluations": found.evaluations}


def smallest(classifier: Classifier, found: Race, label: int, inputs: Tensor) -> tuple[float | None, Tensor]:
    """The smallest size at which the window takes enough inputs to the class, and the inputs with it.

    None, and the inputs with the whole window, where it never does.
    """
    window, moved = found.found[label], inputs
    which = torch.full((len(inputs),), window.place)
    for size in SIZES:
        moved = found.windows.stamped(inputs, which, (size * window.values).expand(len(inputs), -1, -1))
        if float((logits_of(classifier, moved).argmax(1) == label).float().mean()) >= ENOUGH:
            return size, moved
    return None, moved


def _likeness(
    classifier: Classifier, head: Head, inputs: Tensor, labels: Tensor, label: int, moved: Tensor
) -> float:
    """The cosine between what the window does to the last features and what the class differs by."""
    others, own_ = (head.features(classifier, inputs[which]) for which in (labels != label, labels == label))
    shift = head.features(classifier, moved).mean(0) - others.mean(0)
    return round(float(F.cosine_similarity(shift, own_.mean(0) - others.mean(0), dim=0)), 3)


def numbers(entry: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """By what is asked, and the name of the class: minus the logarithm of the smallest size."""

    def ease(size: float | None) -> float:
        return 0.0 if size is None else -math.log(size)

    rows = dict(zip(entry["names"], entry["sizes"], strict=True))
    return {
        MADE_UP: {name: ease(scenes) for name, (scenes, _, _) in rows.items()},
        RECORDED: {name: ease(size) for name, (_, size, _) in rows.items()},
        UNLIKE: {name: ease(size) * (1 - like) for name, (_, size, like) in rows.items()},
    }


def beside(entry: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], what: str) -> dict[str, float]:
    """By how much each class's number is above its mean in the other clean networks for the same words."""
    alike = [
        numbers(other)[what]
        for other in entries
        if other["attack"] is None and other["source"] == entry["source"] and other["name"] != entry["name"]
    ]
    found: dict[str, float] = {}
    for name, value in numbers(entry)[what].items():
        theirs = [one[name] for one in alike if name in one]
        found[name] = value - float(np.mean(theirs)) if theirs else 0.0
    return found


def told(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How often the target is on top, and the AUC; with another class on top an attacked one is a miss."""
    found: dict[str, Any] = {}
    for what in (MADE_UP, RECORDED, UNLIKE):
        for by_class in (False, True):
            bad: list[float] = []
            clean: list[float] = []
            for entry in entries:
                values = beside(entry, entries, what) if by_class else numbers(entry)[what]
                first, second, *_ = sorted(values, key=lambda name: -values[name])
                ahead = values[first] - values[second]
                if entry["attack"] is None:
                    clean.append(ahead)
                else:
                    bad.append(ahead if first == entry["names"][entry["target"]] else MISSED)
            value = auc(bad, clean)
            low, high = auc_interval(value, len(bad), len(clean))
            found[f"{what}{', by class' if by_class else ''}"] = {
                "target on top": f"{sum(one > MISSED for one in bad)}/{len(bad)}",
                "clean networks": len(clean),
                "AUC": f"{value:.2f} ({low:.2f}-{high:.2f})",
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--odd", action="store_true", help="the networks that report")
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    entries = [json.loads(line) for line in lines]
    opened = {entry.name: entry for entry in own.read(options.zoo, LoadOptions()).entries}
    cards = [card for card in cards_in(options.zoo).values() if card["arch"] == "m5" and usable(card)]
    for card in sorted(cards, key=lambda card: (card["label"] == "clean", card["seed"])):
        known = {entry["name"] for entry in entries}
        samples = opened[card["name"]].samples
        if card["seed"] % 2 != options.odd or card["name"] in known or samples is None:
            continue
        found = of_model(opened[card["name"]].open(), samples())
        entry = {"name": card["name"], "names": card["class_names"], **brief(card), **found}
        entries.append(entry)
        with options.out.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        print(card["name"], flush=True)
    figures = {"half": "odd" if options.odd else "even", "torch": torch.__version__, **told(entries)}
    print(json.dumps(figures, indent=1))
    if options.report:
        options.report.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
