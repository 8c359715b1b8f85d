"""`mmbd fix` in a process of its own: from files of a model, samples and a trigger to files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.own_process import mmbd
from helpers.toy_victims import SHAPE, pictures, victim
from mmbd.attacks import ATTACKS
from mmbd.data import read as data
from mmbd.data.dataset import split
from mmbd.formats.load import load
from mmbd.formats.spec import Spec, save
from mmbd.model.forward import classes_of
from mmbd.triggers.files import load as load_trigger
from mmbd.triggers.files import save as save_trigger
from mmbd.triggers.trigger import stamp

CLASSES = 5


@pytest.fixture(scope="module")
def attacked(tmp_path_factory) -> dict[str, Path]:
    """A backdoored model, its trigger, and clean samples, as files."""
    folder = tmp_path_factory.mktemp("attacked")
    names = tuple(f"picture {label}" for label in range(CLASSES))
    made = victim(pictures(400, classes=CLASSES), epochs=12)
    backdoor = ATTACKS["badnet"](made, sources=(1, 2, 3, 4), target=0, count=60)
    spec = Spec("cnn", SHAPE, CLASSES, {"widths": (8, 16)}, mean=(0.5,), std=(0.25,), class_names=names)
    save(folder / "model.safetensors", made.network, spec)
    save_trigger(folder / "model.trigger.safetensors", backdoor)
    for name, seed in (("clean.npz", 5), ("other.npz", 6)):
        samples = pictures(300, classes=CLASSES, seed=seed)
        np.savez(folder / name, x=samples.inputs, y=samples.labels, names=names)
    return {
        "model": folder / "model.safetensors",
        "data": folder / "clean.npz",
        "trigger": folder / "model.trigger.safetensors",
    }


def test_a_folder_of_another_name_is_said_and_not_guessed(attacked, tmp_path):
    samples = pictures(100, classes=CLASSES)
    for index, (image, label) in enumerate(zip(samples.inputs, samples.labels, strict=True)):
        name = "another" if label == 2 else f"Picture_{label}"
        (tmp_path / "clean" / name).mkdir(parents=True, exist_ok=True)
        made = Image.fromarray(image.permute(1, 2, 0).numpy())
        made.save(tmp_path / "clean" / name / f"{index}.png")
    out = tmp_path / "fixed.safetensors"
    flags = ("--data", tmp_path / "clean", "--no-rescan", "--out", out, "--option", "steps=2", "--keep")
    done = mmbd("fix", attacked["model"], *flags)
    assert done.returncode == 2, done
    for words in (
        "(Picture_0, Picture_1, Picture_3",
        "(picture 0, picture 1, picture 2",
        "another, which may be one of picture 2. Rename",
    ):
        assert words in done.stderr
    assert not out.exists()
    (tmp_path / "clean" / "another").rename(tmp_path / "clean" / "picture 2")
    done = mmbd("fix", attacked["model"], *flags)
    assert done.returncode in (0, 3), done
    assert out.exists()


def test_fix_repairs_measures_and_writes_a_file_that_scans(attacked, tmp_path):
    before = attacked["model"].read_bytes()
    out, record = tmp_path / "fixed.safetensors", tmp_path / "record.json"
    done = mmbd(
        "fix",
        attacked["model"],
        "--data",
        attacked["data"],
        "--trigger",
        attacked["trigger"],
        "--out",
        out,
        "--out",
        tmp_path / "plain.pt",
        "--json",
        record,
        "--keep",
    )
    assert attacked["model"].read_bytes() == before
    found = json.loads(record.read_text())
    assert done.returncode == (0 if found["verdict"] == "reduced" else 3), done.stderr
    assert found["held_out"] == 200
    assert found["sources"]
    assert found["triggered"] == 160
    assert found["attack_success"]["before"] > 0.8
    assert found["attack_success"]["after"] < found["attack_success"]["before"]
    assert found["untriggered"]["after"] <= found["attack_success"]["after"]
    assert found["accuracy"]["after"] > found["accuracy"]["before"] - 0.1
    assert found["record"]["layers"]
    assert found["scans"]["before"]["finding"]["verdict"] in ("backdoored", "clean")
    assert f"{found['attack_success']['after']:.1%} after" in done.stdout
    loaded = load(out).classifier
    plain = torch.load(tmp_path / "plain.pt", weights_only=False)
    samples = data.load(attacked["data"])
    triggered = stamp(load_trigger(attacked["trigger"]).triggers[1], split(samples, 20)[1].inputs)
    sources = split(samples, 20)[1].labels != 0
    hits = classes_of(loaded, triggered)[sources] == 0
    assert float(hits.double().mean()) == pytest.approx(found["attack_success"]["after"])
    idle = classes_of(loaded, split(samples, 20)[1].inputs)[sources] == 0
    assert float(idle.double().mean()) == pytest.approx(found["untriggered"]["after"])
    inputs = torch.rand(4, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(plain(inputs), loaded(inputs), rtol=0, atol=1e-5)
    assert mmbd("scan", out, "--quiet").returncode in (0, 1)


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--out", "there.safetensors"], 4, "give --force"),
        (["--out", "new.xyz"], 4, "ends in one of"),
        (["--out", "nowhere/new.onnx"], 4, "no folder"),
        (["--out", "new.pt", "--method", "magic"], 4, "known: auto, mm-bm"),
        (["--out", "new.pt", "--triggered", "x"], 4, "--triggered and --target together"),
        (["--out", "new.pt", "--per-class", "1"], 3, "FAILED  nothing was repaired"),
        (["--out", "new.pt", "--option", "magic=1"], 4, "magic"),
        (["--out", "new.pt", "--trigger", "gone"], 2, "gone"),
    ],
)
def test_a_command_that_makes_no_sense_writes_nothing(attacked, tmp_path, monkeypatch, flags, code, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.safetensors").write_bytes(b"precious")
    done = mmbd("fix", attacked["model"], "--data", attacked["data"], "--no-rescan", *flags)
    assert (done.returncode, words in done.stdout + done.stderr) == (code, True), done
    assert "Traceback" not in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["there.safetensors"]
    assert (tmp_path / "there.safetensors").read_bytes() == b"precious"
