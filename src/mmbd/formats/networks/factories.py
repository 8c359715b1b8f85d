"""Factories in the user's own code: `package.module:name` and `path/to/file.py:name`.

That code is the user's, who named it. The working folder need not be: the model may have been
unpacked there. So it is importable only while the code that was named is imported, and comes after
all that is installed: no stranger's `json.py` takes the place of Python's. A file that is named
finds what is beside it, as a script does. The model's folder is never added for the model's sake.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from mmbd.base.errors import Failed
from mmbd.base.text import clean_text

ALIAS = "mmbd_user_"


def factory(arch: str) -> Callable[..., Any]:
    """The factory at `package.module:name` or `path/to/file.py:name`.

    Packages are looked for where Python does, and in the working folder after that. A file can
    import what is beside it, and relatively if it is in a package (beside `__init__.py`).

    Raises:
        Failed: no such module, file or name, or an error while importing it.
    """
    where, colon, name = arch.rpartition(":")
    if not colon or not where or not name:
        raise Failed(
            f"expected an architecture as NAME, package.module:factory or file.py:factory, "
            f"got {arch!r}: give --arch (arch= in Python) in one of these ways"
        )
    importlib.invalidate_caches()  # the code may have been written a moment ago
    try:
        module = _from_file(Path(where)) if where.endswith(".py") else _from_package(where)
    except (Exception, SystemExit) as error:  # the user's code: anything may come
        raise Failed(
            f"cannot import {where!r} for --arch {arch}: {said(error)}{_line(error)}{_shadow(where, error)}"
        ) from error
    found: Any = getattr(module, name, None)
    if not callable(found):
        place = getattr(module, "__file__", None)
        raise Failed(
            f"{where!r} has no function or class {name!r} (--arch {arch})"
            + (f"; it was imported from {place}" if place else "")
        )
    return found


def said(error: BaseException) -> str:
    """An error of somebody's code in one line."""
    return f"{type(error).__name__}: {clean_text(str(error), 300)}"


def _from_package(where: str) -> ModuleType:
    with _importable(Path.cwd(), last=True):
        return importlib.import_module(where)


def _from_file(path: Path) -> ModuleType:
    """Import a file, with its folder importable meanwhile, as if it were run as a script."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    path = path.resolve()
    if (path.parent / "__init__.py").is_file():
        return _from_file_in_package(path)
    name = f"{ALIAS}{path.stem}"
    with _importable(path.parent), _forgotten_on_failure(name):
        return _executed(name, path)


def _from_file_in_package(path: Path) -> ModuleType:
    """Import a file in a package under a name of its own: "models", say, may be taken."""
    top = path.parent
    while (top.parent / "__init__.py").is_file():
        top = top.parent
    parts = path.relative_to(top).with_suffix("").parts
    alias = f"{ALIAS}{top.name}"
    _forget(alias)
    with _importable(path.parent), _importable(top.parent, last=True), _forgotten_on_failure(alias):
        package = _executed(alias, top / "__init__.py", [str(top)])
        if parts == ("__init__",):
            return package
        return importlib.import_module(".".join((alias, *parts)))


def _executed(name: str, path: Path, inside: list[str] | None = None) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=inside)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses, pickling and relative imports look there
    spec.loader.exec_module(module)
    return module


@contextmanager
def _importable(folder: Path, last: bool = False) -> Generator[None]:
    """A folder on the path, before all others or after them, taken off again at the end."""
    entry = str(folder)
    if last and entry in sys.path:
        yield
        return
    sys.path.insert(len(sys.path) if last else 0, entry)
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)


@contextmanager
def _forgotten_on_failure(name: str) -> Generator[None]:
    try:
        yield
    except BaseException:
        _forget(name)
        raise


def _forget(name: str) -> None:
    for known in [known for known in sys.modules if known == name or known.startswith(f"{name}.")]:
        del sys.modules[known]


def _line(error: BaseException) -> str:
    """Where in the user's code it happened: the last line that is not of the import system."""
    machinery = str(Path(importlib.__file__).parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(("<frozen", machinery)) and frame.filename != __file__
    ]
    return f" (at {clean_text(frames[-1].filename, 200)}, line {frames[-1].lineno})" if frames else ""


def _shadow(where: str, error: BaseException) -> str:
    """A word on a package of the same name elsewhere, which comes before the working folder's."""
    first = where.partition(".")[0]
    taken = getattr(sys.modules.get(first), "__file__", None)
    here = Path.cwd() / first
    if not isinstance(error, ModuleNotFoundError) or not str(error.name).startswith(first):
        return ""
    if taken and here.is_dir() and not Path(taken).is_relative_to(here):
        return f"; {first!r} is {taken}: name the file, as in {first}/file.py:factory"
    return "" if taken else f"; looked in {Path.cwd()} too"
