"""How many clean samples one flow takes to one class, on every model of the plans.

What the automatic mitigation tells a warp by (`mmbd.mitigators.automatic`): a flow, found with 20
clean images a class, that takes a large share of the other classes' samples to its class. See
`common.py` for the command line; the models of `classical`, `advanced` and `wanet` are looked at.
"""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.paper.common import models, options, share, show
from benchmarks.paper.mitigations import counts, defended
from mmbd.data.dataset import split
from mmbd.formats.load import load
from mmbd.mitigators.automatic import easiest_flow
from mmbd.mitigators.still_working import FLOW_WORKS
from mmbd.model.samples import prepare
from mmbd.zoo.own import cards_in

PLANS = ("classical", "advanced", "wanet")
IMAGES = 20
HEADINGS = ("attack", "n", "least share", "largest share", f"at least {FLOW_WORKS:.0%}", "to the target")


def main() -> None:
    chosen = options(__doc__)
    torch.set_num_threads(1)
    found: dict[str, list[tuple[float, bool]]] = {}
    given: dict[str, Any] = {}
    for plan in PLANS:
        folder = models(chosen, plan)
        for name, card in sorted(cards_in(folder).items()):
            if chosen.half and card["seed"] % 2 != (chosen.half == "odd"):
                continue
            if card["targets"] and not counts(card):
                continue
            classifier = load(folder / card["file"]).classifier
            if card["data"] not in given:
                given[card["data"]] = defended(card["settings"]["data"], chosen.data)[0]
            learn, _ = split(given[card["data"]], IMAGES, seed=card["seed"])
            samples = prepare(classifier, learn.inputs, learn.labels)
            flow = easiest_flow(classifier, samples, card["seed"])
            if flow is None:
                continue
            with classifier.frozen():
                taken = float(flow.rates(classifier, samples))
            target = int(flow.targets)
            print(f"{name}: {taken:.0%} to {target}, target {card['targets']}", flush=True)
            kind = card["attack"].removesuffix("-M").removesuffix("-S")
            found.setdefault(kind, []).append((taken, target in card["targets"]))
    rows = [
        (
            kind,
            len(seen),
            min(taken for taken, _ in seen),
            max(taken for taken, _ in seen),
            share([taken >= FLOW_WORKS for taken, _ in seen]),
            None if kind == "clean" else share([right for _, right in seen]),
        )
        for kind, seen in sorted(found.items())
    ]
    show("Flows that take clean samples to one class", HEADINGS, rows, chosen)


if __name__ == "__main__":
    main()
