"""What holds for every file: short, laid out by the formatter alone, tests where their room is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from helpers.rooms import ROOMS, SOURCE

TESTS = Path(__file__).parents[1]
MOST_LINES = 300
NO_ROOMS = {"benchmarks", "helpers", "hostile", "house"}
GUARD = 600  # seconds
GUARDS = re.compile(r"(?:\btimeout=|monotonic\(\) \+ )(\d+)|(?<!def )perf_counter\(|time\.time\(")
FILES = sorted([*SOURCE.rglob("*.py"), *TESTS.rglob("*.py")])


def test_files_of_the_package_are_short():
    long = {
        str(path.relative_to(SOURCE)): lines
        for path in FILES
        if path.is_relative_to(SOURCE)
        and (lines := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }
    assert not long, f"more than {MOST_LINES} lines: {long}"


@pytest.mark.parametrize("comment", ["fmt: skip", "fmt: off", "pyright: basic"])
def test_no_file_is_exempt_from_the_layout_or_from_types(comment):
    others = (path for path in FILES if path != Path(__file__))
    assert not [path for path in others if comment in path.read_text(encoding="utf-8")]


def test_tests_lie_in_folders_named_after_the_rooms():
    folders = {path.name for path in TESTS.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders - NO_ROOMS == set(ROOMS)
    assert {path.name for path in TESTS.glob("*.py")} == {"conftest.py"}


def test_every_test_file_is_collected():
    strays = [
        path
        for path in FILES
        if path.is_relative_to(TESTS)
        and "def test_" in path.read_text(encoding="utf-8")
        and not path.name.startswith("test_")
        and not path.is_relative_to(TESTS / "helpers")
    ]
    assert not strays


def test_time_in_tests_only_guards_against_hanging():
    """Minutes, on whatever machine; how much work something is, is counted."""
    found = [
        f"{path.relative_to(TESTS)}: {match[0]}"
        for path in FILES
        if path.is_relative_to(TESTS) and path != Path(__file__)
        for match in GUARDS.finditer(path.read_text(encoding="utf-8"))
        if match[1] is None or float(match[1]) < GUARD
    ]
    assert not found, f"less than {GUARD} s, or a measure of time: {found}"
