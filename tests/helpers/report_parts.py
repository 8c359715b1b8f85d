"""The parts that the example reports are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmbd.model.info import ModelInfo
from mmbd.results.finding import Artifact, Column, Finding, Test
from mmbd.results.report import Report, Run

CIFAR = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def model(**changes: Any) -> ModelInfo:
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
    return ModelInfo(**values | changes)


def run(**changes: Any) -> Run:
    values: dict[str, Any] = {
        "seed": 0,
        "started": "2025-11-22T14:13:07+00:00",
        "seconds": 1.43,
        "device": "cpu",
        "versions": {"mmbd": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
    }
    return Run(**values | changes)


def settings(universal: dict[str, Any] | None = None) -> dict[str, Any]:
    """How MM-BD was run."""
    margins = {"restarts": 4, "steps": 20, "rule": "l2", "size": 0.05, "tolerance": 1e-5}
    return {"method": "fast", "maximum_margins": margins, "universal_perturbations": universal}


def facts(**changes: Any) -> dict[str, Any]:
    """What MM-BD's searches came to."""
    return {
        "searches": 40,
        "converged": 3,
        "zero_gradient": 0,
        "evaluations": 800,
        "batch": 40,
        "oom_retries": 0,
        **changes,
    }


def p_value(
    name: str,
    value: float,
    statistic: float | None = None,
    threshold: float | None = None,
    **parameters: float | None,
) -> Test:
    return Test(name, statistic, value, math.log10(value), threshold, parameters=parameters)


def p_values(population: float, *, paper: float = 3.4e-4) -> tuple[Test, ...]:
    return (
        p_value("population", population, statistic=0.852, threshold=0.431),
        p_value("bootstrap", min(1.0, 4 * population), draws=9999),
        p_value("paper", paper, shape=42.6, loc=0.0, scale=0.3652, exponent=9.0),
        p_value("authors", min(1.0, 2.6 * paper), shape=3.9, loc=10.7, scale=1.247, exponent=10.0),
        Test("reference", reason="no reference models were given"),
    )


def ranked(statistics: Sequence[float | None]) -> tuple[int, ...]:
    """The classes by MM-BD's statistic, the largest first."""
    known = {
        label: value for label, value in enumerate(statistics) if value is not None and math.isfinite(value)
    }
    return tuple(sorted(known, key=lambda label: (-known[label], label)))


def margins(statistics: Sequence[float | None]) -> Column:
    """MM-BD's first column."""
    return Column("maximum margin", tuple(statistics), "logits")


def inputs(tensors: Mapping[int, Tensor]) -> tuple[Artifact, ...]:
    """Maximising inputs, one a class."""
    return tuple(Artifact("maximising input", label, tensor) for label, tensor in tensors.items())


def mm_bd(statistics: Sequence[float | None], tests: Sequence[Test], **changes: Any) -> Finding:
    """What MM-BD finds with these statistics: clean, by the first test."""
    values: dict[str, Any] = {
        "verdict": "clean",
        "ranking": ranked(statistics),
        "score": None if not tests or tests[0].log10 is None else -tests[0].log10,
        "decided_by": tests[0].name if tests else None,
        "tests": tuple(tests),
        "columns": (margins(statistics),),
        "traces": {label: curve(value) for label, value in enumerate(statistics) if value is not None},
        "caveats": CAVEATS,
        "settings": settings(),
        "facts": facts(),
    }
    return Finding(**values | changes)


def report(finding: Finding, **changes: Any) -> Report:
    """A report on one of CIFAR-10's classifiers."""
    values: dict[str, Any] = {
        "detector": "mm-bd",
        "version": 1,
        "level": 0.05,
        "class_names": CIFAR,
        "model": model(),
        "run": run(),
    }
    return Report(finding=finding, **values | changes)


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
