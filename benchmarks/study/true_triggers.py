"""What the true trigger of an attacked network does to made-up inputs; one JSON line a network.

    python -m benchmarks.study.true_triggers OUT.jsonl ZOO [ZOO ...] [--inputs 60]
    python -m benchmarks.study.true_triggers OUT.jsonl --report

No search can find a trigger on inputs that it does not move. So this is the most that a search from the model
alone can see: the share of the inputs of source classes that the attack's own trigger takes to where the
attack wants them, by kind of made-up inputs: `firm` ones as the default scan has them, `inside` ones, which
have only just come into their class, `smooth` ones, and `scenes`. Only attacks that work on at least 80 %
count. What is in OUT is left, so a run can be killed and continued. Nothing is chosen here; even and odd
seeds are shown together.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.study.measure import brief, usable
from mmbd.base.errors import NotEvaluable
from mmbd.formats.load import load
from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of
from mmbd.search.made_up import made_up
from mmbd.triggers import files
from mmbd.triggers.backdoor import Backdoor
from mmbd.triggers.trigger import stamp
from mmbd.zoo.own import cards_in

KINDS: dict[str, tuple[str, dict[str, int]]] = {
    "firm": ("firm", {}),
    "inside": ("firm", {"further": 0}),
    "smooth": ("smooth", {}),
    "scenes": ("scenes", {}),
}
HALF = 0.5


def taken(classifier: Classifier, backdoor: Backdoor, inputs: int) -> dict[str, Any]:
    """By kind of inputs: of how many inputs of source classes how many the trigger takes to its target."""
    found: dict[str, Any] = {}
    with classifier.frozen():
        for name, (kind, settings) in KINDS.items():
            try:
                samples = made_up(kind, classifier, inputs, seed=0, **settings).samples
            except NotEvaluable as error:
                found[name] = {"reason": str(error)}
                continue
            tried = hits = left = 0
            for source, trigger in backdoor.triggers.items():
                own = samples.inputs[samples.labels == source]
                if not len(own):
                    continue
                answers = logits_of(classifier, stamp(trigger, own)).argmax(1)
                tried += len(own)
                left += int((answers != source).sum())
                hits += int((answers == backdoor.targets[source]).sum())
            found[name] = {"inputs": tried, "left": left, "hits": hits}
    return found


def measured(zoo: Path, card: Mapping[str, Any], inputs: int) -> dict[str, Any]:
    """One network."""
    file = zoo / card["file"]
    backdoor = files.load(file.with_name(f"{file.stem}.trigger.safetensors"))
    about = {"zoo": zoo.name, "name": card["name"], **brief(card)}
    return about | taken(load(file).classifier, backdoor, inputs)


def report(rows: list[dict[str, Any]]) -> str:
    """A line an attack: the usual share by kind, and how many networks have half of the inputs moved so."""
    by_attack: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_attack[row["attack"]].append(row)
    lines = [
        "| attack | networks | " + " | ".join(KINDS) + " | half of any kind |",
        "|---" * (3 + len(KINDS)) + "|",
    ]
    for attack, some in sorted(by_attack.items()):
        shares = [{kind: share(row, kind) for kind in KINDS} for row in some]
        usual = [f"{median(one[kind] for one in shares):.2f}" for kind in KINDS]
        many = sum(max(one.values()) >= HALF for one in shares)
        lines.append(f"| {attack} | {len(some)} | {' | '.join(usual)} | {many}/{len(some)} |")
    return "\n".join(lines)


def share(row: Mapping[str, Any], kind: str) -> float:
    """The share that goes to the target; 0 where there are no such inputs of a source class."""
    found = row[kind]
    return found["hits"] / found["inputs"] if found.get("inputs") else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("zoos", type=Path, nargs="*")
    parser.add_argument("--inputs", type=int, default=60, help="of each kind")
    parser.add_argument("--report", action="store_true", help="print a table of what is in OUT")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    if options.report:
        print(report(rows))
        return
    have = {(row["zoo"], row["name"]) for row in rows}
    with options.out.open("a") as out:
        for zoo in options.zoos:
            for card in sorted(cards_in(zoo).values(), key=lambda card: (card["attack"] or "", card["seed"])):
                if card["label"] == "clean" or not usable(card) or (zoo.name, card["name"]) in have:
                    continue
                out.write(json.dumps(measured(zoo, card, options.inputs)) + "\n")
                out.flush()


if __name__ == "__main__":
    main()
