"""The rule of the house: a room knows only the rooms below it, and no files import in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from helpers.rooms import ROOMS, SOURCE, arrows, broken, circle, room

MOST_ROOMS = 18
FACE = {"__init__.py", "__main__.py", "py.typed"}
# Results whose `save` asks the face of the package, which alone knows how results look.
THROUGH_THE_FACE = {"results.report", "evaluation.run"}
ASKED = ["import mmbd", "mmbd.save(self, path)"]


def test_the_top_of_the_package_holds_rooms_and_its_face_only():
    top = {path.name for path in SOURCE.iterdir() if path.name != "__pycache__"}
    assert {path for path in top if (SOURCE / path).is_file()} == FACE
    assert top - FACE == set(ROOMS)
    assert len(ROOMS) <= MOST_ROOMS


@pytest.mark.parametrize("file", ["README.md", "CONTRIBUTING.md"])
def test_the_map_shows_the_rooms_from_the_ground_up(file):
    blocks = (SOURCE.parents[1] / file).read_text(encoding="utf-8").split("```")
    (shown,) = (block.splitlines()[1:] for block in blocks if block.startswith("\nbase "))
    assert [line.split()[0] for line in shown] == list(ROOMS)


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_says_in_one_line_what_it_is(name):
    text = ast.get_docstring(ast.parse((SOURCE / name / "__init__.py").read_text(encoding="utf-8")))
    assert text is not None
    assert text.splitlines()[0].endswith(".")


def test_a_room_knows_only_the_rooms_below_it():
    up = [
        f"{arrow}: {room(arrow.source)} must not know {room(arrow.target) or 'the face'}"
        for arrow in broken(arrows())
        if arrow.target or arrow.source not in THROUGH_THE_FACE
    ]
    assert not up, "\n".join(up)


def test_no_files_import_each_other_in_a_circle():
    found = circle(arrows())
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize("module", sorted(THROUGH_THE_FACE))
def test_what_goes_through_the_face_only_saves(module):
    lines = (SOURCE / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8").splitlines()
    code = [line.partition("#")[0].strip() for line in lines]
    start = code.index(ASKED[0])
    assert [line for line in code[start : start + 3] if line] == ASKED
    (arrow,) = (arrow for arrow in arrows() if arrow.source == module and not arrow.target)
    assert arrow.line == start + 1


def package(folder: Path, **files: str) -> Path:
    """A small package by its files, `__` in a name for a slash."""
    for name, text in {"__init__": "", **files}.items():
        path = folder / f"{name.replace('__', '/') if name != '__init__' else name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    "line",
    [
        "import mmbd.cli.scan",
        "from mmbd.cli import scan",
        "from mmbd.cli.scan import Scan",
        "from mmbd import cli",
        "def late():\n    from mmbd.cli import scan",
        "import typing\nif typing.TYPE_CHECKING:\n    import mmbd.cli.scan",
        "import importlib\nimportlib.import_module('mmbd.cli.scan')",
        "from mmbd import Report",
        "import mmbd",
        "from mmbd.attic import box",
    ],
)
@pytest.mark.parametrize("place", ["base__text", "base__inner__deep"])
def test_an_arrow_that_leads_up_is_named_by_file_line_and_rooms(tmp_path, line, place):
    files = {"cli__scan": "from mmbd.base import text\n", "base__text": "", place: f"\n{line}\n"}
    tree = package(tmp_path, **files)
    (arrow,) = broken(arrows(tree), ("base", "cli"))
    assert arrow.file == tree / f"{place.replace('__', '/')}.py"
    assert arrow.line == 1 + len(line.splitlines())
    assert (room(arrow.source), room(arrow.target)) in {("base", "cli"), ("base", "")}
    assert str(arrow).startswith(f"{arrow.file}:{arrow.line}: mmbd.base.")


@pytest.mark.parametrize(
    "line",
    [
        "from mmbd.base import text",
        "import mmbd.base.text",
        "from mmbd.cli.scan import Scan",
        "import mmbdx.up",
    ],
)
def test_arrows_down_and_inside_a_room_are_none_of_its_business(tmp_path, line):
    tree = package(tmp_path, base__text="", cli__scan="", cli__inner__deep=line)
    assert broken(arrows(tree), ("base", "cli")) == []


def test_a_relative_import_is_refused(tmp_path):
    with pytest.raises(AssertionError, match=r"text\.py:1 imports relatively"):
        arrows(package(tmp_path, base__text="from . import other"))


def test_a_circle_is_named_by_its_arrows_lazy_ones_too(tmp_path):
    tree = package(
        tmp_path,
        base__a="from mmbd.base import b",
        base__b="from mmbd.base.inner import c",
        base__inner__c="def late():\n    import mmbd.base.a",
        base__d="import mmbd.base.a",
    )
    found = circle(arrows(tree))
    assert [(arrow.source, arrow.target, arrow.line) for arrow in found] == [
        ("base.a", "base.b", 1),
        ("base.b", "base.inner.c", 1),
        ("base.inner.c", "base.a", 2),
    ]
    (tree / "base" / "inner" / "c.py").write_text("")
    assert circle(arrows(tree)) == []
