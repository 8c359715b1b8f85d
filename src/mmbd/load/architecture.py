"""Networks to load weights into: built-in ones by name, and factories in the user's own code.

The user's code is trusted: it is theirs, and they named it. What a file says about itself is not:
the network that its metadata describes may not cost more memory than the file.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from mmbd.errors import Failed
from mmbd.load.text import shown

# Numbers in one input, and in all that it turns into inside a network that a file describes. A
# ResNet-50 at 224 x 224 makes about 30 million.
MAX_INPUT = 1 << 24
MAX_ACTIVATIONS = 1 << 26


def parse_arguments(pairs: Iterable[str]) -> dict[str, Any]:
    """`key=value` texts as keyword arguments; values are Python literals, or else plain text.

    Raises:
        ValueError: a text without a key and `=`.

    Example:
        >>> parse_arguments(["depth=3", "widths=(8, 16)", "bias=False", "norm=batch"])
        {'depth': 3, 'widths': (8, 16), 'bias': False, 'norm': 'batch'}
    """
    arguments: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip().isidentifier():
            raise ValueError(f"expected key=value, got {pair!r}")
        try:
            arguments[key.strip()] = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            arguments[key.strip()] = text
    return arguments


def label(arch: str | Callable[..., Any], arguments: Mapping[str, Any]) -> str:
    """The architecture as one writes it: `resnet8(width=16)`, `nets.py:small(depth=3)`."""
    name = arch if isinstance(arch, str) else getattr(arch, "__qualname__", type(arch).__name__)
    inside = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    return shown(f"{name}({inside})" if inside else name, 200)


def factory(arch: str) -> Callable[..., Any]:
    """The factory at `package.module:name` or `path/to/file.py:name`.

    Raises:
        Failed: no such module, file or name, or an error while importing it.
    """
    where, colon, name = arch.rpartition(":")
    if not colon or not where or not name:
        raise Failed(
            f"expected an architecture as NAME, package.module:factory or file.py:factory, "
            f"got {arch!r}"
        )
    try:
        module = (
            _from_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
        )
    except (Exception, SystemExit) as error:  # the user's code: anything may come
        raise Failed(f"cannot import {where!r} for --arch {arch}: {_said(error)}") from error
    found: Any = getattr(module, name, None)
    if not callable(found):
        raise Failed(f"{where!r} has no function or class {name!r} (--arch {arch})")
    return found


def _from_file(path: Path) -> Any:
    """Import a file, with its folder importable meanwhile, as if it were run as a script."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    path = path.resolve()
    spec = importlib.util.spec_from_file_location(f"mmbd_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    folder = str(path.parent)
    sys.modules[spec.name] = module  # dataclasses and pickling look there
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(spec.name, None)
        raise
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
    return module


def build(
    make: Callable[[], Any], name: str, within: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """Call a factory, with the random state as it was afterwards; `name` is for messages.

    With `within`, the tensors of a file, stop as soon as the network has more parameters than
    those: what a file says about itself must not cost more than the file. Parameters are
    registered before they are filled, so that too large a one has taken no memory yet.

    Raises:
        Failed: the factory raises, or returns no `nn.Module`, or goes beyond `within`.
    """
    most = len(within or ())
    room = sum(tensor.numel() for tensor in (within or {}).values())
    count = elements = 0

    def tally(module: nn.Module, key: str, parameter: nn.Parameter | None) -> None:
        nonlocal count, elements
        if parameter is not None:
            count, elements = count + 1, elements + parameter.numel()
        if count > most or elements > room:
            raise Failed(
                f"the file says it is {name}, but it holds no more than {most} tensors with "
                f"{room:,} elements: too few for that"
            )

    watch = nullcontext() if within is None else register_module_parameter_registration_hook(tally)
    with torch.random.fork_rng(devices=[]), watch:
        try:
            network = make()
        except Failed:
            raise
        except (Exception, SystemExit) as error:  # somebody's code: anything may come
            raise Failed(f"the architecture {name} cannot be built: {_said(error)}") from error
    if not isinstance(network, nn.Module):
        raise Failed(f"{name} returned {type(network).__name__}, expected an nn.Module")
    return network


def check_activations(network: nn.Module, input_shape: tuple[int, ...], name: str) -> None:
    """Run one input through, and stop before its layers' outputs add up to gigabytes.

    Networks of convolutions take inputs of any size, so the weights do not bound this.

    Raises:
        Failed: more than MAX_ACTIVATIONS numbers, or such inputs do not fit the network.
    """
    total = 0

    def add(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal total
        given = inputs[0] if inputs else None
        if not isinstance(given, Tensor) or given.dim() < 2:
            return
        channels = getattr(module, "out_channels", getattr(module, "out_features", given.shape[1]))
        total += given.numel() // given.shape[1] * int(channels)
        if total > MAX_ACTIVATIONS:
            raise Failed(f"inputs of shape {input_shape} need gigabytes in {name}: not loaded")

    if math.prod(input_shape) > MAX_INPUT:
        raise Failed(f"inputs of shape {input_shape} need gigabytes in {name}: not loaded")
    leaves = [module for module in network.modules() if next(module.children(), None) is None]
    handles = [leaf.register_forward_pre_hook(add) for leaf in leaves]
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, *input_shape))
    except Failed:
        raise
    except Exception as error:  # shapes that do not fit raise all kinds of errors
        raise Failed(f"{name} does not take inputs of {input_shape}: {_said(error)}") from error
    finally:
        for handle in handles:
            handle.remove()


def classes_in(network: nn.Module, tensors: Mapping[str, Tensor]) -> int:
    """How many classes a file's tensors are for, given the network for two classes.

    The last layer is the one whose first length is 2 there and something else in the file.
    """
    found = 2
    for key, value in network.state_dict().items():
        given = tensors.get(key)
        if given is None or value.dim() == 0 or given.dim() != value.dim() or value.shape[0] != 2:
            continue
        if given.shape[1:] == value.shape[1:]:
            found = int(given.shape[0])
    return found


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {shown(str(error), 300)}"
