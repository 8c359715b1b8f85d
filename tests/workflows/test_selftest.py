"""Known answers: they come out here, and what does not come out is named."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import mmbd
from mmbd.workflows import scan_file as gate
from mmbd.workflows import selftest as known

SHIPPED = Path(known.__file__).parent / "known_answers"
scan_file = gate.scan_file


@pytest.fixture(scope="module")
def found() -> mmbd.workflows.selftest.Selftest:
    return mmbd.selftest()


@pytest.fixture(scope="module")
def outcomes() -> dict[str, gate.Outcome]:
    """What a scan says of the shipped networks, by the name of their file; they are scanned once."""
    options = known.LoadOptions(), known.ScanOptions(seed=known.SEED)
    return {path.name: scan_file(path, *options) for path in SHIPPED.glob("*.safetensors")}


@pytest.fixture
def elsewhere(tmp_path, monkeypatch, outcomes) -> Path:
    """A copy of the known answers that is used instead of those shipped, for tests to change."""
    copy = tmp_path / "known_answers"
    shutil.copytree(SHIPPED, copy)
    monkeypatch.setattr(known, "files", lambda _: tmp_path)

    def quick(path: Path, *rest: Any) -> gate.Outcome:
        return outcomes[path.name] if path.name in outcomes else scan_file(path, *rest)

    monkeypatch.setattr(gate, "scan_file", quick)
    return copy


def changed(folder: Path, name: str, **fields: Any) -> None:
    file = folder / "answers.json"
    answers = json.loads(file.read_text())
    answers["models"][name] |= fields
    file.write_text(json.dumps(answers))


def failed(found: known.Selftest) -> dict[str, str]:
    return {check.name: check.said for check in found.checks if not check.passed}


def test_the_known_answers_come_out(found):
    assert failed(found) == {}
    assert found.passed
    said = {check.name: check.said for check in found.checks}
    assert said["backdoored network"].startswith("backdoored, target class 3, p = ")
    assert said["clean network"].startswith("clean, p = ")
    assert said["hostile files"] == "2 of 2 refused, nothing in them was run"
    assert json.loads(found.to_json())["checks"][3]["passed"] is True


def test_what_ships_is_small():
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 200_000


def test_the_hostile_files_would_run_if_python_unpickled_them(tmp_path):
    marker = tmp_path / "marker"
    checkpoint, bare = known.hostile_files(tmp_path, marker)
    pickle.loads(bare.read_bytes())["more"].close()
    assert marker.exists()
    marker.unlink()
    torch.load(checkpoint, weights_only=False)["more"].close()
    assert marker.exists()


def test_a_hostile_file_that_runs_fails_the_test(elsewhere, monkeypatch):
    quick = gate.scan_file

    def careless(path: Path, *rest: Any) -> gate.Outcome:
        if path.suffix == ".pkl":
            pickle.loads(path.read_bytes())["more"].close()
        return quick(path, *rest)

    monkeypatch.setattr(gate, "scan_file", careless)
    assert failed(known.selftest()) == {"hostile files": "2 of 2 refused, CODE IN THEM WAS RUN"}


def test_another_target_is_a_wrong_answer(elsewhere):
    changed(elsewhere, "backdoored", targets=[5])
    (said,) = failed(known.selftest()).values()
    assert said.startswith("backdoored, target class 3")
    assert said.endswith("expected backdoored, target class 5")


def test_a_false_alarm_is_a_wrong_answer(elsewhere, outcomes, monkeypatch):
    monkeypatch.setitem(outcomes, "clean.safetensors", outcomes["backdoored.safetensors"])
    wrong = failed(known.selftest())
    assert set(wrong) == {"clean network", "numbers"}
    assert wrong["clean network"].endswith("expected clean")


@pytest.mark.parametrize(("off", "passes"), [(1e-3, True), (0.03, False)])
def test_numbers_may_differ_by_so_much_and_the_words_say_what_else_does(elsewhere, off, passes):
    file = elsewhere / "answers.json"
    answers = json.loads(file.read_text())
    answers["made_by"]["torch"] = "1.0"
    margins = answers["models"]["clean"]["statistics"]["maximum margin"]
    margins[0] += off * max(margins)
    file.write_text(json.dumps(answers))
    result = known.selftest()
    numbers = result.checks[3]
    assert (numbers.name, numbers.passed, result.passed) == ("numbers", passes, passes)
    assert f"they were made with torch 1.0, here {torch.__version__}" in numbers.said


def test_a_file_that_is_not_the_shipped_one_is_not_believed(elsewhere):
    shutil.copyfile(elsewhere / "backdoored.safetensors", elsewhere / "clean.safetensors")
    wrong = failed(known.selftest())
    assert wrong["clean network"] == "the file is not the one that was shipped"
    assert wrong["numbers"] == "the clean network was not scanned"


def test_an_error_on_the_way_is_a_wrong_answer(elsewhere):
    (elsewhere / "backdoored.safetensors").unlink()
    assert "FileNotFoundError" in failed(known.selftest())["backdoored network"]


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="device 'gpu' cannot be used"):
        mmbd.selftest(device="gpu")
