"""Networks by the names that timm and torchvision have for them: `timm:resnet10t`, `torchvision:resnet18`.

The libraries are the user's own. How many classes there are follows from the weights, and the size and the
normalisation of inputs are assumed to be those that the library's own weights were trained with.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from mmbd.base.errors import Failed
from mmbd.base.text import clean_text
from mmbd.formats.networks.factories import said
from mmbd.formats.networks.shim import torchvision_usable

# Further arguments to try where weights do not fit: heads that are there in training alone.
OTHERS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "googlenet": ({"aux_logits": False},),
    "inception_v3": ({"aux_logits": False},),
}


@dataclass(frozen=True)
class Named:
    """A network that a library has by name.

    Args:
        make: the network for so many classes, with further arguments by name.
        inputs: `input_shape`, `mean` and `std` that the library's own weights were trained with.
        others: arguments to try where weights do not fit.
    """

    make: Callable[..., nn.Module]
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    others: tuple[Mapping[str, Any], ...] = ()


def named(arch: str) -> Named | None:
    """The network of a library that `arch` names; None where it is none of these.

    A module of the user's own that is called timm or torchvision, and functions that the library itself has
    (`timm:create_model`), are left to `factories`.

    Raises:
        Failed: the library is there, but cannot be used.
    """
    where, _, name = arch.partition(":")
    if where not in LIBRARIES or not name.isidentifier():
        return None
    spec = importlib.util.find_spec(where)
    if spec is None or spec.origin is None or Path(spec.origin).parent.parent == Path.cwd():
        return None
    module = timm() if where == "timm" else torchvision()
    return None if callable(getattr(module, name, None)) else LIBRARIES[where](module, name)


def timm() -> Any:
    """The library; Failed where it is missing or cannot be used."""
    return _library("timm")


def torchvision() -> Any:
    """The library with its networks; Failed where it is missing or cannot be used."""
    _library("torchvision.models")
    return _library("torchvision")


def _library(name: str) -> Any:
    try:
        torchvision_usable()
        with unmoved():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise Failed(f"{error.name} is needed for this: pip install {error.name}") from error
    except Exception as error:  # of packages that do not go together
        raise Failed(f"{name} cannot be imported: {said(error)}. Mend the installation") from error


def _of_timm(library: Any, name: str) -> Named | None:
    if not library.is_model(name):
        return None

    def make(classes: int, **arguments: Any) -> nn.Module:
        with unmoved():
            return library.create_model(name, **{"pretrained": False, "num_classes": classes, **arguments})

    cfg: Any = library.get_pretrained_cfg(name)
    cfg = {} if cfg is None else cfg.to_dict()
    known = {
        key: tuple(cfg[there])
        for key, there in (("input_shape", "input_size"), ("mean", "mean"), ("std", "std"))
        if cfg.get(there)
    }
    return Named(make, known)


def _of_torchvision(library: Any, name: str) -> Named | None:
    models = library.models
    if name not in models.list_models(module=models):
        return None
    builder = models.get_model_builder(name)

    def make(classes: int, **arguments: Any) -> nn.Module:
        with unmoved():
            return builder(**{"weights": None, "num_classes": classes, **arguments})

    known: dict[str, Any] = {}
    weights = list(models.get_model_weights(name))
    if weights:
        kept: Any = weights[0].transforms()
        sides = (list(getattr(kept, "crop_size", [])) or [224]) * 2
        known = {"input_shape": (3, *sides[:2])}
        known |= {key: tuple(getattr(kept, key)) for key in ("mean", "std") if hasattr(kept, key)}
    return Named(make, known, OTHERS.get(name, ()))


@contextmanager
def unmoved() -> Generator[None]:
    """Without the warnings that libraries have for those who train."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def fitting(inputs: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a library's own weights, for a network with other channels or another size."""
    found = dict(inputs)
    shape = list(found.get("input_shape", ()))
    if type(channels := arguments.get("in_chans")) is int and shape and channels != shape[0]:
        shape[0] = channels
        found.pop("mean", None)
        found.pop("std", None)
    if (size := arguments.get("img_size")) is not None and len(shape) == 3:
        shape[1:] = [size, size] if isinstance(size, int) else list(size)
    if shape:
        found["input_shape"] = tuple(shape)
    return found


def words(inputs: Mapping[str, Any], arch: str) -> str:
    """What was assumed of inputs, in a sentence."""
    kept: list[str] = []
    for key, value in inputs.items():
        if key == "input_shape":
            kept.append(f"inputs of {'x'.join(map(str, value))}")
        else:
            kept.append(f"{key} {' '.join(f'{each:.4g}' for each in value)}")
    flags = {"input_shape": "--input", "mean": "--mean", "std": "--std"}
    return (
        f"assumed: {', '.join(kept)}, as the library has them for {clean_text(arch)}. Give "
        f"{', '.join(flags[key] for key in inputs)} if the network was trained otherwise"
    )


LIBRARIES: Mapping[str, Callable[[Any, str], Named | None]] = {
    "timm": _of_timm,
    "torchvision": _of_torchvision,
}
