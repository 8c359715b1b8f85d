"""Whether META finds what it was made for: backdoors drawn from its own jumbo distribution.

    python -m benchmarks.paper.jumbo STORE [--count 64] [--fresh 30] [--out FILE.json]

The data are scikit-learn's digits, enlarged to 28 x 28 (`benchmarks.study.sources`), and the networks
are perceptrons, trained for the paper's 100 epochs: so the task and most backdoors are learnt from a
thousand images (LeNets with the default of 30 epochs learn one backdoor in three). The defender's
shadow models, clean and with jumbo backdoors, are trained on a thousand digits; the networks that are
judged, from other seeds, once on the same digits, as shadow models are, and once on a thousand other
ones. Backdoors that work on less than 80 % of the digits count neither way. STORE is a SQLite file that
keeps all networks.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.paper.common import share
from benchmarks.study.sources import digits
from mmbd.data.dataset import Dataset
from mmbd.detectors.meta.classifier import Learning
from mmbd.detectors.meta.plan import RECIPE, bounds_of
from mmbd.detectors.meta.shadows import Shadows, train_shadows
from mmbd.detectors.meta.train import meta_of, plan_of
from mmbd.detectors.meta.trained import Meta
from mmbd.detectors.scan import scan
from mmbd.evaluation.metrics import auc
from mmbd.model.classifier import Classifier
from mmbd.results.store import Store

ARCH, SAMPLES, WORKS = "mlp", 1000, 0.8
LONG = replace(RECIPE, epochs=100, precision="float32")
DEFENDER, OTHERS, AGAIN = 0, 1, 2  # seeds


def halves() -> tuple[Dataset, Dataset]:
    """A thousand digits of the defender, and a thousand of those whose models are judged.

    Copies of one digit, which differ in their place alone, all fall to one side.
    """
    data, _ = digits()
    written = len(data) // 4  # there are four copies of each, one set after the other
    own = torch.randperm(written, generator=torch.Generator().manual_seed(0)) < written // 2
    mine, theirs = own.repeat(4).nonzero().flatten(), (~own).repeat(4).nonzero().flatten()
    drawn = torch.Generator().manual_seed(1)
    mine, theirs = (side[torch.randperm(len(side), generator=drawn)[:SAMPLES]] for side in (mine, theirs))
    return part(data, mine), part(data, theirs)


def part(data: Dataset, places: torch.Tensor) -> Dataset:
    """The samples at these places."""
    return Dataset(data.inputs[places], data.labels[places], data.names)


def judged(shadows: Shadows, meta: Meta) -> list[tuple[float | None, float, bool]]:
    """Of every model its ASR, its score and whether META flags it, by the detector's own row."""
    found: list[tuple[float | None, float, bool]] = []
    for model in shadows.models:
        network = shadows.plan.network(0)
        network.load_state_dict(model.state)
        shape = shadows.plan.input_shape
        classifier = Classifier(network.eval(), input_shape=shape, bounds=bounds_of(shape))
        report = scan(classifier, detector="meta", shadow_models=meta)
        found.append((model.asr, report.finding.score or 0.0, report.finding.verdict == "backdoored"))
    return found


def measured(store: Store, count: int, fresh: int, standardise: bool) -> list[dict[str, Any]]:
    """Train, judge networks of the defender's and of other samples, and sum up."""
    own, others = halves()
    shadows = train_shadows(own, plan_of(own, ARCH, recipe=LONG, seed=DEFENDER), count=count, store=store)
    meta = meta_of(shadows, own, Learning(standardise=standardise), seed=DEFENDER)
    rows: list[dict[str, Any]] = []
    for name, data, seed in (("the defender's", own, AGAIN), ("others", others, OTHERS)):
        plan = plan_of(data, ARCH, recipe=LONG, seed=seed)
        answers = judged(train_shadows(data, plan, count=fresh, store=store), meta)
        clean = [(score, flag) for asr, score, flag in answers if asr is None]
        found = [(score, flag) for asr, score, flag in answers if asr is not None and asr >= WORKS]
        rows.append(
            {
                "samples of the judged networks": name,
                "shadow models": 2 * count,
                "standardise": standardise,
                "accuracy of shadow models": meta.shadows["accuracy"],
                "AUC on those held out": meta.auc,
                "AUC": auc([score for score, _ in found], [score for score, _ in clean]),
                "backdoored found": share([flag for _, flag in found]),
                "clean flagged": share([flag for _, flag in clean]),
                "too weak to count": 2 * fresh - len(found) - len(clean),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--fresh", type=int, default=30)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for standardise in (True, False):
        rows += measured(Store(chosen.store), chosen.count, chosen.fresh, standardise)
    for row in rows:
        print(json.dumps(row))
    if chosen.out:
        chosen.out.write_text(json.dumps({"rows": rows, "torch": torch.__version__}, indent=1) + "\n")


if __name__ == "__main__":
    main()
