"""What a scan of a large network takes: ResNet-50's shape, 224 x 224 pixels, a thousand classes.

    python -m benchmarks.large [--arch resnet50] [--classes 1000] [--side 224] [--out FILE.json]

A whole scan takes most of an hour, so it is put together. What a scan does is counted on a network that costs
next to nothing and takes the same inputs (`Counted`), whose seconds are those of everything but the network.
What each kind of work costs is measured on the network, torchvision's with random weights, at the batch
that a scan runs, the best of some turns. Minutes are the sum. Memory is the peak of this process, which holds
the network, its copy and the searches' batch.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mmbd
from mmbd.base.environment import environment
from mmbd.detectors.mm_bd import mm_bd
from mmbd.formats.networks.shim import torchvision_usable
from mmbd.model.bfloat16 import multiply_adds
from mmbd.model.classifier import Classifier
from mmbd.search import memory
from mmbd.search.precision import Guide, guide_of


class Counted(Classifier):
    """A classifier that counts the inputs it is asked about, with and without a gradient."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.asked: Counter[str] = Counter()
        super().__init__(*args, **kwargs)

    def __call__(self, inputs: Tensor, *, buffer: Tensor | None = None) -> Tensor:
        self.asked["gradients" if inputs.requires_grad else "forward"] += len(inputs)
        return super().__call__(inputs, buffer=buffer)


def light(classes: int, side: int) -> Counted:
    """A network of next to no cost: one linear layer behind a pooling to 16 x 16."""
    torch.manual_seed(0)
    layers = (nn.AdaptiveAvgPool2d(16), nn.Flatten(), nn.Linear(768, classes))
    return Counted(nn.Sequential(*layers).eval(), input_shape=(3, side, side))


def counts(classes: int, side: int) -> dict[str, Any]:
    """What a scan asks of the network and of its guide, and its seconds without either's cost."""
    own, guide = light(classes, side), light(classes, side)
    usual, mm_bd.guide_of = mm_bd.guide_of, lambda *_: Guide(guide)
    try:
        start = time.process_time()
        report = mmbd.scan(own)
        seconds = time.process_time() - start
    finally:
        mm_bd.guide_of = usual
    return {
        "own": dict(own.asked),
        "guide": dict(guide.asked),
        "evaluations": report.finding.facts["evaluations"],
        "processor seconds beside": seconds,
    }


def heavy(arch: str, classes: int, side: int) -> Classifier:
    """torchvision's network with random weights, its averages those of noise."""
    torchvision_usable()
    from torchvision import models  # pyright: ignore[reportMissingTypeStubs]

    torch.manual_seed(0)
    network = models.get_model(arch, weights=None, num_classes=classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of all batches
    with torch.no_grad():
        network(torch.rand(4, 3, side, side))
    return Classifier(network.eval(), input_shape=(3, side, side))


def cost(work: Callable[[], Any], count: int, turns: int, clock: Callable[[], float]) -> float:
    """The least seconds an input; the first time builds kernels."""
    work()
    seconds: list[float] = []
    for _ in range(turns):
        start = clock()
        work()
        seconds.append(clock() - start)
    return min(seconds) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument(
        "--busy",
        action="store_true",
        help="count processor time, for one thread on a machine with other work",
    )
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    clock = time.process_time if given.busy else time.perf_counter
    own = heavy(given.arch, given.classes, given.side)
    guide = guide_of(own, "bfloat16").classifier
    if guide is None:
        raise SystemExit("this network has no copy in bfloat16")
    size = memory.batch_size(guide, None, most=given.classes)
    seconds: dict[str, dict[str, float]] = {}
    for name, network in (("own", own), ("guide", guide)):
        x = torch.rand(size, 3, given.side, given.side).contiguous(memory_format=torch.channels_last)

        def forward(network: Classifier = network, x: Tensor = x) -> None:
            with torch.no_grad():
                network(x)

        def gradients(network: Classifier = network, x: Tensor = x) -> None:
            free = x.detach().requires_grad_()
            torch.autograd.grad(network(free)[:, 0].sum(), free)

        with network.frozen():
            both = (("gradients", gradients), ("forward", forward))
            seconds[name] = {kind: cost(work, size, given.turns, clock) for kind, work in both}
    print(seconds, flush=True)
    asked = counts(given.classes, given.side)
    led = sum(asked[who].get(kind, 0) * seconds[who][kind] for who in seconds for kind in seconds[who])
    together = Counter(asked["own"]) + Counter(asked["guide"])
    alone = sum(count * seconds["own"][kind] for kind, count in together.items())
    beside = asked["processor seconds beside"]
    found = {
        "network": f"{given.arch}, 3 x {given.side} x {given.side}, {given.classes} classes",
        "multiply-adds": multiply_adds(own),
        "asked": asked,
        "batch": size,
        "seconds an input": seconds,
        "minutes": (led + beside) / 60,
        "minutes in float32": (alone + beside) / 60,
        "clock": "processor" if given.busy else "wall",
        "threads": torch.get_num_threads(),
        "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "environment": environment(),
    }
    text = json.dumps(found, indent=1)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
