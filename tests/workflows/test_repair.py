"""Repairs that are measured: what is counted, what is claimed, and the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from helpers.toy_victims import SHAPE, pictures, victim
from mmbd.attacks import ATTACKS
from mmbd.base.errors import Failed
from mmbd.data import read as data
from mmbd.data.dataset import Dataset, split
from mmbd.formats.load import load
from mmbd.formats.spec import Spec, save
from mmbd.mitigators import Record
from mmbd.mitigators.still_working import judged
from mmbd.model.classifier import Classifier
from mmbd.model.forward import classes_of
from mmbd.render.repair import lines
from mmbd.triggers.backdoor import Backdoor
from mmbd.triggers.files import load as load_trigger
from mmbd.triggers.files import save as save_trigger
from mmbd.triggers.trigger import stamp
from mmbd.workflows import repair as fixing

CLASSES = 5


class Brightness(nn.Module):
    """Says class 1 of bright inputs and class 0 of others, through a ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        mean = torch.relu(x.flatten(1).mean(1, keepdim=True) - 0.5)
        return torch.cat((torch.full_like(mean, 0.05), mean), 1)


def bright(count: int) -> Dataset:
    labels = torch.arange(count) % 2
    images = torch.where(labels[:, None, None, None] == 1, 0.9, 0.1).expand(count, 1, 2, 2)
    return Dataset(images.clone(), labels, ("dark", "light"))


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


def mmbd(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mmbd", *map(str, arguments)], capture_output=True, text=True, timeout=600
    )


def test_accuracy_and_attack_success_are_counted_on_the_samples_given():
    clf = Classifier(Brightness(), input_shape=(1, 2, 2))
    held_out = bright(10)
    wrong = replace(held_out, labels=torch.zeros(10, dtype=torch.int64))
    triggered = (torch.full((4, 1, 2, 2), 0.9), 1)
    _, outcome = fixing.fix(
        clf, bright(20), wrong, triggered=triggered, method="mm-bm", options={"perturbations": (), "steps": 2}
    )
    assert outcome.held_out == 10
    assert outcome.accuracy == (0.5, 0.5)
    assert outcome.classes == (("0", 10, 0.5, 0.5),)
    assert outcome.triggered == 4
    assert outcome.attack_success == (1.0, 1.0)
    assert outcome.fidelity == 0.0
    assert outcome.scans is None


@pytest.mark.parametrize(
    ("accuracy", "success", "fidelity"),
    [
        ((0.8, 0.6), (1.0, 0.25), 0.5625),
        ((0.8, 0.8), (0.5, 0.0), 1.0),
        ((0.8, 0.8), None, None),
        (None, (1.0, 0.0), None),
        ((0.8, 0.8), (0.0, 0.0), None),
        ((0.5, 0.5), (0.2, 0.4), -1.0),
    ],
)
def test_fidelity(accuracy, success, fidelity):
    outcome = fixing.Repair(Record("x", True), accuracy=accuracy, attack_success=success)
    assert outcome.fidelity == (None if fidelity is None else pytest.approx(fidelity))


def test_a_split_has_every_sample_once_and_leaves_some_of_every_class():
    samples = pictures(53, classes=CLASSES)
    learn, left = split(samples, 20, seed=3)
    assert len(learn) + len(left) == 53
    both = torch.cat((learn.inputs, left.inputs)).flatten(1)
    assert len(both.unique(dim=0)) == len(samples.inputs.flatten(1).unique(dim=0))
    assert left.labels.bincount(minlength=CLASSES).min() >= 5  # 10 or 11 of a class: half stays
    few, _ = split(samples, 4, seed=3)
    assert few.labels.bincount().tolist() == [4] * CLASSES
    assert not torch.equal(few.inputs, split(samples, 4, seed=4)[0].inputs)
    assert torch.equal(few.inputs, split(samples, 4, seed=3)[0].inputs)


def test_classes_go_by_name_where_both_sides_know_the_names():
    samples = Dataset(torch.zeros(3, 1), torch.tensor([0, 1, 1]), ("b", "a"))
    assert fixing.named_alike(samples, ("a", "b", "c")).labels.tolist() == [1, 0, 0]
    assert fixing.named_alike(samples, ("0", "1")).labels.tolist() == [0, 1, 1]
    assert fixing.named_alike(samples, ("b", "a")) is samples
    with pytest.raises(Failed, match=r"2 classes \(b, a\), the classifier 2 \(x, y\)"):
        fixing.named_alike(samples, ("x", "y"))
    with pytest.raises(Failed, match=r"2 classes \(b, a\), the classifier 1 \(x\)"):
        fixing.named_alike(samples, ("x",))


WORKS = lambda images: images + 0.5  # noqa: E731


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"samples": (torch.zeros(4, 1, 3, 3), [0, 1, 0, 1])},
            r"the clean samples have the shape \(1, 3, 3\), expected \(1, 2, 2\)",
        ),
        ({"held_out": (torch.zeros(4, 1, 2), [0, 1, 0, 1])}, "held-out samples have the shape"),
        ({"held_out": (torch.zeros(4, 1, 2, 2).long(), [0, 1, 0, 1])}, "samples are torch.int64"),
        (
            {"held_out": (torch.full((4, 1, 2, 2), 2.0), [0, 1, 0, 1])},
            "held-out samples range from 2 to 2, outside .* raw inputs, not normalised",
        ),
        ({"held_out": (torch.full((4, 1, 2, 2), torch.nan), [0, 1, 0, 1])}, "hold NaN"),
        ({"triggered": (torch.zeros(2, 3, 2, 2), 1)}, "the triggered samples have the shape"),
        ({"backdoor": Backdoor({0: WORKS}, {0: 2}, torch.empty(0))}, "for class 2, and .* 0 to 1"),
        ({"backdoor": Backdoor({5: WORKS}, {5: 0}, torch.empty(0))}, "for class 5, and .* 0 to 1"),
        (
            {"backdoor": Backdoor({0: lambda x: x + torch.zeros(3)}, {0: 1}, torch.empty(0))},
            "does not go on inputs of shape",
        ),
        (
            {"backdoor": Backdoor({0: lambda x: x[:, :, :1]}, {0: 1}, torch.empty(0))},
            r"makes \(1, 1, 1, 2\) of inputs",
        ),
        (
            {
                "backdoor": Backdoor({0: WORKS}, {0: 1}, torch.empty(0)),
                "held_out": (torch.zeros(2, 1, 2, 2), [1, 1]),
            },
            "no held-out samples of .* classes",
        ),
    ],
    ids=range(11),
)
def test_what_does_not_fit_is_found_before_anything_is_repaired(monkeypatch, change, message):
    monkeypatch.setattr(fixing, "mitigate", lambda *_, **__: pytest.fail("repaired"))
    clf = Classifier(Brightness(), input_shape=(1, 2, 2))
    arguments = {"samples": bright(20), "held_out": bright(10)}
    for name, value in change.items():
        if name in arguments:
            value = Dataset(value[0], torch.tensor(value[1]), ("dark", "light"))
        arguments[name] = value
    with pytest.raises(Failed, match=message):
        fixing.fix(clf, arguments.pop("samples"), arguments.pop("held_out"), **arguments)


def test_samples_that_fit_are_numbered_as_the_classes():
    clf = Classifier(Brightness(), input_shape=(1, 2, 2), class_names=("light", "Dark"))
    assert fixing.fitting(bright(4), clf).labels.tolist() == [1, 0, 1, 0]
    whole = replace(bright(4), inputs=(bright(4).inputs * 255).to(torch.uint8))
    assert fixing.fitting(whole, clf).names == ("light", "Dark")
    with pytest.raises(Failed, match="have the shape"):
        fixing.fitting(replace(bright(4), inputs=torch.zeros(4, 3)), clf)


def test_a_folder_of_another_name_is_said_and_not_guessed(attacked, tmp_path):
    samples = pictures(100, classes=CLASSES)
    for index, (image, label) in enumerate(zip(samples.inputs, samples.labels, strict=True)):
        name = "another" if label == 2 else f"Picture_{label}"
        (tmp_path / "clean" / name).mkdir(parents=True, exist_ok=True)
        made = Image.fromarray(image.permute(1, 2, 0).numpy())
        made.save(tmp_path / "clean" / name / f"{index}.png")
    out = tmp_path / "fixed.safetensors"
    flags = ("--data", tmp_path / "clean", "--no-rescan", "--out", out, "--option", "steps=2")
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
    assert done.returncode == 0, done
    assert out.exists()


def test_words_claim_nothing_that_was_not_measured():
    found = ({"kind": "added", "target": 3, "radius": 0.4, "before": 0.9, "after": 0.8},)
    silent = "\n".join(lines(fixing.Repair(Record("mm-bm", True, perturbations=judged(found)))))
    assert "attack success: not measured" in silent
    assert "class 3: took 90% of the other classes' samples there before, takes 80%" in silent
    assert "--method hardening" in silent
    assert "accuracy: not measured" in silent
    cats = (("<b>cat\x1b[0m", 50, 0.9, 0.88),)
    told = fixing.Repair(Record("mm-bm", True), 50, (0.9, 0.88), cats, 40, (0.99, 0.02))
    text = "\n".join(lines(told))
    assert "90.0% before, 88.0% after (-2.0 points)" in text
    assert "99.0% before, 2.0% after" in text
    assert "not measured" not in text
    assert "\x1b" not in text
    assert "without a trigger" not in text
    known = replace(told, untriggered=(0.011, 0.024))
    assert "without a trigger, 1.1% and 2.4% go to the target" in "\n".join(lines(known))
    sparse = ({"kind": "sparse", "target": 3, "radius": 9.0, "before": 0.9, "after": 0.8},)
    few = "\n".join(lines(fixing.Repair(Record("mm-bm", True, perturbations=judged(sparse)))))
    assert "a small change in few places found for class 3" in few
    assert "--method hardening" not in few  # they move clean networks too
    nothing = "\n".join(lines(fixing.Repair(Record("mm-bm", False, "no activations"))))
    assert nothing.splitlines() == ["NOT MITIGATED  no activations", "The model is unchanged."]


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
    )
    assert done.returncode == 0, done.stderr
    assert attacked["model"].read_bytes() == before
    found = json.loads(record.read_text())
    assert found["held_out"] == 200
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
        (["--out", "new.pt", "--per-class", "1"], 3, "NOT MITIGATED"),
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
