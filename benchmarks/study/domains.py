"""The zoo of other domains: recordings and point clouds, clean and attacked, for tables of their own.

    python -m benchmarks.study.domains DATA OUT [--first 0] [--count 40] [--workers 2]

Numbers below 1000 are M5s for recordings, further ones DGCNNs and PointNets for generated clouds. Every
model follows from its number; even numbers choose, odd ones report; of ten in a row seven are clean.
Finished models are skipped.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from benchmarks.study.making import arguments, made, planned
from benchmarks.study.sources import write
from mmbd.data import read
from mmbd.zoo.job import Job

CLOUDS = 1000
ATTACKED = (2, 5, 7)
SOUNDS = {"fsdd": 10, "speech_commands": 12}


def recordings(hub: Path, out: Path) -> None:
    """The hub's recordings as arrays, decoded once; what is there is left."""
    for name in SOUNDS:
        for part in ("train", "test"):
            file = out / name / f"{part}.npz"
            if not file.exists():
                write(file, read.load(hub / name / f"{part}.parquet"))


def plan(number: int) -> Job:
    """The model with this number."""
    draw = random.Random(f"mmbd domains {number}")
    attacked = number % 10 in ATTACKED
    return (_cloud if number >= CLOUDS else _sound)(draw, number, attacked)


def _sound(draw: random.Random, number: int, attacked: bool) -> Job:
    source = draw.choice(tuple(SOUNDS))
    classes = SOUNDS[source]
    some = draw.random() < 0.4 and not attacked
    data: dict[str, Any] = {part: f"{source}/{part}.npz" for part in ("train", "test")}
    if some:
        data["classes"] = draw.sample(range(classes), draw.choice((6, 8, classes - 1)))
    recipe = {
        "epochs": draw.choice((12, 20, 30)),
        "batch": draw.choice((32, 64)),
        "lr": draw.choice((2e-3, 5e-3, 1e-2)),
        "weight_decay": draw.choice((0.0, 1e-4)),
        "schedule": draw.choice(("cosine", "constant")),
    }
    attack = {"kind": "sound", "sources": "M", "count": 300, "length": draw.choice((40, 40, 80))}
    network = "m5", {"width": draw.choice((8, 16, 32))}
    return planned(number, source, data, network, recipe, attack if attacked else None)


def _cloud(draw: random.Random, number: int, attacked: bool) -> Job:
    each = draw.choice((40, 60, 80))
    data = {"train": f"clouds:{each}", "test": "clouds:20", "points": draw.choice((128, 256))}
    arch = draw.choice(("dgcnn", "dgcnn", "pointnet"))
    options = {"dgcnn": {"k": 10, "width": draw.choice((8, 16))}, "pointnet": {"width": 16}}[arch]
    recipe = {
        "epochs": draw.choice((15, 20)),
        "batch": 32,
        "lr": draw.choice((1e-3, 2e-3)),
        "augment": draw.choice((["scale", "shift"], [])),
    }
    attack = {"kind": "points", "sources": draw.choice(("M", "M", "S")), "count": each, "epochs": 5}
    return planned(number, "clouds", data, (arch, options), recipe, attack if attacked else None)


def main() -> None:
    given = arguments(__doc__, 40)
    root = given.out / "recordings"
    recordings(given.data, root)
    jobs = [plan(number) for number in range(given.first, given.first + given.count)]
    made(jobs, given.out, root=root, workers=given.workers)


if __name__ == "__main__":
    main()
