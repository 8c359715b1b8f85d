"""`mmbd fleet` as a user meets it: a folder into a store, with workers of its own, and what that shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.command_line import caller
from helpers.planted_files import planted
from mmbd.results.fleet import Fleet
from mmbd.results.store import Store


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "sub").mkdir()
    planted(folder / "sub" / "a.safetensors", gain=1.0)
    (folder / "b.pkl").write_bytes(b"\x80\x04cos\nsystem\n.")
    return folder


def test_a_folder_becomes_a_store_with_an_index(folder, tmp_path, capsys):
    call = caller(capsys)
    store = tmp_path / "results.sqlite"
    how = ("--detector", "head", "--workers", 1)
    code, out, err = call("fleet", folder, "--store", store, *how, "--memory", "8GB")
    assert code == 3, out + err
    assert "[2/2] " in out
    assert "to scan: 2 (2 new)" in out
    assert "refused: b.pkl" in out
    assert {row.name: row.word for row in Fleet.read(Store(store)).latest} == {
        "b.pkl": "refused",
        "sub/a.safetensors": "not evaluable",
    }
    code, out, _ = call("fleet", folder, "--store", store, *how)
    assert (code, "skipped: 2 (2 unchanged)" in out) == (3, True)
    code, out, _ = call("fleet", "show", store)
    assert code == 0
    assert out.splitlines()[-1] == "2 models: 1 refused, 1 not evaluable"
    code, out, _ = call("fleet", "show", "--store", store, "--verdict", "refused")
    assert "sub/a.safetensors" not in out
    code, out, _ = call("fleet", "merge", tmp_path / "whole.sqlite", store)
    assert (code, "2 results taken over, 2 models" in out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["FOLDER"], "store"),
        (["FOLDER", "--store", "s", "--shard", "0/3"], "expected i/n"),
        (["FOLDER", "--store", "s", "--shard", "4/3"], "expected i/n"),
        (["FOLDER", "--store", "s", "--workers", "0"], "--workers 0"),
        (["FOLDER", "--store", "s", "--limit", "0"], "--limit 0"),
        (["FOLDER", "--store", "s", "--memory", "lots"], "--memory"),
        (["FOLDER", "--store", "s", "--detector", "haed"], "did you mean 'head'"),
        (["FOLDER", "--store", "s", "--out", "index.xml"], ".parquet"),
        (["nowhere", "--store", "s"], "no such folder or manifest"),
        (["show"], "expected one store"),
        (["merge", "s", "s"], "s"),
    ],
)
def test_usage_is_told_before_anything_is_scanned(folder, tmp_path, capsys, arguments, words, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = caller(capsys)("fleet", *(folder if one == "FOLDER" else one for one in arguments))
    assert code == (4 if arguments[0] != "merge" else 2), err
    assert words in err
    assert not (tmp_path / "s").exists()


def test_a_store_that_is_not_there_cannot_be_shown(tmp_path, capsys):
    code, _, err = caller(capsys)("fleet", "show", tmp_path / "none.sqlite")
    assert (code, "no such store" in err) == (2, True)
