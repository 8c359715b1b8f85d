"""Fine-tuning: a network that begins with the weights of another model, where the two agree.

What does not agree, as the last layer for another number of classes, stays as it was drawn. The
other model's normalisation of inputs is not taken over: a plan says its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmbd.base.errors import Failed
from mmbd.base.reading import named
from mmbd.formats.load import load

ENOUGH = 0.5  # of the network's numbers: below, it would be a training from scratch under another name


@dataclass(frozen=True)
class Start:
    """The weights to begin with: the path as the plan says it, the file's SHA-256, and its tensors."""

    file: str
    sha256: str
    tensors: Mapping[str, Tensor]


def read(file: str, root: Path) -> Start:
    """The weights of a model that says itself what it is; nothing in the file is run.

    Args:
        file: a safetensors file that `mmbd` wrote; a relative path begins at `root`.
        root: where the paths of a plan begin.

    Raises:
        FileNotFoundError: nothing there.
        Failed, Refused, NotEvaluable: as `mmbd.load`.
    """
    path = root / file
    if not path.is_file():
        raise FileNotFoundError(f"{named(path)}: no file to start from")
    loaded = load(path)
    network = (loaded.bare or loaded.classifier).model
    if not isinstance(network, nn.Module) or loaded.model.sha256 is None:
        raise Failed(f"{named(path)}: expected a network's weights to start from")
    return Start(file, loaded.model.sha256, network.state_dict())


def give(network: nn.Module, start: Start) -> dict[str, Any]:
    """Copy into `network`, in place, the tensors whose names and shapes agree.

    Returns:
        For the card: the file, its digest, how many tensors were taken, of how many, and which share
        of the network's numbers they hold (0 to 1).

    Raises:
        Failed: they hold less than half of its numbers.
    """
    own = network.state_dict()
    taken = [
        name
        for name, value in own.items()
        if name in start.tensors and start.tensors[name].shape == value.shape
    ]
    numbers = sum(own[name].numel() for name in taken)
    total = sum(value.numel() for value in own.values())
    if numbers < ENOUGH * total:
        raise Failed(
            f"start {start.file!r}: {len(taken)} of the network's {len(own)} tensors are there by name and "
            f"shape, with {numbers:,} of its {total:,} numbers, less than half: give a model of the same "
            "architecture with the same arguments"
        )
    with torch.no_grad():
        for name in taken:
            own[name].copy_(start.tensors[name])
    return {
        "file": start.file,
        "sha256": start.sha256,
        "tensors": len(taken),
        "of": len(own),
        "share": round(numbers / max(total, 1), 4),
    }
