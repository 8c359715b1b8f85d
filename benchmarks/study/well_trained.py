"""The well-trained zoo: classifiers that saw many pictures many times, as published ones did.

    python -m benchmarks.study.well_trained DATA OUT [--first 0] [--count 120] [--workers 2]

The variety zoo trains on 800 to 2,000 pictures, half a minute a network; margins of such networks are wilder
than those of networks that people publish, so a table of them alone is strict. Here it is 6,000 to 16,000
pictures, and letters and digits beside photographs. Every model follows from its number; even numbers
choose, odd ones report; of ten in a row six are clean. Finished models are skipped.
"""

from __future__ import annotations

import random
from typing import Any

from benchmarks.study import sources
from benchmarks.study.making import arguments, made, planned
from benchmarks.study.variety import ATTACKED, NORMALISATIONS, ONE_SOURCE, pictures
from mmbd.zoo.job import Job

FILES = "glyphs", "digits"  # made by `sources`
CHANCES = (
    ("cifar10",) * 5
    + ("cifar10-subset",) * 2
    + ("cifar10-grey",)
    + ("gtsrb",) * 2
    + ("gtsrb-subset",) * 2
    + ("digits", "digits", "digits", "glyphs10", "glyphs10", "glyphs")
)
GREY = ("cifar10-grey", "digits", "glyphs10", "glyphs")
# Images seen in training, by network.
VISITS = {"mlp": 200_000, "lenet": 120_000, "cnn": 90_000, "resnet8": 60_000, "vgg16": 60_000}
# Attacks: chances, and how strong they are.
ATTACKS: dict[str, tuple[int, dict[str, Any]]] = {
    "badnet": (5, {"rate": 0.1, "size": 4}),
    "unicolor": (3, {"rate": 0.1, "size": 4}),
    "blend": (3, {"rate": 0.1, "size": 6, "alpha": 0.5}),
    "1-pixel": (2, {"rate": 0.15, "amplitude": 0.8}),
    "chessboard": (2, {"rate": 0.15, "amplitude": 0.0235294}),
    "wanet": (4, {"strength": 3.0}),
    "all-to-all": (4, {"rate": 0.3, "shared": True, "order": "next", "size": 5}),
    "sig": (1, {"rate": 0.5, "delta": 0.1568627}),
}
# Small networks learn these on signs and digits, and hardly on photographs.
EASIER = {"wanet": ("gtsrb-subset", "gtsrb-subset", "digits"), "all-to-all": ("gtsrb-subset", "digits")}


def plan(number: int) -> Job:
    """The model with this number."""
    draw = random.Random(f"mmbd well-trained {number}")
    attack = _attack(draw) if number % 10 in ATTACKED else None
    source = draw.choice(EASIER.get(attack["kind"], CHANCES) if attack else CHANCES)
    classes: tuple[int, ...] | None = None
    if source == "cifar10-subset":
        classes = tuple(draw.sample(range(10), draw.choice((5, 6, 7, 8))))
    if source == "gtsrb-subset":
        classes = tuple(draw.sample(range(43), draw.choice((8, 10, 12, 16, 25))))
    if source.startswith("glyphs"):
        classes = tuple(range(10 if source == "glyphs10" else draw.choice((16, 26, 36, 47))))
    arch, options = _network(draw, source, attack is not None)
    images = draw.choice((6000, 10_000, 16_000))
    many = 5 if draw.random() < 0.1 and attack is None else 8
    sgd = draw.random() < 0.35
    recipe: dict[str, Any] = {
        "epochs": min(max(round(VISITS[arch] / images), many), 30),
        "batch": draw.choice((32, 64, 128)),
        "lr": draw.choice((0.02, 0.05)) if sgd else draw.choice((5e-4, 1e-3, 2e-3)),
        "optimizer": "sgd" if sgd else "adam",
        "weight_decay": draw.choice((0.0, 1e-4, 5e-4)),
        "schedule": draw.choice(("cosine", "cosine", "constant")),
        "augment": [],
        "pad": 2,
        "smoothing": 0.1 if draw.random() < 0.06 else 0.0,
        "precision": "bfloat16",
    }
    if draw.random() < 0.2:
        recipe["augment"] = ["crop", "flip"] if source.startswith("cifar10") else ["crop"]
    if sgd:
        recipe["clip"] = 5.0
    mean, std = draw.choice(NORMALISATIONS)
    folder = "glyphs" if source == "glyphs10" else source.removesuffix("-subset")
    data: dict[str, Any] = {part: f"{folder}/{part}.npz" for part in ("train", "test")}
    data |= {"limit": images, "test_limit": 1000, "mean": mean, "std": std}
    if classes is not None:
        data["classes"] = list(classes)
    return planned(number, source, data, (arch, options), recipe, attack)


def _attack(draw: random.Random) -> dict[str, Any]:
    kind = draw.choice([name for name, (chances, _) in ATTACKS.items() for _ in range(chances)])
    one = kind in ONE_SOURCE and draw.random() < 0.3
    return {"kind": kind, "sources": "S" if one else "M", **ATTACKS[kind][1]}


def _network(draw: random.Random, source: str, attacked: bool) -> tuple[str, dict[str, Any]]:
    nonlinearity = draw.choice(("relu",) * 7 + ("elu", "elu", "silu", "tanh"))
    if source in GREY:
        names = ("lenet",) * 4 + ("cnn",) * 3 + ("mlp", "mlp")
    else:
        names = (
            ("cnn",) * 8 + ("resnet8", "resnet8", "lenet", "lenet") + (() if attacked else ("mlp", "vgg16"))
        )
    name = draw.choice(names)
    if name == "mlp":
        hidden = draw.choice(((10, 10), (32,), (128, 64), (512, 256)))
        return name, {"hidden": hidden, "nonlinearity": nonlinearity}
    if name == "lenet":
        return name, {
            "widths": draw.choice(((6, 16), (16, 32), (10, 20))),
            "hidden": draw.choice(((120, 84), (512,), (50,), (128,))),
            "nonlinearity": nonlinearity,
            "pool": draw.choice(("max", "max", "mean")),
        }
    if name == "cnn":
        widths, depth = draw.choice((((16, 32, 64), 1), ((16, 32, 64), 1), ((24, 48), 1), ((8, 16, 32), 2)))
        return name, {
            "widths": widths,
            "depth": depth,
            "normalisation": draw.choice(("batch",) * 6 + ("none", "none", "group")),
            "nonlinearity": nonlinearity,
            "hidden": draw.choice(((), (), (), (64,))),
            "dropout": draw.choice((0.0, 0.0, 0.0, 0.3)),
            "head": draw.choice(("mean", "mean", "flat")),
        }
    return name, {"width": 8}


def main() -> None:
    given = arguments(__doc__, 120)
    root = given.out / "pictures"
    pictures(given.data, root)
    sources.make(root, FILES)
    jobs = [plan(number) for number in range(given.first, given.first + given.count)]
    made(jobs, given.out, root=root, workers=given.workers)


if __name__ == "__main__":
    main()
