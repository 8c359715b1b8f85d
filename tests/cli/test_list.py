"""`mmbd list`: every table, every row, a line each."""

from __future__ import annotations

import json
from importlib import import_module

import pytest

from helpers.command_line import caller
from mmbd.cli.listing import TABLES
from mmbd.workflows import scan_file as gate


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    return caller(capsys)


@pytest.mark.parametrize("table", TABLES)
def test_every_row_has_a_line_with_name_and_title(run, table):
    names = []
    for _, place in TABLES[table]:
        module, _, name = place.partition(":")
        names += [
            " ".join(key) if isinstance(key, tuple) else key for key in getattr(import_module(module), name)
        ]
    code, out, errors = run("list", table)
    assert (code, errors) == (gate.CLEAN, "")
    lines = out.splitlines()
    assert [line[: len(name)] for line, name in zip(lines, names, strict=True)] == names
    code, out, _ = run("list", table, "--json")
    rows = json.loads(out)
    assert [row["name"] for row in rows] == names
    for row in rows:
        assert len(row["title"]) > 3, row
        assert row["title"].isprintable(), row


def test_lists_name_what_can_be_given(run):
    lines = run("list", "detectors")[1].splitlines()
    (paper,) = (line for line in lines if line.startswith("mm-bd-paper "))
    assert " ".join(paper.split()).startswith(
        "mm-bd-paper MM-BD with method=paper, null=paper: maximum margins"
    )
    assert len({line.split(":")[0].split("  ")[-1] for line in lines}) == len(lines)
    assert "resnet18" in run("list", "networks")[1]
    assert ".sarif" in run("list", "reports")[1]


def test_an_unknown_table_names_those_there_are(run):
    code, out, errors = run("list", "detector")
    assert (code, out) == (gate.USAGE, "")
    for table in TABLES:
        assert table in errors
