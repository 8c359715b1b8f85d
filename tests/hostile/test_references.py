"""Reports given as references: nothing hangs, and nothing is left out without a word."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from helpers.toy_networks import convolutional
from mmbd.base.errors import Failed
from mmbd.cli import main
from mmbd.detectors.scan import ScanOptions, scan
from mmbd.formats.options import LoadOptions
from mmbd.workflows import scan_file as gate
from mmbd.workflows.scan_file import references


@pytest.fixture(scope="module")
def report() -> str:
    return scan(convolutional(), universal=False).to_json()


@pytest.fixture
def folder(tmp_path, report) -> Path:
    for number in range(3):
        (tmp_path / f"{number}.json").write_text(report)
    return tmp_path


def read(*paths: Path):
    return references(paths, loading=LoadOptions(), scanning=ScanOptions())


def test_other_json_in_a_folder_is_passed_over(folder, report):
    (folder / "card.json").write_text('{"card": 1, "name": "x"}')
    (folder / "list.json").write_text("[1, 2]")
    (folder / "notes.txt").write_text("not a report")
    assert len(read(folder).statistics) == 3
    (folder / "3.json").write_text(report)
    assert len(read(folder, folder / "0.json").statistics) == 5
    with pytest.raises(Failed, match=r"card\.json: a report of schema None"):
        read(folder / "card.json")  # but one that is named must be a report


def broken(kind: str, file: Path, report: str) -> None:
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "zero":
        file.symlink_to("/dev/zero")
    elif kind == "sparse":
        with file.open("wb") as sparse:
            sparse.truncate(10 << 30)
    elif kind == "dangling":
        file.symlink_to("nowhere")
    elif kind == "folder":
        file.mkdir()
    else:
        file.write_text(
            {
                "cut": report[:-20],
                "deep": "[" * 100_000,
                "empty": "",
                "digits": report.replace('"schema": 3', f'"schema": {"9" * 5000}'),
                "older": report.replace('"schema": 3', '"schema": 1'),
                "wrong": json.dumps({**json.loads(report), "p_value": "small"}),
            }[kind]
        )


BROKEN = {
    "fifo": "found a FIFO",
    "zero": "character device",
    "sparse": "10,737,418,240 bytes",
    "dangling": "no such file",
    "folder": "found a folder",
    "cut": "not JSON",
    "deep": "not JSON",
    "empty": "not JSON",
    "digits": "thousands of digits",
    "older": "schema 1; this release",
    "wrong": "p_value",
}


@pytest.mark.parametrize(("kind", "message"), BROKEN.items(), ids=BROKEN)
def test_a_broken_report_is_said_also_in_a_folder(folder, report, kind, message):
    broken(kind, folder / "bad.json", report)
    with pytest.raises(Failed, match=rf"^reference \S+bad\.json: .*{message}.*take it out of the f"):
        read(folder)
    if kind != "folder":  # whose content counts where it is named
        with pytest.raises(Failed, match=rf"^reference \S+bad\.json: .*{message}") as caught:
            read(folder / "bad.json")
        assert "take it out" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_scan_says_it_in_one_line(folder, report, capsys):
    broken("fifo", folder / "bad.json", report)
    model = Path(__file__).parents[2] / "examples" / "models" / "badnet-resnet8.safetensors"
    with pytest.raises(SystemExit) as stopped:
        main(["scan", str(model), "--reference", str(folder)])
    said = capsys.readouterr()
    assert stopped.value.code == gate.FAILED
    assert said.err.count("\n") == 1
    assert "bad.json: expected a regular file, found a FIFO" in said.err
