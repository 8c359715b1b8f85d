"""`mmbd train` as a user meets it: exit codes, files, and what is printed."""

from __future__ import annotations

import json

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
        (["D", "--arch", "mpl"], "unknown architecture 'mpl'; did you mean 'mlp'?"),
        (["D", "--arch", "mlp", "--attack", "badnets"], "unknown attack 'badnets'"),
        (["D", *MLP, "--attack", "badnet", "--attack-arg", "cuont=3"], "did you mean 'count'?"),
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
