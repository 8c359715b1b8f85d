"""Reports of every kind that a renderer has to cope with, made by hand; no model is scanned."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mmbd.report import Model, PValue, Report, Run, Stability

CIFAR = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
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


def model(**changes: Any) -> Model:
    values: dict[str, Any] = {
        "name": "badnet-patch.safetensors",
        "file": "models/badnet-patch.safetensors",
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "bytes": 310_456,
        "format": "safetensors",
        "architecture": "resnet8(width=16)",
        "parameters": 77_850,
        "domain": "Box((3, 32, 32), low=0, high=1)",
        "input_shape": (3, 32, 32),
        "bounds": (0.0, 1.0),
        "mean": (0.4914, 0.4822, 0.4465),
        "std": (0.247, 0.2435, 0.2616),
    }
    return Model(**values | changes)


def run(**changes: Any) -> Run:
    values: dict[str, Any] = {
        "method": "fast",
        "settings": {"restarts": 4, "steps": 20, "rule": "l2", "size": 0.05, "tolerance": 1e-5},
        "seed": 0,
        "evaluations": 800,
        "seconds": 1.43,
        "batch": 40,
        "retreats": 0,
        "converged": 3,
        "searches": 40,
        "dead": 0,
        "device": "cpu",
        "started": "2025-11-22T14:13:07+00:00",
        "versions": {"mmbd": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
    }
    return Run(**values | changes)


def p_value(null: str, value: float, **parameters: float | None) -> PValue:
    return PValue(null, value, math.log10(value), parameters=parameters)


def p_values(population: float, *, paper: float = 3.4e-4) -> tuple[PValue, ...]:
    return (
        p_value("population", population, statistic=0.852, critical=0.431),
        p_value("bootstrap", min(1.0, 4 * population), draws=9999),
        p_value("paper", paper, shape=42.6, loc=0.0, scale=0.3652, exponent=9.0),
        p_value("authors", min(1.0, 2.6 * paper), shape=3.9, loc=10.7, scale=1.247, exponent=10.0),
        PValue("reference", None, None, reason="no reference models were given"),
    )


def curve(top: float, steps: int = 20) -> tuple[float, ...]:
    return tuple(top * (1 - 1.25 * math.exp(-5.2 * step / steps)) for step in range(steps))


def image(seed: int, shape: tuple[int, ...] = (3, 32, 32), strength: float = 0.4) -> Tensor:
    """Something like a maximising input: coloured waves under noise."""
    generator = torch.Generator().manual_seed(seed)
    height, width = shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = [
        torch.sin(rows / (2 + channel + seed % 5) + columns / (3 + seed % 4) + channel)
        for channel in range(shape[0])
    ]
    noise = torch.rand(shape, generator=generator) - 0.5
    return (0.5 + strength * torch.stack(waves) + noise * 0.6).clamp(0, 1)


CAVEATS = (
    "All-to-all attacks, in which every class is a target, need reference models to be seen.",
    "An adaptive trainer who knows this test can lower the margin of the target class.",
    "Attacks that succeed on few inputs leave a weaker mark.",
)
CLEAN_STATISTICS = (14.2, 17.9, 12.8, 15.1, 16.6, 13.3, 18.8, 15.7, 16.0, 14.9)


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
        model=model(file=None, sha256=None, bytes=None, format=None, parameters=None, mean=None,
                    std=None, bounds=None, name="Sequential"),
        run=None,
        caveats=(),
    )  # fmt: skip


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
            architecture="resnet50", input_shape=(3, 224, 224), parameters=25_557_032,
            domain="Box((3, 224, 224), low=0, high=1)", name="resnet50.safetensors",
            bytes=102_000_000,
        ),
        run=run(evaluations=61_240, searches=4000, batch=64, converged=211, seconds=3940.0),
        curves={label: curve(statistics[label], 40) for label in range(classes)},
        inputs={label: image(label, (3, 224, 224)) for label in order[:40]},
    )  # fmt: skip


def sounds() -> Report:
    time = torch.arange(8000) / 8000
    return replace(
        backdoored(),
        model=model(
            architecture="m5", name="digits-m5.safetensors", input_shape=(1, 8000),
            bounds=(-1.0, 1.0), domain="Box((1, 8000), low=-1, high=1)", mean=None, std=None,
        ),
        inputs={
            label: (torch.sin(time * 60 * (label + 1)) * torch.sin(time * 3.14))[None]
            for label in range(10)
        },
    )  # fmt: skip


def vectors(length: int = 13) -> Report:
    return replace(
        backdoored(),
        model=model(
            architecture="mlp", name="wine.safetensors", input_shape=(length,),
            bounds=(-3.0, 3.0), domain=f"Box(({length},), low=-3, high=3)", mean=None, std=None,
        ),
        inputs={
            label: 6 * torch.rand(length, generator=torch.Generator().manual_seed(label)) - 3
            for label in range(10)
        },
    )  # fmt: skip


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
        run=run(method=nasty, device=nasty, started=nasty, settings={nasty: nasty, "steps": nasty,
                "restarts": nasty}, versions={nasty: nasty}),
        caveats=(nasty,),
    )  # fmt: skip


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
        clean, backdoored, two_targets, reference, not_evaluable, few_classes, thousand, sounds,
        vectors, odd_inputs, hostile, unfinished,
    )
}  # fmt: skip
