"""How fast a scan is: `fast` against the paper's procedure and against the floor, in one run.

    python -m benchmarks.scan_speed [--models resnet18,cnn,lenet] [--out FILE.json]

The floor is the number of gradient evaluations times the best time of one forward and backward
pass a sample that this machine reaches at any batch size, measured on the bare network in the same
run. Both sides are repeated in turns and the best of each counts, as other work on the machine only
adds. `at_its_batch` is the bare network at the batch that `fast` runs, over the floor: with few
classes the batch is small, and no search gets below that. `paper` is run once, on a few classes, on
ResNet-18 with a few steps only, is set against the usual time of `fast`, and extrapolated to all
(they are independent and cost the same, and none of them ends early); the JSON says on how many. `scan` is a
whole default scan, but for `precision="auto"`: that search, marks, p-values and report. `scan/floor` divides
it by its gradient evaluations at their best time, in the precision that leads it; `scan/all` by its forward
passes, too, each at its best time in its own precision, as counted in one more scan. Every figure comes from
a process of its own, so that peak memory is that figure's alone. Absolute times mean nothing elsewhere: read
the ratios. On a machine with other work, --busy counts the processor time of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from mmbd import nets
from mmbd.detectors.scan import scan
from mmbd.model.classifier import Classifier
from mmbd.search.ascent import PAPER
from mmbd.search.maximum_margins import maximum_margins
from mmbd.search.precision import guide_of

SHAPE = (3, 32, 32)
# name: (architecture, its arguments, classes, restarts and steps of `paper` that are run)
MODELS: dict[str, tuple[str, dict[str, Any], int, int, int]] = {
    "resnet18": ("resnet18", {}, 1, 30, 20),
    "resnet18-w16": ("resnet18", {"width": 16}, 2, 30, 100),
    "resnet8": ("resnet8", {}, 2, 30, 300),
    "cnn": ("cnn", {}, 5, 30, 300),
    "lenet": ("lenet", {}, 10, 30, 300),
    "mlp": ("mlp", {"hidden": (512, 256)}, 10, 30, 300),
}
BATCHES = (8, 16, 32, 40, 48, 64, 128)
# Seconds after which one batch size of the floor, or a search, has been tried often enough.
LONG = 4.0
ROUNDS = 3
BUSY = "MMBD_BUSY"  # in the environment of the processes that measure
clock: Callable[[], float] = time.process_time if os.environ.get(BUSY) else time.perf_counter


def network(name: str, classes: int) -> torch.nn.Module:
    """The network with seeded random weights, briefly fitted so that margins can grow."""
    arch, arguments, *_ = MODELS[name]
    torch.manual_seed(0)
    net = nets.build(arch, classes=classes, input_shape=SHAPE, **arguments)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        labels = torch.randint(0, classes, (64,), generator=generator)
        centres = torch.rand((classes, *SHAPE), generator=torch.Generator().manual_seed(1))
        inputs = (centres[labels] + 0.3 * torch.rand((64, *SHAPE), generator=generator)) / 1.3
        loss = torch.nn.functional.cross_entropy(net(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


def floor(name: str, classes: int, repeats: int) -> dict[str, Any]:
    """The best seconds a sample of bare passes: of a forward and backward one by batch, and of a forward one.

    Both are of the network that leads a scan and of the network itself, which may be one.
    """
    own = Classifier(network(name, classes).requires_grad_(False), input_shape=SHAPE)
    guide = guide_of(own).classifier
    found: dict[str, Any] = {}
    for which, net, dtype in (
        ("own", own.model, torch.float32),
        ("guide", None if guide is None else guide.model, torch.bfloat16),
    ):
        if not isinstance(net, torch.nn.Module):
            found[which] = found["own"]
            continue
        best = dict.fromkeys(BATCHES, float("inf"))
        forward = float("inf")
        for layout in (torch.contiguous_format, torch.channels_last):
            net = net.to(memory_format=layout)
            for batch in BATCHES:
                x = torch.rand((batch, *SHAPE)).contiguous(memory_format=layout).to(dtype).requires_grad_()
                begun = time.perf_counter()
                for repeat in range(repeats + 1):
                    if repeat > 1 and time.perf_counter() - begun > LONG:
                        break
                    start = clock()
                    torch.autograd.grad(net(x)[:, 0].sum(), x)
                    middle = clock()
                    with torch.no_grad():
                        net(x)
                    if repeat:
                        best[batch] = min(best[batch], (middle - start) / batch)
                        forward = min(forward, (clock() - middle) / batch)
        found[which] = {"by_batch": best, "forward": forward}
    return found


def search(
    name: str, classes: int, method: str, subset: int, settings: dict[str, Any], repeats: int = 1
) -> dict[str, Any]:
    """The quickest of some estimations: seconds, gradient evaluations, batch."""
    classifier = Classifier(network(name, classes), input_shape=SHAPE)
    chosen = list(range(subset))
    # The first steps at a batch size build kernels for it; the floor does not count those either.
    led = guide_of(classifier).classifier if method == "fast" else None
    maximum_margins(classifier, method=method, classes=chosen, guide=led, **settings | {"steps": 2})
    begun, seconds = time.perf_counter(), list[float]()
    while True:
        start = clock()
        found = maximum_margins(classifier, method=method, classes=chosen, guide=led, **settings)
        seconds.append(clock() - start)
        if len(seconds) == repeats or time.perf_counter() - begun > LONG:
            break
    return {
        "seconds": min(seconds),
        "usual": median(seconds),
        "evaluations": found.evaluations,
        "batch": found.batch,
        "steps": found.steps[:subset].double().mean().item(),
    }


def whole(name: str, classes: int, repeats: int) -> dict[str, Any]:
    """The usual seconds of a default scan, its gradient evaluations, and all inputs that it asks about."""
    classifier = Classifier(network(name, classes), input_shape=SHAPE)
    asked = Counter[str]()
    usual = Classifier.__call__

    def counted(self: Classifier, inputs: Tensor, *, buffer: Tensor | None = None) -> Tensor:
        who = "own" if self.dtype == torch.float32 else "guide"
        asked[f"{who} {'gradients' if inputs.requires_grad else 'forward'}"] += len(inputs)
        return usual(self, inputs, buffer=buffer)

    Classifier.__call__ = counted
    try:  # the first builds kernels
        report = scan(classifier, precision="auto")
    finally:
        Classifier.__call__ = usual
    begun, seconds = time.perf_counter(), list[float]()
    while len(seconds) < repeats and (not seconds or time.perf_counter() - begun <= LONG):
        start = clock()
        report = scan(classifier, precision="auto")
        seconds.append(clock() - start)
    return {
        "usual": median(seconds),
        "evaluations": report.finding.facts["evaluations"],
        "asked": asked,
        "precision": report.finding.settings.get("precision", "float32"),
    }


def apart(task: str, **arguments: Any) -> dict[str, Any]:
    """Run a task in a process of its own; its figures and its peak memory in MiB."""
    command = [sys.executable, "-m", "benchmarks.scan_speed", "--task", json.dumps([task, arguments])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def measure(name: str, repeats: int) -> dict[str, Any]:
    """All figures of one model with ten classes."""
    _, _, subset, restarts, steps = MODELS[name]
    floors, fast = [], []
    for _ in range(ROUNDS):  # in turns: a shared machine drifts
        floors.append(apart("floor", name=name, classes=10, repeats=repeats))
        fast.append(
            apart("search", name=name, classes=10, method="fast", subset=10, settings={}, repeats=repeats)
        )
    paper = apart(
        "search",
        name=name,
        classes=10,
        method="paper",
        subset=subset,
        settings={"restarts": restarts, "steps": steps},
    )
    scanned = apart("whole", name=name, classes=10, repeats=repeats)
    every = {
        who: {batch: min(figure[who]["by_batch"][str(batch)] for figure in floors) for batch in BATCHES}
        for who in ("own", "guide")
    }
    forward = {who: min(figure[who]["forward"] for figure in floors) for who in every}
    by_batch = every["guide"]
    asked: dict[str, int] = scanned["asked"]
    all_of_it = sum(
        asked.get(f"{who} gradients", 0) * min(every[who].values())
        + asked.get(f"{who} forward", 0) * forward[who]
        for who in every
    )
    at_best = min(by_batch, key=by_batch.__getitem__)
    best = {
        "seconds": by_batch[at_best],
        "batch": at_best,
        "by_batch": every,
        "forward": forward,
        "peak_mib": max(figure["peak_mib"] for figure in floors),
    }
    quickest = min(fast, key=lambda figure: figure["seconds"])
    usual = median(figure["usual"] for figure in fast)
    its_batch = min(BATCHES, key=lambda batch: abs(batch - quickest["batch"]))
    paper_seconds = paper["seconds"] * (10 / subset) * (PAPER.restarts / restarts) * (PAPER.steps / steps)
    return {
        "model": name,
        "fast": quickest,
        "paper": paper
        | {
            "classes_run": subset,
            "restarts_run": restarts,
            "steps_run": steps,
            "seconds_all_classes": paper_seconds,
        },
        "floor": best,
        "scan": scanned,
        "paper_over_fast": paper_seconds / usual,
        "paper_over_scan": paper_seconds / scanned["usual"],
        "scan_over_floor": scanned["usual"] / (scanned["evaluations"] * best["seconds"]),
        "scan_over_all_passes": scanned["usual"] / all_of_it,
        "at_its_batch": by_batch[its_batch] / best["seconds"],
        "fast_over_floor": quickest["seconds"] / (quickest["evaluations"] * best["seconds"]),
        "paper_over_floor": paper["seconds"] / (paper["evaluations"] * min(every["own"].values())),
    }


def memory() -> list[dict[str, Any]]:
    """Peak memory with 10 and with 1000 classes, at the same batch size."""
    return [
        {"model": name, "classes": classes}
        | apart(
            "search",
            name=name,
            classes=classes,
            method="fast",
            subset=classes,
            settings={"batch": 40, "steps": 4},
        )
        for name in ("cnn", "resnet18-w16")
        for classes in (10, 1000)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--busy", action="store_true", help="count the processor time of one thread")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.busy:
        os.environ |= {BUSY: "1", "OMP_NUM_THREADS": "1"}
    if options.task:
        task, arguments = json.loads(options.task)
        result = {"floor": floor, "search": search, "whole": whole}[task](**arguments)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(result | {"peak_mib": round(peak)}))
        return
    rows = []
    heads = f"{'fast s':>9}{'evals':>7}{'paper s':>10}{'paper/fast':>12}{'fast/floor':>12}"
    print(
        f"{'model':14}{heads}{'bare':>6}{'paper/scan':>12}{'scan/floor':>12}{'scan/all':>10}{'peak MiB':>10}"
    )
    for name in options.models.split(","):
        row = measure(name, options.repeats)
        rows.append(row)
        few = row["paper"]["classes_run"] < 10 or row["paper"]["steps_run"] < PAPER.steps
        extrapolated = "*" if few else ""
        print(
            f"{name:14}{row['fast']['seconds']:9.2f}{row['fast']['evaluations']:7}"
            f"{row['paper']['seconds_all_classes']:9.0f}{extrapolated or ' '}"
            f"{row['paper_over_fast']:12.0f}{row['fast_over_floor']:12.2f}{row['at_its_batch']:6.2f}"
            f"{row['paper_over_scan']:12.0f}{row['scan_over_floor']:12.2f}"
            f"{row['scan_over_all_passes']:10.2f}"
            f"{row['fast']['peak_mib']:10}",
            flush=True,
        )
    print("* extrapolated from fewer classes; see the JSON")
    sizes = memory()
    for entry in sizes:
        print(f"{entry['model']:14}{entry['classes']:6} classes: {entry['peak_mib']} MiB")
    result = {
        "rows": rows,
        "memory": sizes,
        "torch": torch.__version__,
        "threads": 1 if options.busy else torch.get_num_threads(),
        "clock": "processor" if options.busy else "wall",
        "cores": os.cpu_count(),
        "machine": platform.machine(),
    }
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
