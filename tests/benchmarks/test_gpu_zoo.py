"""The one-run benchmark on digits: what it writes, and that it stops and goes on cleanly."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import gpu_zoo
from helpers import digit_zoos
from mmbd.zoo import plan

CLEAN, BAD = "digits-mlp-clean-0", "digits-mlp-badnet-M-0"
GRID = '[[grid]]\nattack = ["clean", "badnet-M"]\n'


def start(folder, budget=1e6, text=GRID):
    jobs = plan.read(digit_zoos.plan(folder, text))
    gpu_zoo.run(jobs, folder, folder / "out", budget)
    return json.loads((folder / "out" / gpu_zoo.RESULT).read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, start(folder)


def test_everything_about_every_model_is_in_one_file(whole):
    _, content = whole
    assert list(content["models"]) == [CLEAN, BAD]
    assert (content["left"], content["failed"]) == ([], {})
    assert content["environment"]["torch"] == torch.__version__
    clean, bad = content["models"].values()
    assert set(bad["seconds"]) == {"data", "training", "scan", "mitigation"}
    assert set(clean["seconds"]) == {"data", "training", "scan"}
    assert clean["mitigation"] is None is clean["asr"]
    for row in (clean, bad):
        assert row["accuracy"] > 0.8
        assert row["seed"] == 0
        assert row["hardware"]["device"] == "cpu"
        assert len(row["scan"]["statistics"]) == 10
        assert row["scan"]["verdict"] in ("clean", "backdoored")
        assert (row["scan"]["verdict"] == "backdoored") == bool(row["scan"]["targets"])
        assert row["warnings"] == []
    repair = bad["mitigation"]
    assert bad["asr"] > 0.8
    assert repair["images"] == 200
    assert repair["held_out"] == len(digit_zoos.arrays()[1]) - 1400 - 200
    assert repair["asr"][0] == pytest.approx(bad["asr"], abs=0.1)
    assert 0 <= repair["asr"][1] <= repair["asr"][0]


def test_what_is_done_is_not_done_again(whole, monkeypatch):
    folder, content = whole
    monkeypatch.setattr(gpu_zoo, "model", lambda *_: pytest.fail("done again"))
    assert start(folder)["models"] == content["models"]


def test_other_settings_are_no_continuation(whole):
    folder, _ = whole
    with pytest.raises(ValueError, match="made with other settings"):
        start(folder, text=GRID + "[arch.mlp.recipe]\nepochs = 3\n")


def test_without_time_all_is_left(tmp_path):
    content = start(tmp_path, budget=0)
    assert (content["left"], content["models"]) == ([CLEAN, BAD], {})
    assert list((tmp_path / "out").glob("*.safetensors")) == []


@pytest.mark.parametrize("last", [15, 24])  # of 12 epochs a model: in training, after it
def test_time_that_runs_out_costs_one_model(tmp_path, whole, monkeypatch, last):
    epochs = []

    class Short(gpu_zoo.Clock):
        def check(self, *said):
            if len(said) == 2 and isinstance(said[1], float):  # epoch and loss
                epochs.append(said)
            if len(epochs) >= last:
                raise gpu_zoo.OutOfTime("over")

    with monkeypatch.context() as patch:
        patch.setattr(gpu_zoo, "Clock", Short)
        content = start(tmp_path)
    assert list(content["models"]) == [CLEAN]
    assert (content["left"], content["failed"]) == ([BAD], {})
    content = start(tmp_path)
    assert content["left"] == []
    figures = [
        {key: row[key] for key in ("accuracy", "asr", "draw")} | row["scan"]
        for found in (content, whole[1])
        for row in found["models"].values()
    ]
    assert figures[:2] == figures[2:]  # as without the break


def test_a_broken_model_stops_nothing(tmp_path):
    broken = '[data.nowhere]\ntrain = "no.npz"\ntest = "no.npz"\n'
    content = start(
        tmp_path, text=broken + '[[grid]]\ndata = ["nowhere", "digits"]\narch = "mlp"\nattack = "clean"\n'
    )
    assert list(content["models"]) == [CLEAN]
    assert "no data at" in content["failed"]["nowhere-mlp-clean-0"]
    assert content["left"] == []


def test_figures_by_hand():
    def row(verdict, found, true, asr=None, accuracy=(0.9, 0.8)):
        repair = true and {"asr": asr, "accuracy": accuracy}
        return {
            "label": "backdoored" if true else "clean",
            "targets": true,
            "scan": {"verdict": verdict, "targets": found},
            "mitigation": repair,
        }

    rows = [
        row("clean", [], []),
        row("backdoored", [2], []),
        row("backdoored", [1], [1], (1.0, 0.2)),
        row("backdoored", [2], [1], (0.8, 0.0)),
        row("clean", [], [1]),
    ]
    found = gpu_zoo.summary(rows)
    assert (found["detected"]["hits"], found["detected"]["n"]) == (1, 3)
    assert (found["false_alarms"]["hits"], found["false_alarms"]["n"]) == (1, 2)
    assert (found["repaired"], found["asr"]) == (2, pytest.approx([0.9, 0.1]))


@pytest.mark.parametrize("name", ["cuda", "cpu"])
def test_the_plans_parse(name):
    jobs = plan.read(gpu_zoo.PLANS[name])
    assert all(job.recipe.precision == "bfloat16" for job in jobs)
    kinds = {job.attack.kind for job in jobs}
    assert kinds >= {"clean", "badnet"}
    if name == "cuda":
        assert kinds == {"clean", "badnet", "chessboard", "1-pixel", "unicolor", "blend", "wanet"}
        assert {job.arch.kind for job in jobs} == {"resnet18"}
