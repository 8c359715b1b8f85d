"""The face of the package: what `import mmbd` gives, and what it does not load."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import mmbd
from helpers.rooms import ROOMS

VERBS = {"export", "evaluate", "fix", "load", "mitigate", "save", "scan", "selftest"}
KINDS = {"Box", "Classifier", "Monitor", "Points", "References", "Report", "Strip"}
ERRORS = {"Failed", "MmbdError", "NotEvaluable", "NotExported", "NotMitigated", "Refused"}
# Seconds of work each, and none of it needed to import the package or to say what a command takes.
HEAVY = {"torch", "numpy", "scipy", "rich", "PIL", "jinja2", "safetensors"}
GUARD = 600  # seconds; only against hanging


def fresh(code: str, *arguments: str) -> str:
    """What a new process prints that runs this code."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=GUARD
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_face_has_the_verbs_the_kinds_the_errors_and_every_room():
    assert set(mmbd.__all__) == {"__version__", *VERBS, *KINDS, *ERRORS}
    assert set(dir(mmbd)) == {*mmbd.__all__, *ROOMS}
    assert not set(ROOMS) & set(mmbd.__all__), "a room shadows a name of the face"


def test_types_are_told_of_every_name_that_is_imported_on_first_use():
    tree = ast.parse(Path(mmbd.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    told = {(alias.name, line.module) for line in block.body for alias in line.names}
    meant = {(name, home) for name, home in mmbd._HOMES.items()} | {(room, "mmbd") for room in ROOMS}
    assert told == meant


EVERY_NAME = """
import json, os, sys
import scipy.stats, torch  # once for all: they are what takes long
import mmbd
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        os._exit(not print(name, type(getattr(mmbd, name)).__name__, flush=True))
    os.waitpid(child, 0)
"""


def test_every_name_is_reachable_first_of_all():
    """In a process that has imported nothing else of the package."""
    kinds = dict.fromkeys(KINDS | ERRORS, "type") | dict.fromkeys(VERBS, "function")
    kinds |= dict.fromkeys(ROOMS, "module") | {"__version__": "str"}
    found = dict(line.split() for line in fresh(EVERY_NAME, *kinds).splitlines())
    assert found == kinds


VERBS_LAST = """
import contextlib, importlib, io, json, pickle, pkgutil, sys
import mmbd
for module in pkgutil.walk_packages(mmbd.__path__, "mmbd."):
    if module.name != "mmbd.__main__":
        importlib.import_module(module.name)
told = io.StringIO()
with contextlib.redirect_stdout(told):
    help(mmbd.load)
verbs = [getattr(mmbd, name) for name in sys.argv[1:]]
print(json.dumps({
    "kinds": sorted({type(verb).__name__ for verb in verbs}),
    "pickled": [pickle.loads(pickle.dumps(verb)) is verb for verb in verbs],
    "help": told.getvalue().splitlines()[0],
}))
"""


def test_verbs_stay_functions_whatever_else_was_imported():
    found = json.loads(fresh(VERBS_LAST, *sorted(VERBS)))
    assert found["kinds"] == ["function"]
    assert found["pickled"] == [True] * len(VERBS)
    assert found["help"].startswith("Help on function load")


@pytest.mark.parametrize("code", ["import mmbd", "import mmbd, mmbd.base; dir(mmbd)"])
def test_importing_the_package_loads_nothing_heavy(code):
    loaded = set(fresh(f"import sys; {code}; print(*sys.modules)").split())
    assert "mmbd.base.version" in loaded
    assert not loaded & HEAVY


def test_a_name_that_is_not_there_is_an_attribute_error_that_names_it():
    with pytest.raises(AttributeError, match="module 'mmbd' has no attribute 'scam'"):
        _ = mmbd.scam
