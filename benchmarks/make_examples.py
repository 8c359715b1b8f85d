"""Models like the bundled examples: small CIFAR-10 classifiers, two clean and four backdoored.

    python -m benchmarks.make_examples DATA OUT [--plan FILE]

DATA is a folder with the hub's `train.parquet` and `test.parquet` of CIFAR-10. The plan,
`make_examples.toml`, was fixed before any detector saw a model, with the first seeds in order;
nothing is chosen by what a detector says. An attack that reaches less than 90 % success on the test
set is trained again at the next rung of its ladder. Every rung is kept, with its card, in OUT/zoo,
so a run can be killed and continued; the first that works becomes OUT/NAME.safetensors, and
OUT/models.json says how all of them were made.

The bundled models were made by the same plan in a training loop of its own, which drew the first
25,000 images and took a model's random choices from its seed alone, where here every rung draws a
target and a trigger of its own: this makes their like, not the very same ones.
`examples/models/README.md` says how those came about.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from mmbd.zoo import cards
from mmbd.zoo import plan as plans
from mmbd.zoo.job import Job
from mmbd.zoo.make import make

PLAN = Path(__file__).with_suffix(".toml")
ENOUGH = 0.9


def name(job: Job) -> str:
    """What an example is called: its attack without the rung, and its network."""
    stem = job.attack.name if job.attack.name == job.attack.kind else job.attack.name.rpartition("-")[0]
    return f"{stem}-{job.arch.name}"


def climb(ladder: Sequence[Job], root: Path, out: Path) -> dict[str, Any]:
    """Train up the ladder until the attack works; returns how the example was made."""
    short: list[dict[str, Any]] = []
    for job in ladder:
        failures = make([job], out / "zoo", root=root).failures
        if failures:
            raise SystemExit(f"{name(job)}: {failures[job.name]}")
        card = cards.read(cards.path(out / "zoo", job.name))
        print(job.name, f"ACC {card['accuracy']:.1%}", f"ASR {card['asr'] or 0:.1%}", flush=True)
        if card["asr"] is None or card["asr"] >= ENOUGH:
            (out / f"{name(job)}.safetensors").write_bytes((out / "zoo" / card["file"]).read_bytes())
            return described(job, card) | {"rungs_that_fell_short": short}
        short.append(
            {"accuracy": card["accuracy"], "asr": card["asr"], "parameters": dict(job.attack.options)}
        )
    raise SystemExit(f"{name(ladder[0])}: no rung reached an attack success rate of {ENOUGH:.0%}")


def described(job: Job, card: Mapping[str, Any]) -> dict[str, Any]:
    """A card in the words of `examples/models/models.json`; `seed` is what the trigger is drawn from."""
    options = dict(job.attack.options)
    count = options.pop("count", 0)
    return {
        "name": name(job),
        "file": f"{name(job)}.safetensors",
        "sha256": card["sha256"],
        "clean": card["label"] == "clean",
        "seed": job.draw,
        "architecture": job.arch.kind,
        "arguments": dict(job.arch.arguments),
        "mean": job.data.mean,
        "std": job.data.std,
        "recipe": card["settings"]["recipe"],
        "accuracy": card["accuracy"],
        "attack": None
        if card["label"] == "clean"
        else {
            "trigger": job.attack.kind,
            "parameters": options,
            "sources": card["sources"],
            "target": card["targets"][0],
            "target_name": card["class_names"][card["targets"][0]],
            "poisoned_images": count,
            "asr": card["asr"],
        },
        "data_sha256": card["digests"],
        "torch": card["versions"]["torch"],
        "training_seconds": card["seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--plan", type=Path, default=PLAN)
    given = parser.parse_args()
    torch.set_num_threads(1)
    ladders = [list(ladder) for _, ladder in groupby(plans.read(given.plan), key=name)]
    made = [climb(ladder, given.data, given.out) for ladder in ladders]
    (given.out / "models.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
