"""How fast the searches for masks are: all classes side by side against a plain loop, in one run.

    python -m benchmarks.rival_speed [--models mlp,lenet,cnn] [--threads 2] [--out FILE.json]

The search is that of Neural Cleanse with ten classes and ten images each. The plain loop does the
same maths, from the same starting points, on the same minibatches, as anyone would write it: one
class after the other, images with their channels first, autograd from the loss to mask and pattern,
and `torch.optim.Adam`. The network's weights are frozen for it, too. Both sides run in turns, and
the best of each counts, as other work on the machine only adds; `passes` is kept small, and no
search ends early. Absolute times mean nothing elsewhere: read the ratios. `norms` and `masks` are
the largest differences between the two sides, relative and absolute.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F

from mmbd import nets
from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples, prepare
from mmbd.search.cost_schedule import CostSchedule
from mmbd.search.mask_pattern import Found, Problem, search
from mmbd.search.passes import minibatches
from mmbd.search.stamping import squashed, unsquashed

CLASSES, PER_CLASS, BATCH, RATE, BETAS = 10, 10, 32, 0.1, (0.5, 0.9)
# name: (architecture, its arguments, the shape of its inputs)
MODELS: dict[str, tuple[str, dict[str, Any], tuple[int, int, int]]] = {
    "mlp": ("mlp", {"hidden": (128, 64)}, (1, 28, 28)),
    "lenet": ("lenet", {}, (1, 28, 28)),
    "cnn": ("cnn", {"widths": (16, 32, 64)}, (3, 32, 32)),
}


def fitted(name: str) -> tuple[Classifier, Samples]:
    """A network with seeded weights, briefly fitted to noisy pictures, and samples of these."""
    arch, arguments, shape = MODELS[name]
    torch.manual_seed(0)
    network = nets.build(arch, classes=CLASSES, input_shape=shape, **arguments)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    centres = torch.rand((CLASSES, *shape), generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(0)

    def pictures(labels: torch.Tensor) -> torch.Tensor:
        return (centres[labels] + 0.7 * torch.rand((len(labels), *shape), generator=generator)) / 1.7

    for _ in range(60):
        labels = torch.randint(0, CLASSES, (64,), generator=generator)
        loss = F.cross_entropy(network(pictures(labels)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    classifier = Classifier(network.eval(), input_shape=shape)
    labels = torch.arange(CLASSES * PER_CLASS) % CLASSES
    return classifier, prepare(classifier, pictures(labels), labels)


def schedule(passes: int) -> CostSchedule:
    """That of Neural Cleanse, which does not end early and has its cost set soon."""
    return CostSchedule(passes, 0.99, 2, 1e-3, 2.0, 1.0, False)


def side_by_side(classifier: Classifier, samples: Samples, passes: int) -> dict[int, Found]:
    """All classes in one batch."""
    with classifier.frozen():
        problem = Problem(classifier, samples, BATCH, RATE, BETAS)
        return search(problem, lambda _: schedule(passes), seed=0)[0]


def one_by_one(
    classifier: Classifier, samples: Samples, passes: int
) -> dict[int, tuple[torch.Tensor, list[float]]]:
    """A plain loop over the classes: the last or best mask of each, and the mean norm of every pass."""
    inputs = samples.inputs.contiguous()
    channels, *places = inputs.shape[1:]
    steps = -(-len(inputs) // BATCH)
    found: dict[int, tuple[torch.Tensor, list[float]]] = {}
    for target in range(CLASSES):
        drawn = torch.rand(*places, 1 + channels, generator=generator_for("mask and pattern", 0, target))
        start = unsquashed(drawn).movedim(-1, 0).contiguous()
        raw_mask, raw_pattern = start[:1].clone().requires_grad_(), start[1:].clone().requires_grad_()
        optimizer = torch.optim.Adam([raw_mask, raw_pattern], lr=RATE, betas=BETAS)
        order = minibatches(len(inputs), BATCH, generator_for("order of images", 0, target))
        plan, best, curve, done = schedule(passes), raw_mask, list[float](), False
        reached = False
        while not done:
            hits, norms = 0.0, 0.0
            for _ in range(steps):
                images = inputs[next(order)]
                mask, pattern = squashed(raw_mask), squashed(raw_pattern)
                logits = classifier((1 - mask) * images + mask * pattern)
                wanted = torch.full((len(images),), target)
                loss = F.cross_entropy(logits, wanted) + plan.weights[0] * mask.abs().sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                hits += float((logits.argmax(1) == target).double().mean())
                norms += float(mask.detach().sum())
            curve.append(norms / steps)
            done, better = plan.after(hits / steps, norms / steps)
            if better or not reached:
                best = raw_mask.detach().clone()
            reached |= better
        found[target] = squashed(best)[0], curve
    return found


def compare(name: str, passes: int, repeats: int) -> dict[str, Any]:
    """Seconds of both sides, in turns, and how far apart their results are."""
    classifier, samples = fitted(name)
    sides = {"side_by_side": side_by_side, "one_by_one": one_by_one}
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    results: dict[str, Any] = {}
    with classifier.frozen():
        for run in sides.values():  # the first steps build kernels
            run(classifier, samples, 1)
        for _ in range(repeats):
            for side, run in sides.items():
                started = time.perf_counter()
                results[side] = run(classifier, samples, passes)
                seconds[side].append(time.perf_counter() - started)
    batched, plain = results["side_by_side"], results["one_by_one"]
    first = min(passes, 5)
    norms = [
        max(abs(a / b - 1) for a, b in zip(batched[k].curve[:first], plain[k][1][:first], strict=True))
        for k in range(CLASSES)
    ]
    ends = [abs(batched[k].curve[-1] / plain[k][1][-1] - 1) for k in range(CLASSES)]
    best = {side: min(values) for side, values in seconds.items()}
    pairs = zip(seconds["one_by_one"], seconds["side_by_side"], strict=True)
    return {
        "model": name,
        "classes": CLASSES,
        "images": len(samples.inputs),
        "passes": passes,
        "evaluations": passes * len(samples.inputs) * CLASSES,
        "n": repeats,
        "seconds": seconds,
        "best": best,
        "times_faster": best["one_by_one"] / best["side_by_side"],
        "times_faster_in_turn": median(plain / batched for plain, batched in pairs),
        "norms_of_first_passes": max(norms),
        "norms_of_last_pass": max(ends),
        "masks": max(float((batched[k].mask - plain[k][0]).abs().max()) for k in range(CLASSES)),
        "same_order": sorted(range(CLASSES), key=lambda k: batched[k].norm)
        == sorted(range(CLASSES), key=lambda k: float(plain[k][0].double().sum())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    print(f"{'model':8}{'side by side':>14}{'one by one':>12}{'times':>8}{'in turn':>9}{'masks':>10}")
    for name in options.models.split(","):
        row = compare(name, options.passes, options.repeats)
        rows.append(row)
        print(
            f"{name:8}{row['best']['side_by_side']:13.2f}s{row['best']['one_by_one']:11.2f}s"
            f"{row['times_faster']:8.1f}{row['times_faster_in_turn']:9.1f}{row['masks']:10.1e}",
            flush=True,
        )
    result = {
        "rows": rows,
        "torch": torch.__version__,
        "threads": options.threads,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "machine": platform.machine(),
    }
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
