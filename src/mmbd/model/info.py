"""What is known of a model: its file, its architecture and its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from mmbd.model.classifier import Classifier


@dataclass(frozen=True)
class ModelInfo:
    """What was scanned. File, digest and format are None for a model that came from memory.

    `bounds` are the lowest and the highest valid element of an input; None if there are none.
    """

    name: str
    file: str | None
    sha256: str | None
    bytes: int | None
    format: str | None
    architecture: str
    parameters: int | None
    domain: str
    input_shape: tuple[int, ...]
    bounds: tuple[float, float] | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None


def unread(path: str | Path) -> ModelInfo:
    """The description of a file that was not loaded, of which only the name is known."""
    path = Path(path)
    return ModelInfo(
        name=path.name,
        file=str(path),
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
    )


def describe(classifier: Classifier) -> ModelInfo:
    """The description of a model that came from memory."""
    network = classifier.model
    name = type(network).__name__ if isinstance(network, nn.Module) else repr(network)
    parameters = classifier.parameter_count
    return ModelInfo(
        name=name,
        file=None,
        sha256=None,
        bytes=None,
        format=None,
        architecture=name,
        parameters=parameters,
        domain=repr(classifier.domain),
        input_shape=classifier.domain.shape,
        bounds=classifier.domain.bounds,
        mean=classifier.mean,
        std=classifier.std,
    )
