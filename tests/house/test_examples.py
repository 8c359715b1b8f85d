"""Every example in a docstring of the package runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
from types import ModuleType

import pytest
import torch

from helpers import toy_zoos
from helpers.rooms import SOURCE, modules

PROMPT = ">>> "
WRITTEN = {
    name: sum(line.strip().startswith(PROMPT) for line in path.read_text(encoding="utf-8").splitlines())
    for name, path in modules(SOURCE).items()
}
WITH_EXAMPLES = sorted(name for name, prompts in WRITTEN.items() if prompts)


def run(module: ModuleType) -> doctest.TestResults:
    """Run the examples of a module, what they print on failure going to standard output."""
    runner = doctest.DocTestRunner()
    for found in doctest.DocTestFinder().find(module, module.__name__):
        torch.manual_seed(0)
        runner.run(found)
    return runner.summarize(verbose=False)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with a zoo of four models in it, for examples that read one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zoo").mkdir()
    toy_zoos.own(tmp_path / "zoo")


def test_examples_are_found_where_a_user_looks_first():
    assert {"", "model.classifier", "mitigators"} <= set(WITH_EXAMPLES)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", WITH_EXAMPLES, ids=lambda name: name or "mmbd")
def test_the_examples_of_a_module_run(name, capsys):
    found = run(importlib.import_module(f"mmbd.{name}".rstrip(".")))
    assert not found.failed, capsys.readouterr().out
    # None is skipped, and none is written where doctest does not look.
    assert found.attempted == WRITTEN[name]


def test_an_example_that_is_wrong_or_skipped_is_noticed(capsys):
    wrong = ModuleType("wrong", "    >>> 1 + 1\n    3\n    >>> 2  # doctest: +SKIP\n    5\n")
    found = run(wrong)
    assert (found.failed, found.attempted) == (1, 1)
    assert "Expected:\n    3\nGot:\n    2" in capsys.readouterr().out
