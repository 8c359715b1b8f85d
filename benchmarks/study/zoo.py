"""Small classifiers for the study of the detector, clean and backdoored, as unlike as they come.

    python -m benchmarks.study.sources DATA        # once: data sets that are made, not found
    python -m benchmarks.study.zoo DATA OUT [--first 0] [--count 600] [--workers 2]

Every plan follows from its number alone, which is the model's seed: data set, classes, network,
training and, for every third number, an attack. `mmbd.zoo` makes the models; finished ones are
skipped, so a run can be killed and continued. Settings of the detector are chosen on the even
numbers and reported on the odd ones. Numbers from 1000 on are the quick series: fewer images and
steps, and no deep network. Those from 2000 on are the fitted series: real data only, and trained
until they fit it; those from 4000 on the same with fewer images and no augmentation, so that nearly
all of them do. Those from 3000 on are the pooled series: clean convolutional networks that end in
global pooling, with at least ten classes and longer training, as published models are.

The frozen statistics (`results/study_statistics.jsonl`) are of models that an earlier form of this
script made in a loop of its own, from the same draws; it also had white squares in a corner, for
which squares of one random colour stand now.
"""

from __future__ import annotations

import random
from typing import Any

from benchmarks.study.making import arguments, made
from mmbd.zoo import plan as plans
from mmbd.zoo.job import Job

SIGNS, SOUNDS = ("gtsrb", "gtsrb-subset"), ("fsdd-image", "fsdd", "commands")
ATTACKED_SETS = ("cifar10", "cifar10", "cifar10-grey", *SIGNS, "glyphs", "glyphs10", "digits", "tiny")
# Seconds an image of training on one core, measured roughly once; they only set the epochs.
QUICK, FITTED, POOLED, FEW = 1000, 2000, 3000, 4000
REAL = ("cifar10", "cifar10-grey", "cifar10", "cifar10-subset", *SIGNS, "tiny", "digits", "digits", *SOUNDS)
POOLED_SETS = ("cifar10",) * 5 + ("gtsrb", "gtsrb-subset", "tiny")
# Images seen in the pooled series.
VISITS = 200_000
COST = {
    "mlp": 3e-5,
    "lenet": 1.3e-4,
    "cnn": 6e-4,
    "resnet8": 1.2e-3,
    "resnet18": 2.5e-3,
    "vgg16": 2e-3,
    "m5": 5e-4,
}


def _files(folder: str, test: str = "test", kind: str = "parquet") -> dict[str, Any]:
    return {"train": f"{folder}/train.{kind}", "test": f"{folder}/{test}.{kind}"}


# By the source's name without "-subset" and the like: what a plan says of the data.
CIFAR10 = {**_files("cifar10"), "test_limit": 2000}
GTSRB = {**_files("gtsrb"), "size": [32, 32], "crop": 32 / 44, "test_limit": 3000}
DATA: dict[str, dict[str, Any]] = {
    "cifar10": CIFAR10,
    "cifar10-grey": {**CIFAR10, "grey": True, "size": [28, 28]},
    "cifar10-subset": CIFAR10,
    "gtsrb": GTSRB,
    "gtsrb-subset": GTSRB,
    "tiny": {**_files("tinyimagenet", "val"), "size": [32, 32]},
    "glyphs": _files("glyphs", kind="npz"),
    "glyphs10": _files("glyphs", kind="npz"),
    "digits": _files("digits", kind="npz"),
    "fsdd-image": _files("fsdd-image", kind="npz"),
    "fsdd": _files("fsdd"),
    "commands": _files("speech_commands"),
}
CLEAN_SETS = tuple(DATA)
CLASSES = {"gtsrb": 43}  # of sources that are taken whole; ten in the others
NORMALISATIONS = ((0.0, 1.0), (0.0, 1.0), (0.5, 0.5), (0.45, 0.25))


def plan(number: int) -> Job:
    """The model with this number."""
    return (_pooled if POOLED <= number < FEW else _various)(number)


def _various(number: int) -> Job:
    draw = random.Random(f"mmbd study {number}")
    attacked = number % 3 == 2
    fitted, few = number >= FITTED, number >= FEW
    source = draw.choice(REAL if fitted else ATTACKED_SETS if attacked else CLEAN_SETS)
    if attacked and source in ("fsdd", "commands"):
        source = "fsdd-image"  # triggers are for images
    classes = _classes(draw, source)
    arch, arguments = _architecture(draw, source, number >= QUICK)
    images = draw.choice((3000, 6000, 10000))
    budget = draw.choice((20, 30, 40)) if attacked else draw.choice((3, 8, 15, 25))
    if number >= QUICK:
        images, budget = draw.choice((2000, 3000, 5000)), budget / 4
    if fitted:
        images, budget = draw.choice((2000, 3000, 4000)), draw.choice((10, 15, 25))
    if few:
        images, budget = images // 2, 2 * budget
    epochs = round(budget / (COST[arch] * images))
    low, high = (15, 60) if fitted else (10, 40) if attacked else (3, 40)
    sgd = draw.random() < 0.35
    recipe: dict[str, Any] = {
        "epochs": min(max(epochs, low), high),
        "batch": draw.choice((32, 64, 128)),
        **_optimiser(draw, sgd, (5e-4, 1e-3, 2e-3)),
    }
    plain = draw.random() < (0.8 if attacked or fitted else 0.6) or arch == "m5" or few
    recipe["augment"] = [] if plain else _augmentation(source)
    recipe["pad"] = draw.choice((2, 4))
    recipe["smoothing"] = 0.1 if draw.random() < 0.08 else 0.0
    normalisation = draw.choice(NORMALISATIONS)
    attack = _attack(draw, source, classes) if attacked else None
    return _job(number, source, classes, images, (arch, arguments), recipe, normalisation, attack)


def _pooled(number: int) -> Job:
    draw = random.Random(f"mmbd study {number}")
    source = draw.choice(POOLED_SETS)
    classes = None
    if source == "gtsrb-subset":
        classes = tuple(draw.sample(range(43), draw.choice((10, 12, 16, 25))))
    if source == "tiny":
        classes = tuple(draw.sample(range(200), draw.choice((10, 20, 50))))
    arch = draw.choice(("cnn", "cnn", "cnn", "cnn", "vgg16", "resnet8"))
    arguments: dict[str, Any] = {"width": {"resnet8": draw.choice((8, 8, 16)), "vgg16": 8}.get(arch)}
    if arch == "cnn":
        arguments = {
            "widths": draw.choice(((16, 32, 64), (16, 32, 32, 64))),
            "head": "mean",
            "depth": 1,
            "normalisation": draw.choice(("batch", "batch", "group", "none")),
            "nonlinearity": draw.choice(("relu", "relu", "relu", "silu")),
        }
    images = min(5000, 100 * len(classes or ())) if source == "tiny" else 5000
    sgd = draw.random() < 0.4
    recipe: dict[str, Any] = {
        "epochs": min(VISITS // images, 60),
        "batch": draw.choice((64, 128)),
        **_optimiser(draw, sgd, (1e-3, 2e-3)),
        "augment": [] if draw.random() < 0.5 else _augmentation(source),
        "pad": draw.choice((2, 4)),
        "precision": "bfloat16",
    }
    normalisation = draw.choice(NORMALISATIONS)
    return _job(number, source, classes, images, (arch, arguments), recipe, normalisation, None)


def _job(
    number: int,
    source: str,
    classes: tuple[int, ...] | None,
    images: int,
    network: tuple[str, dict[str, Any]],
    recipe: dict[str, Any],
    normalisation: tuple[float, float],
    attack: dict[str, Any] | None,
) -> Job:
    """The one job of a plan, as it would be written in TOML."""
    mean, std = normalisation
    data = {**DATA[source], "limit": images, "mean": mean, "std": std}
    arch, arguments = network
    tables: dict[str, Any] = {"attack": {attack["kind"]: attack}} if attack else {}
    (job,) = plans.jobs(
        {
            "seeds": [number],
            "recipe": recipe,
            "data": {source: data if classes is None else data | {"classes": list(classes)}},
            "arch": {arch: arguments},
            **tables,
        }
    )
    return job


def _optimiser(draw: random.Random, sgd: bool, rates: tuple[float, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "lr": draw.choice((0.02, 0.05)) if sgd else draw.choice(rates),
        "optimizer": "sgd" if sgd else "adam",
        "weight_decay": draw.choice((0.0, 1e-4, 5e-4)),
        "schedule": draw.choice(("cosine", "cosine", "constant")),
    }
    return found | ({"clip": 5.0} if sgd else {})


def _augmentation(source: str) -> list[str]:
    return ["crop", "flip"] if source.startswith(("cifar10", "tiny")) else ["crop"]


def _classes(draw: random.Random, source: str) -> tuple[int, ...] | None:
    if source == "cifar10-subset":
        return tuple(draw.sample(range(10), draw.choice((5, 6, 7, 8))))
    if source == "gtsrb-subset":
        return tuple(draw.sample(range(43), draw.choice((8, 12, 16, 25))))
    if source == "tiny":
        return tuple(draw.sample(range(200), draw.choice((10, 20, 50, 100, 200))))
    if source == "glyphs":
        return tuple(range(draw.choice((16, 26, 36, 47, 62))))
    if source == "glyphs10":
        return tuple(range(10))
    return None


def _architecture(draw: random.Random, source: str, quick: bool) -> tuple[str, dict[str, Any]]:
    if source in ("fsdd", "commands"):
        return "m5", {"width": draw.choice((8, 16, 32))}
    small = quick or source in ("glyphs", "glyphs10", "digits", "fsdd-image")
    names = (
        ["mlp", "lenet", "lenet", "cnn", "cnn", "cnn"]
        if small
        else ["mlp", "lenet", "cnn", "cnn", "cnn", "resnet8", "resnet18", "vgg16"]
    )
    name = draw.choice(names)
    nonlinearity = draw.choice(("relu",) * 5 + ("elu", "gelu", "silu", "leaky_relu", "tanh"))
    if name == "mlp":
        hidden = draw.choice(((10, 10, 10), (32,), (64, 32), (128, 64), (256, 128), (512, 256, 64)))
        return name, {"hidden": hidden, "nonlinearity": nonlinearity}
    if name == "lenet":
        return name, {
            "widths": draw.choice(((6, 16), (16, 32), (10, 20))),
            "hidden": draw.choice(((120, 84), (512,), (50,), (128,))),
            "nonlinearity": nonlinearity,
            "pool": draw.choice(("max", "max", "mean")),
        }
    if name == "cnn":
        widths = draw.choice(((8, 16, 32), (16, 32), (16, 32, 64)))
        return name, {
            "widths": widths,
            "depth": draw.choice((1, 1, 2)),
            "normalisation": draw.choice(("batch", "batch", "none", "none", "group")),
            "nonlinearity": nonlinearity,
            "hidden": draw.choice(((), (), (128,), (64,))),
            "dropout": draw.choice((0.0, 0.3)),
            "head": draw.choice(("mean", "flat", "flat")),
        }
    if name == "resnet8":
        return name, {
            "width": draw.choice((8, 16)),
            "normalisation": draw.choice(("batch", "batch", "group")),
        }
    return name, {"width": {"resnet18": 8, "vgg16": 8}[name]}


def _attack(draw: random.Random, source: str, classes: tuple[int, ...] | None) -> dict[str, Any]:
    kind = draw.choice(
        ("badnet",) * 2
        + ("unicolor",) * 3
        + ("1-pixel", "unicolor", "blend", "everywhere", "chessboard", "warp")
    )
    size = draw.choice((3, 3, 4, 5))
    many = draw.choice(("all", "all", "all", "all", "one", "some"))
    number = len(classes) if classes else CLASSES.get(source, 10)
    found: dict[str, Any] = {
        "kind": kind,
        "sources": {"all": "M", "one": "S", "some": max(2, (number - 1) // 3)}[many],
        "rate": draw.choice((0.05, 0.1, 0.1)),
    }
    if kind in ("badnet", "unicolor"):
        found["size"] = size
    if kind == "blend":  # the paper's 3x3 patch at alpha 0.2 is too faint for networks this small
        found |= {"size": size, "alpha": 0.5}
    if kind == "everywhere":
        small = "size" not in DATA[source] or source == "cifar10-grey"
        found |= {"kind": "blend", "size": 28 if small and source != "cifar10" else 32, "alpha": 0.15}
    if kind == "warp":
        found["strength"] = 1.5
    return found


def main() -> None:
    given = arguments(__doc__, 600)
    jobs = [plan(number) for number in range(given.first, given.first + given.count)]
    made(jobs, given.out, root=given.data, workers=given.workers)


if __name__ == "__main__":
    main()
