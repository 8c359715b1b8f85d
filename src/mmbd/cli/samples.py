"""Clean samples for a model, read for `mmbd fix`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmbd.base.errors import Failed
from mmbd.workflows import scan_file as gate

if TYPE_CHECKING:
    from mmbd.data.dataset import Dataset
    from mmbd.formats.loaded import Loaded
    from mmbd.model.domain import Domain


def read(path: Path, loaded: Loaded) -> Dataset:
    """Samples in the shape of the model's inputs, numbered as its classes.

    Raises:
        Failed: nothing there, broken, or of other classes.
    """
    from mmbd.data import read as data
    from mmbd.workflows import repair as fixing

    try:
        samples = data.load(path, **_shape(loaded.classifier.domain))
        return fixing.fitting(samples, loaded.classifier)
    except (ValueError, OSError) as error:
        words = str(error)
        named = words if str(path) in words else f"{path}: {words}"
        raise Failed(named) from error
    except Exception as error:
        raise Failed(f"{path}: these samples cannot be used: {gate.raised(error)}") from error


def _shape(domain: Domain) -> dict[str, Any]:
    """Options of `data.load` for inputs of this domain."""
    from mmbd.model.domain import kind_of

    if kind_of(domain) == "points":
        return {"points": domain.shape[-1]}
    if kind_of(domain) == "image":
        return {"size": (domain.shape[1], domain.shape[2]), "grey": domain.shape[0] == 1}
    return {"samples": domain.shape[-1]}
