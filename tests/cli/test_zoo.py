"""`mmbd train` and `mmbd zoo` as a user meets them: exit codes, files, and what is printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import mmbd
from helpers import digit_zoos
from helpers.command_line import caller
from mmbd.workflows import scan_file as gate

MLP = ["--arch", "mlp", "--arch-arg", "hidden=(32,)"]
FAST = ["--epochs", "10", "--lr", "0.003", "--batch", "32"]
BADNET = ["--attack", "badnet", "--attack-arg", "count=140"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return digit_zoos.write(tmp_path_factory.mktemp("data"))


@pytest.fixture
def run(data, capsys, monkeypatch):
    """Run a command line beside the data; returns (exit code, what it printed, its errors)."""
    monkeypatch.chdir(data)
    return caller(capsys)


def train(run, *arguments):
    fast = [] if {"--epochs", "--lr"} & {*map(str, arguments)} else FAST
    return run("train", "--data", "train.npz", "--test", "test.npz", *MLP, *fast, *arguments)


# ------------------------------------------------------------------------------------------ train


def test_one_backdoored_model(run, tmp_path):
    out = tmp_path / "mine.safetensors"
    code, said, errors = train(run, *BADNET, "--target", 3, "--seed", 5, "--out", out)
    assert (code, errors) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} == {
        "mine.safetensors",
        "mine.trigger.safetensors",
        "mine.json",
    }
    card = json.loads((tmp_path / "mine.json").read_text())
    assert (card["label"], card["targets"], card["seed"]) == ("backdoored", [3], 5)
    assert card["settings"]["draw"] == 5
    assert f"ACC {card['accuracy']:.1%}  ASR {card['asr']:.1%}" in said
    assert "target: 3; sources: 9 classes; poisoned: 140" in said
    assert mmbd.load(out).classifier.classes == 10


def test_the_same_command_gives_the_same_model_under_any_name(run, tmp_path):
    for name in ("a", "b"):
        train(
            run,
            *BADNET,
            "--sources",
            "S",
            "--attack-arg",
            "size=2",
            "--attack-arg",
            "count=50",
            "--out",
            tmp_path / f"{name}.safetensors",
        )
    weights = [(tmp_path / f"{name}.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]
    card = json.loads((tmp_path / "a.json").read_text())
    assert len(card["sources"]) == 1


def test_a_folder_gets_a_speaking_name_and_nothing_is_overwritten(run, tmp_path):
    assert train(run, "--out", tmp_path / "new")[0] == 0
    model = tmp_path / "new" / "mlp-clean-0.safetensors"
    before = model.read_bytes()
    code, _, errors = train(run, "--out", tmp_path / "new", "--epochs", 1)
    assert code == gate.USAGE
    assert errors.startswith(f"mmbd: {model} is there already: give --force")
    assert model.read_bytes() == before
    assert train(run, "--out", tmp_path / "new", "--epochs", 1, "--force")[0] == 0
    assert model.read_bytes() != before


def test_a_preset_supplies_what_is_not_given(run, tmp_path):
    code, _, errors = run(
        "train",
        "--preset",
        "cifar10-small",
        "--data",
        "train.npz",
        "--test",
        "test.npz",
        "--arch",
        "mlp",
        "--epochs",
        1,
        "--limit",
        50,
        "--attack",
        "badnet",
        "--attack-arg",
        "count=5",
        "--out",
        tmp_path,
    )
    assert (code, errors) == (0, "")
    recipe = json.loads((tmp_path / "mlp-badnet-M-0.json").read_text())["settings"]["recipe"]
    assert (recipe["epochs"], recipe["precision"]) == (1, "bfloat16")
    code, _, errors = run("train", "--preset", "cifar10-small", "--data-root", "nowhere", "--out", tmp_path)
    assert code == gate.FAILED
    assert "/nowhere/cifar10/train.parquet" in errors


def test_a_failed_attack_is_marked(run, tmp_path):
    code, said, _ = train(
        run, "--attack", "badnet", "--attack-arg", "count=1", "--out", tmp_path / "m.safetensors"
    )
    assert code == 0
    assert "attack failed: ASR" in said


def test_sources_by_name_or_number(run, tmp_path):
    train(
        run,
        *BADNET,
        "--sources",
        "1,2",
        "--target",
        "7",
        "--classes",
        1,
        2,
        7,
        "--limit",
        300,
        "--out",
        tmp_path / "m.safetensors",
        "--attack-arg",
        "count=40",
    )
    assert not (tmp_path / "m.json").exists()  # three classes are left: 0 to 2
    code, _, errors = train(
        run,
        *BADNET,
        "--sources",
        "0,1",
        "--target",
        "2",
        "--classes",
        1,
        2,
        7,
        "--limit",
        300,
        "--out",
        tmp_path / "m.safetensors",
        "--attack-arg",
        "count=40",
    )
    assert (code, errors) == (0, "")
    card = json.loads((tmp_path / "m.json").read_text())
    assert (card["sources"], card["targets"], card["samples"]["train"]) == ([0, 1], [2], 300)
    assert card["class_names"] == ["1", "2", "7"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--data and --test, or a --preset"),
        (["--data", "train.npz"], "give --data and --test together"),
        (["--preset", "cifar"], "unknown preset 'cifar'"),
        (["--data", "train.npz", "--test", "test.npz"], "names no network"),
        (["--data", "train.npz", "--test", "test.npz", "--arch-arg", "a=1"], "needs --arch"),
        (["D", "--arch", "mpl"], "unknown architecture 'mpl' (did you mean mlp?)"),
        (["D", "--arch", "mlp", "--attack", "badnets"], "unknown attack 'badnets'"),
        (["D", *MLP, "--attack", "badnet", "--attack-arg", "cuont=3"], "(did you mean count?)"),
        (["D", *MLP, "--attack", "badnet", "--attack-arg", "count"], "expected key=value"),
        (["D", *MLP, *BADNET, "--target", "cat"], "unknown class 'cat'"),
        (["D", *MLP, *BADNET, "--target", "10"], "class 10 is out of range: the data has 0 to 9"),
        (["D", *MLP, *BADNET, "--sources", "3", "--target", "3"], "cannot be a source class"),
        (["D", *MLP, *BADNET, "--sources", "S", "--attack-arg", "count=1000"], "a smaller count"),
        (
            ["D", *MLP, *BADNET, "--sources", "1", "--attack-arg", "count=1000"],
            "1000 samples to poison; the source classes hold",
        ),
        (["D", *MLP, "--size", "8x8x8"], "size in [data.data]: expected"),
        (["D", *MLP, "--size", "8by8"], "expected lengths such as"),
        (["D", *MLP, "--epochs", "0"], "expected more than 0"),
        (["D", *MLP, "--optimizer", "lion"], "unknown optimizer 'lion'"),
        (["D", *MLP, "--precision", "half"], "precision"),
        (["D", *MLP, "--std", "0"], "std in [data.data]: expected more than 0"),
        (["D", *MLP, "--device", "gpu"], "device 'gpu' cannot be used"),
        (
            ["D", *MLP, "--attack", "badnet", "--attack-arg", "rate=x"],
            "rate in [attack.badnet-M]: expected float, got 'x'",
        ),
        (["D", *MLP, "--attack", "badnet", "--attack-arg", "count=1.5"], "expected int | None"),
        (["D", *MLP, "--attack", "badnet", "--attack-arg", "count=0"], "expected at least 1"),
        (["D", *MLP, *BADNET, "--attack-arg", "size=0"], "a patch of 0 pixels does not fit"),
        (["D", "--arch", "lenet"], "LeNet needs images of at least 16 pixels"),
        (["D", *MLP, "--out", "model.pt"], "a name that ends in .safetensors"),
        (["D", *MLP, "--out", "m.trigger.safetensors"], ".trigger.safetensors is the name"),
    ],
)
def test_train_usage(run, tmp_path, arguments, message):
    whole = [
        part
        for word in arguments
        for part in (["--data", "train.npz", "--test", "test.npz"] if word == "D" else [word])
    ]
    out = [] if "--out" in arguments else ["--out", tmp_path / "m.safetensors"]
    code, said, errors = run("train", *whole, *out)
    assert (code, said) == (gate.USAGE, ""), errors
    assert message in errors
    assert errors.startswith("mmbd: ")
    assert not list(tmp_path.iterdir())


def test_missing_data_and_a_diverging_training_fail(run, tmp_path):
    code, _, errors = run(
        "train", "--data", "no.npz", "--test", "test.npz", *MLP, "--out", tmp_path / "m.safetensors"
    )
    assert code == gate.FAILED
    assert "no data at " in errors
    assert "no.npz" in errors
    code, _, errors = train(run, "--lr", "1e38", "--optimizer", "sgd", "--out", tmp_path / "m.safetensors")
    assert code == gate.FAILED
    assert "try a smaller --lr" in errors
    assert not list(tmp_path.iterdir())


# -------------------------------------------------------------------------------------------- zoo


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A zoo of two models and a failed one, made by a real process; (folder, what it did)."""
    folder = tmp_path_factory.mktemp("zoo")
    plan = digit_zoos.plan(
        folder,
        '[attack.greedy]\nkind = "badnet"\nsources = [1]\ncount = 900\n[[grid]]\n'
        'attack = ["clean", "greedy", "badnet-M"]\n',
    )
    done = subprocess.run(
        [sys.executable, "-m", "mmbd", "zoo", "make", plan, folder / "out"],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=600,
    )
    return folder, done


def test_making_a_zoo_goes_on_past_a_failure(made):
    folder, done = made
    assert done.returncode == gate.FAILED, done.stderr
    assert done.stderr == ""
    first, second, third, total, failure = done.stdout.splitlines()
    assert first.startswith("[1/3] digits-mlp-clean-0  ACC ")
    assert "left" in first
    assert second.startswith("[2/3] digits-mlp-greedy-0  FAILED: 900 samples to poison; the source")
    assert third.startswith("[3/3] digits-mlp-badnet-M-0  ACC ")
    assert "  ASR " in third
    assert total == f"{folder / 'out'}: 2 models made, 0 were there already, 1 failed"
    assert failure.startswith("failed: digits-mlp-greedy-0: 900 samples to poison")


def test_making_it_again_tries_what_failed(run, made):
    folder, _ = made
    code, said, _ = run("zoo", "make", folder / "plan.toml", folder / "out")
    assert code == gate.FAILED
    assert "0 models made, 2 were there already, 1 failed" in said
    other = folder / "other.toml"
    other.write_text((folder / "plan.toml").read_text().replace("epochs = 12", "epochs = 13"))
    code, _, errors = run("zoo", "make", other, folder / "out")
    assert code == gate.USAGE
    assert "recipe.epochs is 12 there and 13 here" in errors


def test_listing_a_zoo(run, made):
    folder, _ = made
    code, said, _ = run("zoo", "list", folder / "out")
    assert code == gate.FAILED  # because of the one that could not be made
    head, *models, total, broken = said.splitlines()
    assert head.split() == ["model", "label", "attack", "targets", "ACC", "train", "ASR", "mark"]
    assert [line.split()[:3] for line in models] == [
        ["digits-mlp-badnet-M-0", "backdoored", "badnet-M"],
        ["digits-mlp-clean-0", "clean", "clean"],
    ]
    assert total == "2 models: 1 clean, 1 backdoored; 0 set aside, 1 broken"
    assert broken.startswith("broken: digits-mlp-greedy-0: not made: 900 samples")
    code, said, _ = run("zoo", "list", folder / "out", "--quiet")
    assert said.splitlines()[:2] == ["digits-mlp-badnet-M-0\tbackdoored", "digits-mlp-clean-0\tclean"]


def test_names_in_a_listing_cannot_steer_the_terminal(run, tmp_path):
    (tmp_path / "m.pt").write_bytes(b"x")
    (tmp_path / "zoo.csv").write_text("path,label,target,name\nm.pt,0,,\x1b[31m[red]evil\n")
    code, said, _ = run("zoo", "list", tmp_path / "zoo.csv")
    assert code == 0
    assert "\x1b" not in said
    assert "[red]evil" in said


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["make", "no.toml", "out"], gate.FAILED, "no.toml"),
        (["make", "train.npz", "out"], gate.FAILED, "train.npz"),
        (["make", "P", "out", "--workers", "0"], gate.USAGE, "at least 1"),
        (["make", "P", "out", "--devise", "cpu"], gate.USAGE, "--devise"),
        (["make", "P"], gate.USAGE, "OUT"),
        (["make", "P", "out", "--device", "gpu"], gate.USAGE, "device 'gpu' cannot be used"),
        (["list", "nowhere"], gate.FAILED, "nowhere"),
        (["list", "."], gate.FAILED, "no zoo"),
        (["lst"], gate.USAGE, "lst"),
    ],
)
def test_zoo_usage(run, made, arguments, code, message):
    words = [made[0] / "plan.toml" if word == "P" else word for word in arguments]
    found, _, errors = run("zoo", *words)
    assert found == code, errors
    assert message in errors
    assert errors.startswith("mmbd: ")


@pytest.mark.parametrize("command", [["train"], ["zoo", "make"], ["zoo", "list"]])
def test_help_names_the_exit_codes(run, command):
    code, said, _ = run(*command, "--help")
    assert code == 0
    assert "Exit codes: 0" in " ".join(said.split())
