"""The index of the paper's tables and figures names all of them, every script and every frozen file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import benchmarks.paper

FOLDER = Path(benchmarks.paper.__file__).parent
TEXT = (FOLDER / "README.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if "|" in line]
# Name, what, command, plan, seconds, frozen result, n.
PAPER = [row for row in ROWS if re.match(r"(Table|Figure|Section) \d", row[0])]
SCRIPTS = {file.stem for file in FOLDER.glob("*.py") if "def main(" in file.read_text()}
FROZEN = FOLDER.parent / "results" / "paper"


@pytest.mark.parametrize(
    "name", [f"Table {number}" for number in range(1, 12)] + [f"Figure {number}" for number in range(1, 10)]
)
def test_every_table_and_figure_has_one_row(name):
    assert [row[0] for row in PAPER].count(name) == 1


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("row", PAPER, ids=lambda row: row[0])
def test_a_row_names_a_script_plans_and_frozen_results(row):
    assert len(row) == 7
    if row[2].startswith("none"):
        assert row[3:] == [""] * 4
        return
    (command,) = named(row[2])
    assert command.split()[0] in SCRIPTS
    assert all((FOLDER / "plans" / f"{plan}-small.toml").is_file() for plan in named(row[3]))
    assert all(row[4:])
    assert named(row[5])


def test_every_frozen_file_is_named_and_is_there():
    files = set(re.findall(r"`([\w.-]+\.(?:json|svg|png))`", TEXT))
    assert files == {path.name for path in FROZEN.iterdir()}


def test_every_script_is_named():
    assert {text.split()[0] for text in named(TEXT)} >= SCRIPTS


def test_every_plan_has_its_minutes():
    table = {plan for row in ROWS if len(row) == 3 for plan in named(row[0])}
    assert table == {path.stem.removesuffix("-small") for path in (FOLDER / "plans").glob("*-small.toml")}
