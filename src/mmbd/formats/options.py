"""What a user may say about a file that the file does not say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from mmbd.model.domain import Bound


@dataclass(frozen=True)
class LoadOptions:
    """What the user said, each None where nothing was said; see `mmbd.load.load`."""

    arch: str | Callable[..., nn.Module] | None
    arch_args: dict[str, Any]
    input_shape: tuple[int, ...] | None
    bounds: tuple[Bound, Bound] | None
    mean: Bound | None
    std: Bound | None
    class_names: Sequence[str] | None
    device: torch.device | str
    classes: int | None
    entry: str | None
    output: int | str | None = None
    ends_in: str | None = None
    as_claimed: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])  # the file's, not the user's
