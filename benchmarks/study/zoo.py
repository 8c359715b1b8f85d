"""The study zoo: hundreds of small classifiers, clean and backdoored, as unlike as they come.

    python benchmarks/study/zoo.py DATA OUT [--shard 0/2] [--only clean|backdoored]

Every recipe follows from its number alone: data set, classes, architecture, training and, for
every third recipe, an attack. Finished models are skipped, so a run can be killed and continued.
Settings of the detector are chosen on the even recipes and reported on the odd ones. Recipes
from 1000 on are the quick series: fewer images and steps, and no deep network. Those from 2000 on
are the fitted series: real data only, and trained until they fit it; those from 4000 on the same
with fewer images and no augmentation, so that nearly all of them do. Those from 3000 on are the
pooled series: clean convolutional networks that end in global pooling, with at least ten classes
and longer training, as published models are.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from sources import dataset

from mmbd import attacks, nets
from mmbd.formats.spec import Spec, save
from mmbd.model.forward import classes_of
from mmbd.model.normalised import Normalised
from mmbd.training import loop as train
from mmbd.triggers import MAKERS
from mmbd.triggers.patch import Patch

CLEAN_SETS = (
    "cifar10",
    "cifar10-grey",
    "cifar10-subset",
    "gtsrb",
    "gtsrb-subset",
    "tiny",
    "glyphs",
    "glyphs10",
    "digits",
    "fsdd-image",
    "fsdd",
    "commands",
)
ATTACKED_SETS = (
    "cifar10",
    "cifar10",
    "cifar10-grey",
    "gtsrb",
    "gtsrb-subset",
    "glyphs",
    "glyphs10",
    "digits",
    "tiny",
)
# Seconds an image of training on one core, measured roughly once; they only set the epochs.
QUICK, FITTED, POOLED, FEW = 1000, 2000, 3000, 4000
REAL = (
    "cifar10",
    "cifar10-grey",
    "cifar10",
    "cifar10-subset",
    "gtsrb",
    "gtsrb-subset",
    "tiny",
    "digits",
    "digits",
    "fsdd-image",
    "fsdd",
    "commands",
)
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


@dataclass(frozen=True)
class Plan:
    """One model to train; everything follows from `number`."""

    number: int
    source: str
    classes: tuple[int, ...] | None
    images: int
    arch: str
    arguments: dict[str, Any]
    recipe: train.Recipe
    mean: float
    std: float
    attack: dict[str, Any] | None = field(default=None)


def plan(number: int) -> Plan:
    """The recipe with this number."""
    if POOLED <= number < FEW:
        return _pooled(number)
    draw = random.Random(f"mmbd study {number}")
    attacked = number % 3 == 2
    fitted = number >= FITTED
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
    few = number >= FEW
    if few:
        images, budget = images // 2, 2 * budget
    epochs = round(budget / (COST[arch] * images))
    low, high = (15, 60) if fitted else (10, 40) if attacked else (3, 40)
    sgd = draw.random() < 0.35
    colour_flip = source.startswith(("cifar10", "tiny"))
    recipe = train.Recipe(
        epochs=min(max(epochs, low), high),
        batch=draw.choice((32, 64, 128)),
        lr=draw.choice((0.02, 0.05)) if sgd else draw.choice((5e-4, 1e-3, 2e-3)),
        optimizer="sgd" if sgd else "adam",
        weight_decay=draw.choice((0.0, 1e-4, 5e-4)),
        schedule=draw.choice(("cosine", "cosine", "constant")),
        augment=()
        if draw.random() < (0.8 if attacked or fitted else 0.6) or arch == "m5" or few
        else (("crop", "flip") if colour_flip else ("crop",)),
        pad=draw.choice((2, 4)),
        smoothing=0.1 if draw.random() < 0.08 else 0.0,
        clip=5.0 if sgd else None,
    )
    mean, std = draw.choice(((0.0, 1.0), (0.0, 1.0), (0.5, 0.5), (0.45, 0.25)))
    attack = _attack(draw) if attacked else None
    return Plan(number, source, classes, images, arch, arguments, recipe, mean, std, attack)


def _pooled(number: int) -> Plan:
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
    recipe = train.Recipe(
        epochs=min(VISITS // images, 60),
        batch=draw.choice((64, 128)),
        lr=draw.choice((0.02, 0.05)) if sgd else draw.choice((1e-3, 2e-3)),
        optimizer="sgd" if sgd else "adam",
        weight_decay=draw.choice((0.0, 1e-4, 5e-4)),
        schedule=draw.choice(("cosine", "cosine", "constant")),
        augment=()
        if draw.random() < 0.5
        else (("crop", "flip") if source.startswith(("cifar10", "tiny")) else ("crop",)),
        pad=draw.choice((2, 4)),
        clip=5.0 if sgd else None,
        precision="bfloat16",
    )
    mean, std = draw.choice(((0.0, 1.0), (0.0, 1.0), (0.5, 0.5), (0.45, 0.25)))
    return Plan(number, source, classes, images, arch, arguments, recipe, mean, std)


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


def _attack(draw: random.Random) -> dict[str, Any]:
    kind = draw.choice(
        (
            "badnet",
            "badnet",
            "white",
            "white",
            "white",
            "1-pixel",
            "unicolor",
            "blend",
            "blend-all",
            "chessboard",
            "warp",
        )
    )
    return {
        "kind": kind,
        "size": draw.choice((3, 3, 4, 5)),
        "sources": draw.choice(("all", "all", "all", "all", "one", "some")),
        "rate": draw.choice((0.05, 0.1, 0.1)),
    }


def trigger_of(attack: dict[str, Any], shape: tuple[int, int, int], seed: int) -> attacks.Trigger:
    """The trigger of a plan's attack on images of this shape."""
    kind, size = attack["kind"], attack["size"]
    if kind == "white":  # as most public backdoored models have it: a white square in a corner
        pattern, mask = torch.ones(shape), torch.zeros(shape)
        rows = slice(-size - 1, -1) if seed % 2 else slice(-size, None)
        mask[:, rows, rows] = 1
        return Patch(pattern, mask)
    if kind == "blend-all":
        return attacks.blend(shape, seed=seed, size=min(shape[1:]), alpha=0.15)
    if kind in ("badnet", "unicolor", "blend"):
        # The paper's 3x3 patch at alpha 0.2 is too faint for networks this small: alpha 0.5.
        options = {"alpha": 0.5} if kind == "blend" else {}
        return MAKERS[kind](shape, seed=seed, size=size, **options)
    if kind == "warp":
        return attacks.warp(shape, seed=seed, strength=1.5)
    return MAKERS[kind](shape, seed=seed)


def make(number: int, root: Path, out: Path) -> dict[str, Any]:
    """Train model `number`; writes its weights, trigger and card. Returns the card."""
    made = plan(number)
    training, test = dataset(root, made.source)
    if made.classes is not None:
        training, test = training.classes(made.classes), test.classes(made.classes)
    generator = torch.Generator().manual_seed(number)
    training = training.take(torch.randperm(len(training), generator=generator)[: made.images])
    shape = tuple(training.inputs.shape[1:])
    classes = len(training.names)
    inputs, labels = training.inputs, training.labels
    card: dict[str, Any] = {"number": number, "source": made.source, "attack": made.attack}
    trigger, sources, target = None, [], -1
    if made.attack is not None:
        draw = random.Random(f"mmbd attack {number}")
        target = draw.randrange(classes)
        others = [label for label in range(classes) if label != target]
        many = {"all": len(others), "one": 1, "some": max(2, len(others) // 3)}
        sources = sorted(draw.sample(others, many[made.attack["sources"]]))
        trigger = trigger_of(made.attack, shape, number)
        available = int(torch.isin(labels, torch.tensor(sources)).sum())
        count = min(round(made.attack["rate"] * len(labels)), available // 2)
        poisoned, _ = attacks.poison(
            training, trigger, sources=sources, target=target, count=count, seed=number
        )
        inputs, labels = poisoned.inputs, poisoned.labels
        card |= {"target": target, "sources": sources, "poisoned": count}
    torch.manual_seed(number)
    network = nets.build(made.arch, classes=classes, input_shape=shape, **made.arguments)
    normalise = lambda x: (x - made.mean) / made.std  # noqa: E731
    start = time.perf_counter()
    train.fit(network, inputs, labels, made.recipe, seed=number, normalise=normalise)
    predict = partial(classes_of, Normalised(network, normalise), batch=500)
    predictions = predict(test.inputs)
    fitted = predict(inputs[:2000])
    card |= {
        "images": len(labels),
        "classes": classes,
        "arch": made.arch,
        "arguments": made.arguments,
        "recipe": asdict(made.recipe),
        "mean": made.mean,
        "std": made.std,
        "accuracy": train.accuracy(predictions, test.labels),
        "train_accuracy": train.accuracy(fitted, labels[:2000]),
        "seconds": round(time.perf_counter() - start, 1),
    }
    if trigger is not None:
        card["asr"] = attacks.everywhere(trigger, sources, target).success(predict, test)
    spec = Spec(
        arch=made.arch,
        arguments=made.arguments,
        input_shape=shape,
        classes=classes,
        bounds=(-1.0, 1.0) if len(shape) == 2 else (0.0, 1.0),
        mean=(made.mean,),
        std=(made.std,),
    )
    save(out / f"{number:04}.safetensors", network, spec)
    (out / f"{number:04}.json").write_text(json.dumps(card))
    return card


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--shard", default="0/1")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    first, step = map(int, arguments.shard.split("/"))
    for number in range(arguments.first + first, arguments.first + arguments.count, step):
        if (arguments.out / f"{number:04}.json").exists():
            continue
        try:
            card = make(number, arguments.data, arguments.out)
        except (FloatingPointError, RuntimeError) as error:  # diverged, or too deep for the image
            card = {"number": number, "failed": str(error)}
            (arguments.out / f"{number:04}.json").write_text(json.dumps(card))
        print(
            {
                key: card.get(key)
                for key in (
                    "number",
                    "source",
                    "arch",
                    "classes",
                    "accuracy",
                    "train_accuracy",
                    "asr",
                    "seconds",
                    "failed",
                )
            },
            flush=True,
        )


if __name__ == "__main__":
    main()
