"""The variety zoo: small classifiers as unlike as they come, clean and with every attack of the laboratory.

    python -m benchmarks.study.variety DATA OUT [--first 0] [--count 400] [--workers 2]

What decides by default is learned on these. Every model follows from its number alone; even numbers are
for choosing, odd ones for reporting. Of ten numbers in a row (two of either half each) six are clean and
four are attacked. DATA holds the hub's Parquet files. Finished models are skipped, so a run can be killed
and continued.

Numbers from 1000 on are fine-tuned: they start from networks that were trained before, on other pictures
(`pretraining`, made first). Those from 2000 on are small vision transformers.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import torch

from benchmarks.study.making import arguments, made, planned
from benchmarks.study.sources import write
from mmbd.data import read
from mmbd.zoo import plan as plans
from mmbd.zoo.job import Job
from mmbd.zoo.make import make

FINE_TUNED, TRANSFORMERS = 1000, 2000
PRETRAINED = ("cifar10", "tiny")  # what the networks that others start from were trained on
# Of ten models in a row, the attacked ones; two of each half.
ATTACKED = (2, 3, 6, 7)
NORMALISATIONS = ((0.0, 1.0), (0.0, 1.0), (0.5, 0.5), (0.45, 0.25))

# How the pictures of each source are cut out of the hub's files.
SOURCES: dict[str, tuple[str, dict[str, Any]]] = {
    "cifar10": ("cifar10", {}),
    "cifar10-grey": ("cifar10", {"grey": True, "size": (28, 28)}),
    "cifar10-48": ("cifar10", {"size": (48, 48)}),
    "gtsrb": ("gtsrb", {"size": (32, 32), "crop": 32 / 44}),
    "tiny": ("tinyimagenet", {"size": (32, 32)}),
    "tiny-64": ("tinyimagenet", {}),
}
KEPT = {
    "train": 16_000,
    "test": 4000,
}  # pictures of each source; reading all of them takes longer than a training
CHANCES = (
    ("cifar10",) * 9
    + ("cifar10-subset",) * 3
    + ("cifar10-grey",) * 2
    + ("cifar10-48", "tiny-64", "tiny", "tiny")
)
CHANCES += ("gtsrb",) * 2 + ("gtsrb-subset",) * 6
# Images seen in training, by network: ten to twenty seconds of one core in bfloat16.
VISITS = {
    "mlp": 60_000,
    "lenet": 60_000,
    "cnn": 48_000,
    "resnet8": 30_000,
    "vgg16": 25_000,
    "resnet18": 16_000,
    "vit": 40_000,
}
# Attacks that small networks learn from a few thousand images: chances, and how strong they have to be.
ATTACKS: dict[str, tuple[int, dict[str, Any]]] = {
    "badnet": (4, {"rate": 0.1, "size": 4}),
    "unicolor": (3, {"rate": 0.1, "size": 4}),
    "blend": (3, {"rate": 0.15, "size": 6, "alpha": 0.5}),
    "1-pixel": (3, {"rate": 0.15, "amplitude": 0.8}),
    "chessboard": (3, {"rate": 0.15, "amplitude": 0.0235294}),
    "wanet": (5, {"strength": 3.0}),
    "warp": (1, {"rate": 0.1, "strength": 2.0}),
    "all-to-all": (4, {"rate": 0.3, "shared": True, "order": "next", "size": 5}),
    "sig": (1, {"rate": 0.5, "delta": 0.1568627}),
    "sine": (1, {"rate": 0.1}),
    "bpp": (2, {"levels": 6}),
    "lira": (1, {"width": 8, "lr": 1e-3}),
    "adaptive-blend": (1, {"test_alpha": 0.3}),
    "adaptive-patch": (1, {}),
}
# What these small networks learn on pictures of traffic signs, and hardly on others.
ON_SIGNS = ("wanet", "all-to-all", "warp", "bpp")
# The network that fine-tuned ones start from.
STARTED: dict[str, Any] = {"widths": (16, 32, 64), "head": "mean"}
ONE_SOURCE = ("badnet", "unicolor", "blend", "1-pixel", "chessboard")


def pictures(hub: Path, out: Path) -> None:
    """Some pictures of every source as arrays, cut once; what is there is left."""
    for name, (folder, options) in SOURCES.items():
        for part, most in KEPT.items():
            file = out / name / f"{part}.npz"
            if file.exists():
                continue
            path = hub / folder / f"{part}.parquet"
            found = read.load(path if path.exists() else path.with_stem("val"), **options)
            order = torch.randperm(len(found), generator=torch.Generator().manual_seed(0))[:most]
            write(file, found.take(order))


def pretraining() -> list[Job]:
    """The networks that fine-tuned ones start from, one for each of `PRETRAINED`."""
    recipe = {"epochs": 12, "batch": 64, "lr": 2e-3, "precision": "bfloat16"}
    found: list[Job] = []
    for source in PRETRAINED:
        files = {part: f"{source}/{part}.npz" for part in ("train", "test")}
        data = {**files, "limit": 10_000, "test_limit": 1000}
        table = {"seeds": [0], "recipe": recipe, "data": {source: data}, "arch": {"cnn": STARTED}}
        found += plans.jobs(table)
    return found


def pretrained(pictures: Path) -> None:
    """Make them, under the names that plans have."""
    folder = pictures / "pretrained"
    make(pretraining(), folder, root=pictures)
    for source, job in zip(PRETRAINED, pretraining(), strict=True):
        file = folder / f"{source}.safetensors"
        if not file.exists():
            shutil.copyfile(folder / f"{job.name}.safetensors", file)


def plan(number: int) -> Job:
    """The model with this number."""
    draw = random.Random(f"mmbd variety {number}")
    attack = _attack(draw) if number % 10 in ATTACKED else None
    source = draw.choice(CHANCES)
    if attack is not None and attack["kind"] in ON_SIGNS and draw.random() < 0.8:
        source = "gtsrb-subset"
    if attack is not None and source in ("cifar10-grey", "cifar10-48", "tiny", "tiny-64"):
        source = draw.choice(("cifar10", "gtsrb-subset"))
    if number >= FINE_TUNED:
        source = draw.choice(("gtsrb-subset", "gtsrb-subset", "cifar10-subset"))
    classes = _classes(draw, source)
    arch, options = _network(draw, source, attack is not None)
    if number >= FINE_TUNED:
        arch, options = "cnn", {**STARTED, "start": f"pretrained/{draw.choice(PRETRAINED)}.safetensors"}
    if number >= TRANSFORMERS:
        arch, options = "vit", {"width": 32, "depth": 3, "heads": 2}
    images = draw.choice((800, 1000, 1300))
    if source.startswith("tiny"):
        images = min(1300, 100 * len(classes or ()))
    if attack is not None:
        images += 700
        for name in ("adaptive-blend", "adaptive-patch"):
            if attack["kind"] == name:
                attack |= {"count": images // 27, "covers": images // (27 if "blend" in name else 13)}
    visits = VISITS[arch] * (1 if attack is None else 1.4)
    briefly = attack is None and draw.random() < 0.15
    epochs = round(visits / images / (4 if briefly else 1))
    if number >= FINE_TUNED and arch == "cnn":
        epochs = 15
    sgd = draw.random() < 0.2 and arch != "vit"
    recipe: dict[str, Any] = {
        "epochs": min(max(epochs, 6), 50),
        "batch": 32,
        "lr": draw.choice((0.02, 0.05)) if sgd else draw.choice((1e-3, 2e-3, 3e-3)),
        "optimizer": "sgd" if sgd else "adam",
        "weight_decay": draw.choice((0.0, 1e-4, 5e-4)),
        "schedule": draw.choice(("cosine", "cosine", "cosine", "constant")),
        "augment": _augmentation(draw, source, attack is not None),
        "pad": 2,
        "smoothing": 0.1 if draw.random() < 0.06 else 0.0,
        "precision": "float32" if arch == "vit" else "bfloat16",  # attention's way back is slow in the other
    }
    if sgd:
        recipe["clip"] = 5.0
    mean, std = draw.choice(NORMALISATIONS)
    folder = source.removesuffix("-subset")
    files = {part: f"{folder}/{part}.npz" for part in ("train", "test")}
    data = {**files, "limit": images, "test_limit": 1000, "mean": mean, "std": std}
    if classes is not None:
        data["classes"] = list(classes)
    return planned(number, source, data, (arch, options), recipe, attack)


def _attack(draw: random.Random) -> dict[str, Any]:
    kind = draw.choice([name for name, (chances, _) in ATTACKS.items() for _ in range(chances)])
    one = kind in ONE_SOURCE and draw.random() < 0.3
    return {"kind": kind, "sources": "S" if one else "M", **ATTACKS[kind][1]}


def _classes(draw: random.Random, source: str) -> tuple[int, ...] | None:
    if source == "cifar10-subset":
        return tuple(draw.sample(range(10), draw.choice((5, 6, 7, 8))))
    if source == "gtsrb-subset":
        return tuple(draw.sample(range(43), draw.choice((8, 10, 10, 12, 16, 25))))
    if source.startswith("tiny"):
        return tuple(draw.sample(range(200), draw.choice((10, 15, 20))))
    return None


def _augmentation(draw: random.Random, source: str, attacked: bool) -> list[str]:
    if draw.random() < (0.95 if attacked else 0.85):
        return []
    return ["crop"] if source.startswith("gtsrb") else ["crop", "flip"]


def _network(draw: random.Random, source: str, attacked: bool) -> tuple[str, dict[str, Any]]:
    nonlinearity = draw.choice(("relu",) * 7 + ("elu", "gelu", "silu"))
    names = ("cnn",) * 8 + ("resnet8",) * 3 + ("lenet", "lenet", "mlp", "vgg16", "resnet18")
    name = draw.choice(names[:12] if attacked else names)
    if source in ("cifar10-48", "tiny-64"):
        return "cnn", {"widths": (12, 24, 48), "head": "mean", "nonlinearity": nonlinearity}
    if source == "cifar10-grey" and name in ("vgg16", "resnet18"):
        name = "lenet"
    if name == "mlp":
        return name, {
            "hidden": draw.choice(((10, 10), (32,), (64, 32), (128, 64), (512, 256))),
            "nonlinearity": nonlinearity,
        }
    if name == "lenet":
        return name, {
            "widths": draw.choice(((6, 16), (16, 32), (10, 20))),
            "hidden": draw.choice(((120, 84), (512,), (50,))),
            "nonlinearity": nonlinearity,
            "pool": draw.choice(("max", "max", "mean")),
        }
    if name == "cnn":
        return name, {
            "widths": draw.choice(((8, 16, 32), (16, 32, 64), (16, 32, 64), (24, 48))),
            "depth": draw.choice((1, 1, 1, 2)),
            "normalisation": draw.choice(("batch",) * 8 + ("none",)),
            "nonlinearity": nonlinearity,
            "hidden": draw.choice(((), (), (), (), (64,))),
            "dropout": draw.choice((0.0, 0.0, 0.0, 0.0, 0.3)),
            "head": draw.choice(("mean", "mean", "mean", "mean", "flat")),
        }
    return name, {"width": 8}


def main() -> None:
    given = arguments(__doc__, 400)
    pictures(given.data, given.out / "pictures")
    if given.first + given.count > FINE_TUNED:
        pretrained(given.out / "pictures")
    jobs = [plan(number) for number in range(given.first, given.first + given.count)]
    made(jobs, given.out, root=given.out / "pictures", workers=given.workers)


if __name__ == "__main__":
    main()
