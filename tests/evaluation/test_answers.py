"""One detector, one model: what becomes of every kind of answer, on disk and off it."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers import toy_zoos
from mmbd.detectors import Detection
from mmbd.evaluation.answers import Job, Judge, from_plain, plain
from mmbd.zoo import Entry, Zoo


def judge(folder: Path | None = None, *, level: float = 0.05, zoo: Zoo | None = None, **detectors):
    chosen = {"listens": toy_zoos.listens} | detectors
    return Judge(Job(zoo or toy_zoos.small(), chosen, level, 0, folder))


def test_an_answer_comes_back_from_disk_as_it_was(tmp_path):
    first = judge(tmp_path)(("b0", "listens"))
    assert first.detection is not None
    assert (first.detection.flagged, first.detection.targets, first.kept) == (True, (2,), False)
    second = judge(tmp_path)(("b0", "listens"))
    assert second.kept
    assert second.detection == first.detection
    (file,) = (tmp_path / "listens").iterdir()
    content = json.loads(file.read_text())
    assert (content["model"], content["level"], content["environment"]["mmbd"]) == ("b0", 0.05, "0.1.0")


@pytest.mark.parametrize(
    "changed",
    [
        {"level": 0.04},
        {"zoo": Zoo((toy_zoos.entry("b0", 0.002, 2),))},  # other weights under the same name
        {"listens": toy_zoos.scores_only},  # another detector under the same name
    ],
)
def test_nothing_stale_is_read(tmp_path, changed):
    before = judge(tmp_path)(("b0", "listens"))
    after = judge(tmp_path, **changed)(("b0", "listens"))
    assert not after.kept
    assert after.detection != before.detection
    assert judge(tmp_path)(("b0", "listens")).kept  # and the old one is still there


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"schema": 1', '"schema": 2'),
        lambda text: text.replace('"targets": [', '"targets": ["x",'),
        lambda text: text.replace('"p_value": 0.001', '"p_value": 7'),
        lambda text: "[" * 100_000,
        lambda text: text.replace('"seconds": ', '"seconds": 1e999, "spent": '),
        lambda text: text.replace('"seconds": ', '"seconds": -1, "spent": '),
        lambda text: text.replace('"seconds": ', '"seconds": NaN, "spent": '),
        lambda text: text.replace('"flagged": true', '"flagged": "perhaps"'),
        lambda text: text.replace('"targets": [', f'"targets": [{"9" * 5000},'),
        lambda text: text.replace('"targets": [', f'"targets": [{10**400},'),
        lambda text: text.replace('"reason": null', '"reason": [1]'),
        lambda text: text.replace('"score": ', f'"score": {10**400}, "last": '),
        lambda text: text.replace('"schema"', '"schema": 1, "schema"'),
    ],
)
def test_a_damaged_file_is_made_again(tmp_path, damage):
    judge(tmp_path)(("b0", "listens"))
    (file,) = (tmp_path / "listens").iterdir()
    file.write_text(damage(file.read_text()))
    again = judge(tmp_path)(("b0", "listens"))
    assert not again.kept
    assert judge(tmp_path)(("b0", "listens")).kept


def test_what_is_no_regular_file_is_made_again(tmp_path):
    judge(tmp_path)(("b0", "listens"))
    (file,) = (tmp_path / "listens").iterdir()
    for break_it in (
        lambda: os.mkfifo(file),
        lambda: file.symlink_to("/dev/zero"),
        lambda: os.truncate(os.open(file, os.O_WRONLY | os.O_CREAT), 10 << 30),
    ):
        file.unlink()
        break_it()
        assert not judge(tmp_path)(("b0", "listens")).kept
        assert file.is_file()
        assert not file.is_symlink()
        assert judge(tmp_path)(("b0", "listens")).kept


def test_failures_are_answers_and_not_kept(tmp_path):
    ask = judge(tmp_path, cannot=toy_zoos.cannot, fails=toy_zoos.fails, wrong=lambda *_, **__: 7)
    unable, failed = ask(("b0", "cannot")), ask(("b0", "fails"))
    assert (unable.error, unable.detection.reason) == (None, "too few classes")
    assert failed.error == "RuntimeError: a bug"
    assert (failed.detection.flagged, failed.detection.reason) == (None, f"failed: {failed.error}")
    assert "expected a Detection, got int" in ask(("b0", "wrong")).error
    assert [folder.name for folder in tmp_path.iterdir()] == ["cannot"]


def test_a_model_that_cannot_be_opened(tmp_path):
    zoo = Zoo((Entry("x", "clean", toy_zoos.broken), toy_zoos.entry("y", 0.5)))
    ask = judge(tmp_path, zoo=zoo)
    answer = ask(("x", "listens"))
    assert (answer.detection, answer.error) == (None, "no weights in here")
    assert ask(("y", "listens")).error is None
    assert ask(("z", "listens")).error == "z is no longer in the zoo"


def test_a_model_is_opened_once_for_all_its_detectors():
    opened = []

    def open_() -> object:
        opened.append(1)
        return toy_zoos.tagged(0.5)

    ask = judge(zoo=Zoo((Entry("x", "clean", open_), toy_zoos.entry("y", 0.1))), other=toy_zoos.shrugs)
    for task in (("x", "listens"), ("x", "other"), ("y", "other"), ("x", "other")):
        ask(task)
    assert len(opened) == 2


def test_a_full_disk_costs_the_file_and_not_the_answer(tmp_path):
    (tmp_path / "listens").write_text("in the way")
    answer = judge(tmp_path)(("b0", "listens"))
    assert answer.detection.flagged
    assert "could not be kept" in answer.error


@pytest.mark.parametrize("name", ["../../evil", "a/b", "..", "", "x" * 500, "\0", "CON:é\n"])
def test_names_stay_inside_the_folder(tmp_path, name):
    folder = tmp_path / "results"
    zoo = Zoo((toy_zoos.entry(name, 0.5),))
    assert judge(folder, zoo=zoo, **{name: toy_zoos.listens})((name, name)).error is None
    (file,) = (path for path in folder.rglob("*") if path.is_file())
    assert file.parent.parent == folder
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results"]


def test_detections_of_any_making_become_plain():
    detection = Detection(
        flagged=np.bool_(True),
        targets=(np.int64(3),),
        score=math.inf,
        p_value=np.float32(0.5),
        statistics=(np.float64(1.5), None, math.nan),
        seconds=1,
        details={"a": np.float32(0.25), "b": [math.nan, {"c": (1, object)}], 3: None},
    )
    raw = plain(detection)
    assert json.loads(json.dumps(raw, allow_nan=False)) == raw
    back = from_plain(raw)
    assert (back.flagged, back.targets, back.p_value) == (True, (3,), 0.5)
    assert back.score == sys.float_info.max
    assert back.statistics == (1.5, None, None)
    assert back.details == {"a": 0.25, "b": [None, {"c": [1, "<class 'object'>"]}], "3": None}
    assert plain(Detection(False, score=math.nan))["score"] is None
    with pytest.raises(ValueError, match=r"p-value of 1\.5"):
        plain(Detection(True, p_value=1.5))
