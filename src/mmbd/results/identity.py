"""What an answer depends on, as digests: a stored answer is used again only where they agree.

The model counts with its weights, structure and input domain, not with its file's name or date; a
detector with its function, its options, and the source files its answers come from.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmbd.base.version import __version__
from mmbd.model.classifier import Classifier

ROOT = Path(__file__).parents[1]
# Parts of the package that no answer depends on: packages with all that is in them, and two
# whose `__init__.py` only gathers names.
PASSIVE = ("mmbd.load", "mmbd.render", "mmbd.results.report", "mmbd.base.schema", "mmbd.cli.progress")
GATHERING = ("mmbd", "mmbd.detectors")


def fingerprint(classifier: Classifier) -> str | None:
    """A digest of weights, structure, normalisation and domain; None for a plain callable."""
    model = classifier.model
    if not isinstance(model, nn.Module):
        return None
    # Addresses in a module's description would differ from run to run.
    facts = [re.sub(r" at 0x[0-9a-fA-F]+", "", repr(model)), repr(classifier.domain)]
    digest = hashlib.sha256(repr([*facts, classifier.mean, classifier.std]).encode())
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        digest.update(f"{name} {_tensor(tensor)}".encode())
    return digest.hexdigest()


def settings(detector: Callable[..., Any], *, level: float, seed: int) -> str | None:
    """A digest of a detector and how it is called; None where it cannot be told from another.

    That is so for lambdas, closures and functions without a source file, and for options that are
    neither plain values nor arrays nor models.
    """
    try:
        what = _plain(detector)
        contents = [path.read_bytes() for path in sorted(_files(detector))]
    except (TypeError, OSError):
        return None
    facts = json.dumps([what, level, seed, __version__], sort_keys=True)
    digest = hashlib.sha256(facts.encode())
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def sources(module: str) -> set[Path]:
    """The files of this package that a module's results depend on.

    Its own, those of the modules that it imports anywhere, and so on; data files go with the
    module of the same name. What only loads, shows or stores is left out.
    """
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in GATHERING or any(f"{name}.".startswith(f"{part}.") for part in PASSIVE):
            continue
        base = ROOT.joinpath(*name.split(".")[1:])
        paths = [path for path in (Path(f"{base}.py"), base / "__init__.py") if path.is_file()]
        for path in set(paths) - found:
            found |= {path, *path.parent.glob(f"{path.stem}.json")}
            waiting += _imports(path)
    return found


def _imports(path: Path) -> Iterable[str]:
    """Modules of this package, and names that may be modules, that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in (str(node.module), *names) if name.startswith("mmbd"))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("mmbd"))


def _files(detector: Callable[..., Any]) -> set[Path]:
    while isinstance(detector, partial):
        detector = detector.func
    module = detector.__module__
    if module.split(".")[0] == "mmbd":
        return sources(module)
    return {Path(inspect.getfile(detector))}


def _plain(value: Any) -> Any:
    """The same for equal values, as JSON; TypeError for what cannot be compared."""
    if isinstance(value, partial):
        return ["partial", _plain(value.func), _plain(value.args), _plain(value.keywords)]
    if inspect.isroutine(value) or inspect.isclass(value):
        if "<" in value.__qualname__:
            raise TypeError(f"{value.__qualname__} has a name that others may have, too")
        return f"{value.__module__}.{value.__qualname__}"
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Tensor | np.ndarray):
        return _tensor(torch.as_tensor(value))
    if isinstance(value, Classifier):
        return fingerprint(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return [type(value).__qualname__, *(_plain(getattr(value, f.name)) for f in fields(value))]
    raise TypeError(f"{type(value).__name__} has no digest")


def _tensor(tensor: Tensor) -> str:
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return f"{tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(data.tobytes()).hexdigest()}"
