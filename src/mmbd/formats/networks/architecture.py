"""Networks to load weights into: built-in ones by name, and factories in the user's own code.

The user's code is trusted: it is theirs, and they named it. What a file says about itself is not:
the network that its metadata describes may not cost more memory than the file.
"""

from __future__ import annotations

import ast
import inspect
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from mmbd.base.errors import Failed
from mmbd.base.text import clean_text
from mmbd.formats.advice import INPUT, WORDS
from mmbd.formats.networks.factories import factory as factory
from mmbd.formats.networks.factories import said
from mmbd.formats.spec import MAX_CLASSES

# Numbers in one input, and in all that it turns into inside a network that a file describes. A
# ResNet-50 at 224 x 224 makes about 30 million.
MAX_INPUT = 1 << 24
MAX_ACTIVATIONS = 1 << 26
# Modules in a network that a file describes, beside eight for every tensor in the file.
MAX_MODULES = 1000
MEND = "See what it takes, and give that with --arch-arg and --input (in Python arch_args= and input_shape=)"
# What factories call the number of classes.
CLASSES = ("classes", "num_classes", "n_classes")


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
    return clean_text(f"{name}({inside})" if inside else name, 200)


def sizes(
    make: Callable[..., Any], classes: int | None, input_shape: tuple[int, ...] | None
) -> dict[str, Any]:
    """What a factory of the user's gets of what the user said, by the names in its signature.

    The number of classes goes to `classes`, `num_classes` or `n_classes`; the shape of one input
    to `input_shape`, where the factory cannot do without.
    """
    try:
        known = inspect.signature(make).parameters
    except (ValueError, TypeError):  # no signature to be had
        return {}
    by_name = {
        name: parameter
        for name, parameter in known.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    found: dict[str, Any] = {}
    named = [name for name in CLASSES if name in by_name]
    if classes is not None and named:
        found[named[0]] = classes
    shape = by_name.get("input_shape")
    if input_shape is not None and shape is not None and shape.default is shape.empty:
        found["input_shape"] = input_shape
    return found


def build(make: Callable[[], Any], name: str, within: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Call a factory, with the random state as it was afterwards; `name` is for messages.

    With `within`, the tensors of a file, stop as soon as the network has more parameters than
    those, or many more modules: what a file says about itself must not cost more than the file.
    Parameters are registered before they are filled, so that too large a one has taken no memory
    yet.

    Raises:
        Failed: the factory raises, or returns no `nn.Module`, or goes beyond `within`.
    """
    most = len(within or ())
    room = sum(tensor.numel() for tensor in (within or {}).values())
    count = elements = modules = 0

    def parts(module: nn.Module, key: str, part: nn.Module | None) -> None:
        nonlocal modules
        modules += 1
        if modules > MAX_MODULES + 8 * most:
            raise Failed(
                f"the file says it is {name}, which has more than {modules - 1:,} modules, but it "
                f"holds no more than {most} tensors: too few for that. {WORDS}"
            )

    def tally(module: nn.Module, key: str, parameter: nn.Parameter | None) -> None:
        nonlocal count, elements
        if parameter is not None:
            count, elements = count + 1, elements + parameter.numel()
        if count > most or elements > room:
            raise Failed(
                f"the file says it is {name}, but it holds no more than {most} tensors with "
                f"{room:,} elements: too few for that. {WORDS}"
            )

    with torch.random.fork_rng(devices=[]), ExitStack() as watches:
        if within is not None:
            watches.enter_context(register_module_parameter_registration_hook(tally))
            watches.enter_context(register_module_module_registration_hook(parts))
            watches.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")  # of layers of no width: the file's words, no news
        try:
            network = make()
        except Failed:
            raise
        except (Exception, SystemExit) as error:  # somebody's code: anything may come
            told = MEND if within is None else WORDS
            raise Failed(f"the architecture {name} cannot be built: {said(error)}. {told}") from error
    if not isinstance(network, nn.Module):
        raise Failed(
            f"{name} returned {type(network).__name__}, expected an nn.Module: name the function "
            "or class that makes the network"
        )
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
            raise Failed(f"inputs of shape {input_shape} need gigabytes in {name}: not loaded. {INPUT}")

    if math.prod(input_shape) > MAX_INPUT:
        raise Failed(f"inputs of shape {input_shape} need gigabytes in {name}: not loaded. {INPUT}")
    leaves = [module for module in network.modules() if next(module.children(), None) is None]
    handles = [leaf.register_forward_pre_hook(add) for leaf in leaves]
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, *input_shape))
    except Failed:
        raise
    except Exception as error:  # shapes that do not fit raise all kinds of errors
        raise Failed(f"{name} does not take inputs of {input_shape}: {said(error)}. {INPUT}") from error
    finally:
        for handle in handles:
            handle.remove()


def classes_in(two: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> int:
    """How many classes a file's tensors are for, given those of the network for two.

    The last layer is the one whose first length is 2 there and something else in the file.

    Raises:
        Failed: more than MAX_CLASSES.
    """
    found = 2
    for key, value in two.items():
        given = tensors.get(key)
        if given is None or value.dim() == 0 or given.dim() != value.dim() or value.shape[0] != 2:
            continue
        if given.shape[1:] == value.shape[1:]:
            found = int(given.shape[0])
    if found > MAX_CLASSES:
        raise Failed(
            f"the last layer has {found:,} classes, expected at most {MAX_CLASSES:,}: give "
            "--classes (classes= in Python) if it really has so many"
        )
    return found
