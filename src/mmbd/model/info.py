"""What is known of a model: its file, its architecture and its inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # reading and rendering a report needs no torch
    from mmbd.model.classifier import Classifier


@dataclass(frozen=True)
class ModelInfo:
    """What was scanned. File, digest and format are None for a model that came from memory.

    `bounds` are the lowest and the highest valid element of an input; None if there are none. `beside` has
    the SHA-256 of every other file that was read for it, by name: shards, weights of an ONNX graph.
    """

    name: str
    file: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    format: str | None = None
    architecture: str = ""
    parameters: int | None = None
    domain: str = ""
    input_shape: tuple[int, ...] = ()
    bounds: tuple[float, float] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    beside: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def digest(self) -> str | None:
        """What the whole model is known by: its file's SHA-256; of several files, the SHA-256 of their list.

        That list has a line "SHA-256, two spaces, name" for each file beside, sorted by name, after one for
        the model's own file with an empty name. None for a model from memory.
        """
        if self.sha256 is None or not self.beside:
            return self.sha256
        lines = [f"{self.sha256}  ", *(f"{self.beside[name]}  {name}" for name in sorted(self.beside))]
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def unread(path: str | Path) -> ModelInfo:
    """What can be said of a file that was not loaded: its name."""
    return ModelInfo(name=Path(path).name, file=str(path))


def describe(classifier: Classifier, **of_its_file: Any) -> ModelInfo:
    """What a classifier says of itself, and what is known of the file that it comes from.

    Args:
        classifier: from memory or from a file.
        **of_its_file: fields of the result that are known better than from the classifier.
    """
    from torch import nn

    network = classifier.model
    name = type(network).__name__ if isinstance(network, nn.Module) else repr(network)
    found = ModelInfo(
        name=name,
        architecture=name,
        parameters=classifier.parameter_count,
        domain=repr(classifier.domain),
        input_shape=classifier.domain.shape,
        bounds=classifier.domain.bounds,
        mean=classifier.mean,
        std=classifier.std,
    )
    return replace(found, **of_its_file)
