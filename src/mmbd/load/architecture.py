"""Networks to load weights into: built-in ones by name, and factories in the user's own code.

The user's code is trusted: it is theirs, and they named it. What a file says about itself is not:
the network that its metadata describes is laid out without memory first.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from mmbd.errors import Failed
from mmbd.load.text import shown

# Numbers that one input may turn into inside a network that a file describes: 512 MiB of float32.
# A ResNet-50 at 224 x 224 makes about 20 million.
MAX_ACTIVATIONS = 1 << 27


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


def build(make: Callable[[], Any], name: str) -> nn.Module:
    """Call a factory, with the random state as it was afterwards; `name` is for messages.

    Raises:
        Failed: it raises, or returns no `nn.Module`.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            network = make()
        except Failed:
            raise
        except (Exception, SystemExit) as error:  # somebody's code: anything may come
            raise Failed(f"the architecture {name} cannot be built: {_said(error)}") from error
    if not isinstance(network, nn.Module):
        raise Failed(f"{name} returned {type(network).__name__}, expected an nn.Module")
    return network


def skeleton(make: Callable[[], Any], name: str, within: Mapping[str, Tensor] | None) -> nn.Module:
    """Build on the meta device, where tensors have shapes and no memory.

    With `within`, the tensors of a file, stop as soon as the network has more parameters than
    those: what a file says about itself must not cost more than the file.

    Raises:
        Failed: as `build`, or more parameters than the file.
    """
    most = len(within or ())
    room = sum(tensor.numel() for tensor in (within or {}).values())
    count = elements = 0

    def tally(module: nn.Module, key: str, parameter: nn.Parameter | None) -> None:
        nonlocal count, elements
        if parameter is not None:
            count, elements = count + 1, elements + parameter.numel()
        if within is not None and (count > most or elements > room):
            raise Failed(
                f"the file says it is {name}, but it holds no more than {most} tensors with "
                f"{room:,} elements: too few for that"
            )

    handle = register_module_parameter_registration_hook(tally)
    try:
        with torch.device("meta"):
            return build(make, name)
    finally:
        handle.remove()


def check_activations(network: nn.Module, input_shape: tuple[int, ...], name: str) -> None:
    """Run a network on the meta device on one input and add up what its layers put out.

    Raises:
        Failed: it does not take such inputs, or one input would become gigabytes inside.
    """
    total = 0

    def add(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal total
        total += output.numel() if isinstance(output, Tensor) else 0
        if total > MAX_ACTIVATIONS:
            raise Failed(f"one input of shape {input_shape} needs gigabytes in {name}: not loaded")

    for module in network.modules():
        if next(module.children(), None) is None:
            module.register_forward_hook(add)
    try:
        with torch.no_grad():
            network.eval()(torch.empty(1, *input_shape, device="meta"))
    except Failed:
        raise
    except Exception as error:  # shapes that do not fit raise all kinds of errors
        raise Failed(f"{name} does not take inputs of {input_shape}: {_said(error)}") from error


def classes_in(make: Callable[[int], nn.Module], tensors: Mapping[str, Tensor]) -> int | None:
    """How many classes a file's tensors are for: the length that changes with the class count.

    `make` builds the network for a class count on the meta device; None if the tensors lack it.
    """
    two, three = make(2).state_dict(), make(3).state_dict()
    for key, value in three.items():
        if value.shape != two[key].shape and key in tensors and tensors[key].dim() > 0:
            return int(tensors[key].shape[0])
    return None


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {shown(str(error), 300)}"
