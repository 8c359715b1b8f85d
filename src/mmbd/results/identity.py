"""What a stored result depends on, as digests and canonical text (`store.Key`).

A model counts with its weights, structure, input domain, class names and how its outputs are read,
not with its file's name or date; a method with its name, the version that it declares, and those of
its settings that are no defaults, so that a new setting with a default leaves older results valid.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmbd.model.classifier import Classifier


def fingerprint(classifier: Classifier) -> str | None:
    """A digest of weights, structure, normalisation, domain, classes and how the outputs are read.

    None for a plain callable.
    """
    model = classifier.model
    if not isinstance(model, nn.Module):
        return None
    # Addresses in a module's description would differ from run to run.
    facts = [re.sub(r" at 0x[0-9a-fA-F]+", "", repr(model)), repr(classifier.domain)]
    facts += [classifier.mean, classifier.std]
    # One network may have several heads, and reports name the classes.
    facts += [classifier.reading, classifier.ends_in, classifier.class_names]
    digest = hashlib.sha256(repr(facts).encode())
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        digest.update(f"{name} {_tensor(tensor)}".encode())
    return digest.hexdigest()


def samples(inputs: Tensor, labels: Tensor | None = None) -> str:
    """A digest of samples, (n, *shape), in their order, with their labels (n,) where there are any."""
    parts = [_tensor(inputs), "" if labels is None else _tensor(labels)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def function(method: Callable[..., Any]) -> str | None:
    """The name that a method of one's own has in the store: module and name of its function.

    None for lambdas, closures, and what a script or notebook defines itself: others have that name.
    """
    try:
        named = _plain(_unwrapped(method)[0])
    except TypeError:
        return None
    return named if isinstance(named, str) and not named.startswith("__main__.") else None


def settings(method: Callable[..., Any], options: Mapping[str, Any] | None = None) -> str | None:
    """The settings of a method that are no defaults, as canonical JSON.

    Args:
        method: a function or a `partial` of one, whose own options count as well.
        options: those that the call gives besides.

    Returns:
        The same text for equal settings; None where one cannot be told from another: a lambda, a
        closure, or anything else that is no plain value, array or model.
    """
    wrapped, given = _unwrapped(method)
    given |= options or {}
    try:
        known = inspect.signature(wrapped).parameters
        plain = {name: _plain(value) for name, value in given.items()}
        for name, parameter in known.items():
            default = parameter.default
            if name in plain and default is not parameter.empty and plain[name] == _plain(default):
                del plain[name]
    except (TypeError, ValueError):  # ValueError: a function of C without a signature
        return None
    return json.dumps(plain, sort_keys=True)


def _unwrapped(method: Callable[..., Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function inside partials, and the keyword options that they give."""
    given: dict[str, Any] = {}
    while isinstance(method, partial):
        given = {**method.keywords, **given}
        if method.args:
            given.setdefault("", list(method.args))
        method = method.func
    return method, given


def _plain(value: Any) -> Any:
    """The same for equal values, as JSON; TypeError for what cannot be compared."""
    if isinstance(value, partial):
        wrapped, given = _unwrapped(value)
        return ["partial", _plain(wrapped), _plain(given)]
    if inspect.isroutine(value) or inspect.isclass(value):
        if "<" in value.__qualname__:
            raise TypeError(f"{value.__qualname__} has a name that others may have, too")
        return f"{value.__module__}.{value.__qualname__}"
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Tensor | np.ndarray):
        return _tensor(torch.as_tensor(value))
    if isinstance(value, Classifier) and (digest := fingerprint(value)) is not None:
        return digest
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        said = {field.name: (_plain(getattr(value, field.name)), _default(field)) for field in fields(value)}
        return {
            "": type(value).__qualname__,
            **{name: given for name, (given, default) in said.items() if given != default},
        }
    raise TypeError(f"{type(value).__name__} has no digest")


def _default(field: Field[Any]) -> Any:
    """A field's default as `_plain` has it; MISSING, which equals no value, without one."""
    if field.default_factory is not MISSING:
        return _plain(field.default_factory())
    return MISSING if field.default is MISSING else _plain(field.default)


def _tensor(tensor: Tensor) -> str:
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return f"{tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(data.tobytes()).hexdigest()}"
