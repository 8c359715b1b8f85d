"""Zoos of strangers: every broken entry is listed, and neither hangs nor stops the others."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import own_process
from mmbd import nets
from mmbd.cli import main
from mmbd.workflows import scan_file as gate
from mmbd.zoo import index, read
from zoo.test_cards import card

SHAPE = (3, 8, 8)
ARCH: dict[str, Any] = {"arch": "mlp", "arch_args": {"hidden": (8,)}, "input_shape": SHAPE}
LONG = "9" * 5000


def weights() -> dict[str, torch.Tensor]:
    return nets.build("mlp", classes=4, input_shape=SHAPE, hidden=(8,)).state_dict()


def result(folder: Path, **changes: object) -> None:
    """An attack_result.pt of BackdoorBench."""
    folder.mkdir(parents=True)
    content = {
        "model_name": "vgg19",
        "model": weights(),
        "img_size": [8, 8, 3],
        "clean_data": "cifar10",
        "bd_test": {"y": torch.tensor([3, 3])},
    } | changes
    torch.save(content, folder / "attack_result.pt")


def tuples(depth: int) -> object:
    """A few dozen tuples, whose text would have 2**depth parts."""
    made: object = ("x",)
    for _ in range(depth):
        made = (made, made)
    return made


BROKEN_RESULTS: dict[str, dict[str, object]] = {
    "lengths": {"img_size": [None] * 3},
    "words": {"img_size": ["a", "b", "c"]},
    "negative": {"img_size": [8, 8, -3]},
    "huge": {"img_size": [8, 8, 10**400]},
    "complex": {"bd_test": {"y": torch.zeros(2, dtype=torch.complex64)}},
    "nan": {"bd_test": {"y": torch.tensor([float("nan")])}},
    "minus": {"bd_test": {"y": torch.tensor([-1])}},
    "far": {"bd_test": {"y": torch.tensor([2**62])}},
}


def test_broken_results_stop_nothing(tmp_path):
    for name, changes in BROKEN_RESULTS.items():
        result(tmp_path / name, **changes)
    result(tmp_path / "good")
    result(tmp_path / "nested", clean_data=tuples(40), model_name=tuples(40))
    os.mkfifo(tmp_path / "x.fifo")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "attack_result.pt")
    zoo = read(tmp_path, **ARCH)
    assert [(entry.name, entry.targets) for entry in zoo.entries] == [("good", (3,)), ("nested", (3,))]
    assert zoo.entries[0].open().classes == 4
    assert zoo.entries[1].group == " "  # what is no name is not written out
    reasons = dict(zoo.broken)
    assert set(reasons) == {*BROKEN_RESULTS, "pipe"}
    for name in ("lengths", "words", "negative", "huge"):
        assert "img_size is " in reasons[name]
        assert "expected three lengths" in reasons[name]
    for name in ("complex", "nan", "minus", "far"):
        assert "bd_test.y holds" in reasons[name]
    assert max(map(len, reasons.values())) < 400


def trojai(folder: Path, truth: str | None, config: str | None = None) -> Path:
    folder.mkdir(parents=True)
    torch.save(weights(), folder / "model.pt")
    if truth is not None:
        (folder / "ground_truth.csv").write_text(truth)
    if config is not None:
        (folder / "config.json").write_text(config)
    return folder


def test_broken_trojai_folders_stop_nothing(tmp_path):
    trojai(tmp_path / "id-0", ",")
    trojai(tmp_path / "id-1", "1", "[" * 100_000)
    trojai(tmp_path / "id-2", "1", f'{{"a": {LONG}}}')
    trojai(tmp_path / "id-3", "1", '{"poisoned": 1, "poisoned": 0}')
    os.mkfifo(trojai(tmp_path / "id-4", None, '{"poisoned": 1}') / "ground_truth.csv")
    os.mkfifo(trojai(tmp_path / "id-5", "1") / "config.json")
    (trojai(tmp_path / "id-6", "1") / "config.json").symlink_to("/dev/zero")
    with (trojai(tmp_path / "id-7", "1") / "config.json").open("wb") as sparse:
        sparse.truncate(10 << 30)
    trojai(tmp_path / "id-8", None, '{"poisoned": [[[]]]}')
    for number, target in enumerate(['"²"', f'"{LONG}"', "NaN", "null", "[2]", "1e999"]):
        trojai(tmp_path / f"id-odd{number}", "1", f'{{"trigger_target_class": {target}}}')
    trojai(tmp_path / "id-well", "1", '{"Poisoned": NaN, "trigger_target_class": "2"}')
    zoo = read(tmp_path, **ARCH)
    found = {entry.name: entry.targets for entry in zoo.entries}
    assert found == {**{f"id-odd{number}": () for number in range(6)}, "id-well": (2,)}
    reasons = [reason for _, reason in zoo.broken]
    for reason, words in zip(
        reasons,
        [
            "label '' is none of",
            "nested too deeply",
            "not JSON: a number has thousands",
            "occurs twice",
            "found a FIFO",
            "found a FIFO",
            "character device",
            "expected at most 16,777,216",
            "label '' is none of",
        ],
        strict=True,
    ):
        assert words in reason


def test_broken_rows_stop_nothing(tmp_path):
    torch.save(weights(), tmp_path / "a.pt")
    rows = [
        f"a.pt,1,{LONG},",
        f"a.pt,1,2,{LONG}",
        "a.pt,1,²,",
        "a\0.pt,1,2,",
        "a.pt,1,2,7",
        "a.pt,1,1,²",
        f"{'n' * 5000},1,2,",
        "a.pt,1,3,",
    ]
    file = tmp_path / "zoo.csv"
    file.write_text("path,label,target,seed\n" + "\n".join(rows) + "\n")
    zoo = read(file, **ARCH)
    assert [(entry.targets, entry.seed) for entry in zoo.entries] == [((2,), 7), ((3,), None)]
    reasons = [reason for _, reason in zoo.broken]
    assert len(reasons) == 6
    for reason, words in zip(reasons, ["target", "seed", "target", "", "seed", ""], strict=True):
        assert words in reason


def test_names_of_rows_stay_apart(tmp_path):
    torch.save(weights(), tmp_path / "a.pt")
    file = tmp_path / "zoo.csv"
    file.write_text("name,path,label,target\nx (line 4),a.pt,1,1\nx,a.pt,1,2\nx,a.pt,1,3\nx,a.pt,1,0\n")
    assert [entry.targets for entry in read(file, **ARCH).entries] == [(1,), (2,), (3,), (0,)]


# ------------------------------------------------------------------------ zoos of our own making


def own(folder: Path, name: str, text: str | None = None, **changes: object) -> None:
    (folder / f"{name}.safetensors").write_bytes(b"never opened")
    made = text if text is not None else json.dumps({**card(name), **changes})
    (folder / f"{name}.json").write_text(made)


BROKEN_CARDS: dict[str, dict[str, object]] = {
    "attack": {"settings": {"attack": ["clean"]}},
    "train": {"train_accuracy": 10**400},
    "share": {"train_accuracy": "all"},
    "asr": {"label": "backdoored", "asr": True},
    "seed": {"seed": 10**400},
    "file": {"file": "other\0"},
    "seconds": {"seconds": "long"},
    "targets": {"targets": [10**400]},
    "accuracy": {"accuracy": 10**400},
}


def test_broken_cards_stop_nothing(tmp_path):
    for name, changes in BROKEN_CARDS.items():
        own(tmp_path, name, **changes)
    texts = {
        "nan": json.dumps(card("nan"))[:-1] + ', "protocol": NaN}',
        "deep": '{"card": ' + "[" * 9999,
        "digits": f'{{"card": {LONG}}}',
        "twice": json.dumps(card("twice"))[:-1] + ', "card": 1}',
        "wide": '{"card": 1e999}',
    }
    for name, text in texts.items():
        own(tmp_path, name, text)
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "endless.json").symlink_to("/dev/zero")
    (tmp_path / "folder.json").mkdir()
    with (tmp_path / "sparse.json").open("wb") as sparse:
        sparse.write(b'{"card": 1,')
        sparse.truncate(10 << 30)
    with (tmp_path / "report.json").open("wb") as sparse:  # says nothing of being a card
        sparse.truncate(10 << 30)
    own(tmp_path, "well", train_accuracy=0.5)
    zoo = read(tmp_path)
    assert [entry.name for entry in zoo.entries] == ["well"]
    assert {name for name, _ in zoo.broken} == {*BROKEN_CARDS, *texts, "pipe", "endless", "folder", "sparse"}
    assert max(len(reason) for _, reason in zoo.broken) < 700


def test_a_damaged_index_is_as_good_as_none(tmp_path):
    for content in ("[" * 100_000, '{"entries": []}', f'{{"entries": {LONG}}}', "\0"):
        (tmp_path / index.NAME).write_text(content)
        assert index.read(tmp_path)["entries"] == {}
    (tmp_path / index.NAME).unlink()
    os.mkfifo(tmp_path / index.NAME)
    assert index.read(tmp_path)["entries"] == {}
    (tmp_path / index.NAME).unlink()
    entry = {"state": "failed", "reason": [[["x"] * 9] * 9] * 9}
    (tmp_path / index.NAME).write_text(json.dumps({"entries": {"a": entry}}))
    assert index.failed(tmp_path) == {"a": "not made: a list"}


# --------------------------------------------------------------------------- the command line


def made_result(folder: Path) -> Path:
    result(folder / "bad", img_size=[None] * 3)
    result(folder / "good")
    return folder


def made_table(folder: Path) -> Path:
    torch.save(weights(), folder / "a.pt")
    (folder / "zoo.csv").write_text(f"path,label,target\na.pt,1,{LONG}\na.pt,1,2\n")
    return folder / "zoo.csv"


def made_cards(folder: Path) -> Path:
    own(folder, "bad", train_accuracy=10**400)
    os.mkfifo(folder / "pipe.json")
    own(folder, "good")
    return folder


@pytest.mark.parametrize("make", [made_result, made_table, made_cards])
def test_the_list_says_what_is_broken_and_exits_2(tmp_path, capsys, make: Callable[[Path], Path]):
    with pytest.raises(SystemExit) as stopped:
        main(["zoo", "list", str(make(tmp_path))])
    said = capsys.readouterr().out
    assert stopped.value.code == gate.FAILED
    assert "1 models: " in said
    assert "broken: " in said


@pytest.mark.parametrize("make", [made_result, made_table])
def test_an_evaluation_goes_on_and_exits_2(tmp_path, make: Callable[[Path], Path]):
    arguments = ["--arch", "mlp", "--arch-arg", "hidden=[8]", "--input", "3x8x8"]
    done = own_process.mmbd("evaluate", make(tmp_path), "--workers", 0, *arguments, cwd=tmp_path)
    assert done.returncode == gate.FAILED, done.stderr
    assert "Models of " in done.stdout
    failed = [line for line in done.stderr.splitlines() if ": not evaluable: " not in line]
    assert len(failed) == 1
    assert done.stderr.startswith("mmbd: ")
