"""The models of the frozen reports: bundled files, and small untrained networks of every kind of input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

import mmbd
from mmbd import nets

EXAMPLES = Path(__file__).parents[2] / "examples" / "models"


def model(name: str) -> Any:
    """What `mmbd.scan` takes: a bundled file loaded, or the untrained network of that name."""
    if name.endswith(".safetensors"):
        return mmbd.load(EXAMPLES / name)
    kind, _, seed = name.partition("-")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed))
        if kind == "points":
            network = nets.build("pointnet", classes=6, input_shape=(3, 48), width=8)
            return mmbd.Classifier(network.eval(), domain=mmbd.Points(48))
        if kind == "sound":
            layers = [nn.Conv1d(1, 8, 9, stride=4), nn.ReLU(), nn.AdaptiveAvgPool1d(8), nn.Flatten()]
            return mmbd.Classifier(
                nn.Sequential(*layers, nn.Linear(64, 7)), input_shape=(1, 256), bounds=(-1, 1)
            )
        layers = [nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 8)]
        return mmbd.Classifier(nn.Sequential(*layers), input_shape=(12,))


def references(count: int) -> Any:
    """Margins of so many untrained networks for vectors, those that a scan calls clean."""
    found: list[tuple[int, Any]] = []
    number = 10
    while len(found) < count:
        number += 1
        report = mmbd.scan(model(f"vector-{number}"), universal=False)
        if report.verdict == "clean":
            found.append((number, report))
    return mmbd.References.from_reports(found)
