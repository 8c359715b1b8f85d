"""Reports of every kind that a renderer has to cope with, made by hand; no model is scanned."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from functools import cache

import torch

from helpers.report_parts import CAVEATS, CIFAR, CLEAN_STATISTICS, curve, image, model, p_value, p_values, run
from mmbd.results.report import PValue, Report, Stability

__all__ = ["CAVEATS", "model", "p_value", "p_values"]

HOSTILE = (
    "<script>alert(1)</script>",
    "</style></title><img src=x onerror=alert(1)>",
    '" onload="alert(1)',
    "[red]rich[/red] [link=file:///etc/passwd]markup[/link]",
    "esc\x1b[31mape\x1b]0;title\x07",
    "two\nlines\r\tand\x85tabs",
    "bidi\u202eevil\u2066\u200b",
    "{{ 7 * 7 }} {% raw %} {0}",
    "Z" + "\u0334" * 500,
    "&amp; ' \\ ‮ \ud800 " + "long " * 500,
)


def clean() -> Report:
    return Report(
        verdict="clean",
        reason=None,
        targets=(),
        p_value=0.41,
        level=0.05,
        null="population",
        p_values=p_values(0.41, paper=0.31),
        statistics=CLEAN_STATISTICS,
        class_p_values=None,
        class_names=CIFAR,
        ratio=18.8 / 17.9,
        stability=None,
        model=model(name="clean.safetensors", file="models/clean.safetensors"),
        run=run(),
        caveats=CAVEATS,
        curves={label: curve(value) for label, value in enumerate(CLEAN_STATISTICS)},
        inputs={label: image(label) for label in range(10)},
    )


def universal() -> Report:
    """With universal gains; one of them is not there."""
    gains = (2.0, 1.5, 1.75, 9.1, None, 0.5, 3.0, 2.5, 1.25, 0.25)
    return replace(
        backdoored(),
        null="joint",
        p_values=(p_value("joint", 0.0021, statistic=2.1, usual=0.2), *p_values(0.03)),
        gains=gains,
        run=run(universal={"inputs": 10, "steps": 8}),
    )


def backdoored() -> Report:
    statistics = (*CLEAN_STATISTICS[:3], 41.7, *CLEAN_STATISTICS[4:])
    return replace(
        clean(),
        verdict="backdoored",
        targets=(3,),
        p_value=0.0021,
        p_values=p_values(0.0021),
        statistics=statistics,
        ratio=41.7 / 18.8,
        model=model(),
        curves={label: curve(value) for label, value in enumerate(statistics)},
        stability=Stability((0, 1, 2, 3, 4), (3, 3, 3, 3, 6), (0.0021, 0.0034, 0.0019, 0.004, 0.2)),
    )


def two_targets() -> Report:
    report = backdoored()
    statistics = (*report.statistics[:9], 38.4)
    return replace(
        report,
        targets=(3, 9),
        statistics=statistics,
        stability=None,
        curves={label: curve(value or 0.0) for label, value in enumerate(statistics)},
    )


def reference() -> Report:
    """All-to-all: found with reference models only."""
    by_class = (0.21, 0.0099, 0.0099, 0.0099, 0.0198, 0.5, 0.0099, 0.0099, 0.0099, 0.0297)
    return replace(
        backdoored(),
        targets=(6, 1, 2, 3, 7, 8),
        null="reference",
        p_value=0.0099,
        p_values=(p_value("reference", 0.0099, references=100.0), p_value("population", 0.62)),
        class_p_values=by_class,
        stability=None,
    )


def not_evaluable() -> Report:
    """Refused before a search was run."""
    return Report(
        verdict="not evaluable",
        reason="the outputs are probabilities (they sum to 1), not logits",
        targets=(),
        p_value=None,
        level=0.05,
        null=None,
        p_values=(),
        statistics=(),
        class_p_values=None,
        class_names=(),
        ratio=None,
        stability=None,
        model=model(
            file=None,
            sha256=None,
            bytes=None,
            format=None,
            parameters=None,
            mean=None,
            std=None,
            bounds=None,
            name="Sequential",
        ),
        run=None,
        caveats=(),
    )


def refused() -> Report:
    """A file that was not loaded: nothing is known but its name."""
    return replace(
        not_evaluable(),
        reason="refused: the file holds a program; globals: os.system, builtins.eval",
        model=model(
            name="model.pt",
            file="in/model.pt",
            sha256=None,
            bytes=None,
            format=None,
            architecture="",
            parameters=None,
            domain="",
            input_shape=(),
            bounds=None,
            mean=None,
            std=None,
        ),
    )


def few_classes() -> Report:
    """Not evaluable after a search: too few classes, one of them dead."""
    return replace(
        clean(),
        verdict="not evaluable",
        reason="3 classes are too few for a null; give reference models",
        p_value=None,
        null=None,
        p_values=(PValue("paper", None, None, reason="2 statistics are too few for a Gamma fit"),),
        statistics=(12.5, None, -3.25),
        class_names=("0", "1", "2"),
        ratio=None,
        run=run(dead=4, retreats=2),
        curves={0: curve(12.5), 2: (-3.25,)},
        inputs={0: image(0), 2: image(2)},
    )


@cache
def thousand(classes: int = 1000) -> Report:
    draw = random.Random(1)
    statistics = [draw.gammavariate(30, 0.5) for _ in range(classes)]
    statistics[417] = 52.25
    order = sorted(range(classes), key=lambda label: -statistics[label])
    return replace(
        backdoored(),
        targets=(417,),
        statistics=tuple(statistics),
        p_values=(
            *p_values(0.0021)[:2],
            p_value("paper", 7e-9, shape=30.0, loc=0.0, scale=0.5, exponent=999.0),
        ),
        class_names=tuple(f"n{label:08d} some ImageNet category" for label in range(classes)),
        ratio=52.25 / statistics[order[1]],
        stability=None,
        model=model(
            architecture="resnet50",
            input_shape=(3, 224, 224),
            parameters=25_557_032,
            domain="Box((3, 224, 224), low=0, high=1)",
            name="resnet50.safetensors",
            bytes=102_000_000,
        ),
        run=run(evaluations=61_240, searches=4000, batch=64, converged=211, seconds=3940.0),
        curves={label: curve(statistics[label], 40) for label in range(classes)},
        inputs={label: image(label, (3, 224, 224)) for label in order[:40]},
    )


def sounds() -> Report:
    time = torch.arange(8000) / 8000
    return replace(
        backdoored(),
        model=model(
            architecture="m5",
            name="digits-m5.safetensors",
            input_shape=(1, 8000),
            bounds=(-1.0, 1.0),
            domain="Box((1, 8000), low=-1, high=1)",
            mean=None,
            std=None,
        ),
        inputs={
            label: (torch.sin(time * 60 * (label + 1)) * torch.sin(time * 3.14))[None] for label in range(10)
        },
    )


def vectors(length: int = 13) -> Report:
    return replace(
        backdoored(),
        model=model(
            architecture="mlp",
            name="wine.safetensors",
            input_shape=(length,),
            bounds=(-3.0, 3.0),
            domain=f"Box(({length},), low=-3, high=3)",
            mean=None,
            std=None,
        ),
        inputs={
            label: 6 * torch.rand(length, generator=torch.Generator().manual_seed(label)) - 3
            for label in range(10)
        },
    )


def odd_inputs() -> Report:
    """Shapes without a picture, extreme shapes, and values that are not finite."""
    return replace(
        backdoored(),
        model=model(bounds=None),
        inputs={
            0: torch.rand(5, 8, 8),
            1: torch.rand(2, 3, 4, 5),
            2: torch.tensor(0.5),
            3: torch.full((3, 32, 32), torch.nan),
            4: torch.rand(1, 28, 28),
            5: torch.zeros(1, 1),
            6: torch.full((7,), torch.inf),
            7: torch.rand(3, 1, 4000),
            8: torch.zeros(0),
        },
    )


def hostile() -> Report:
    """Every text in the report is an attack."""
    nasty = " ".join(HOSTILE[:8])
    report = backdoored()
    return replace(
        report,
        class_names=HOSTILE,
        null=nasty,
        p_values=(
            PValue(nasty, 0.001, -3.0, parameters={nasty: 1.0, "shape": -1.0}),
            PValue("other", None, None, reason=nasty),
        ),
        model=model(name=nasty, file="../" + nasty, architecture=nasty, domain=nasty, format=nasty),
        run=run(
            method=nasty,
            device=nasty,
            started=nasty,
            settings={nasty: nasty, "steps": nasty, "restarts": nasty},
            versions={nasty: nasty},
        ),
        caveats=(nasty,),
    )


def unfinished() -> Report:
    """Numbers that are not finite wherever the types allow a number."""
    nan, inf = math.nan, math.inf
    return replace(
        backdoored(),
        p_value=nan,
        p_values=(
            PValue("population", nan, nan, parameters={"statistic": inf}),
            PValue("paper", 0.0, -inf, parameters={"shape": nan, "loc": inf, "scale": 0.0}),
        ),
        statistics=(nan, inf, -inf, *CLEAN_STATISTICS[3:]),
        ratio=inf,
        stability=Stability((0,), (3,), (nan,)),
        run=run(settings={"size": inf}),
        curves={3: (nan, inf, 1.0), 4: (nan,), 5: ()},
    )


ALL = {
    made.__name__: made
    for made in (
        clean,
        backdoored,
        two_targets,
        reference,
        not_evaluable,
        refused,
        few_classes,
        thousand,
        sounds,
        vectors,
        odd_inputs,
        hostile,
        unfinished,
    )
}
