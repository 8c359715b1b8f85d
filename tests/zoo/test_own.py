"""A zoo that was made here, read back: its entries, their clean samples, and what is broken in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from helpers import digit_zoos
from mmbd.base.errors import Failed
from mmbd.data.dataset import Dataset
from mmbd.model.forward import scaled
from mmbd.training import loop as train
from mmbd.zoo import cards, read


def copied(made, folder: Path) -> Path:
    for path in made[0].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_the_zoo_reads_back(made):
    zoo = read(made[0])
    assert zoo.broken == ()
    entries = {entry.name: entry for entry in zoo.entries}
    attacked = entries["digits-mlp-badnet-M-1"]
    assert (attacked.label, attacked.attack, attacked.seed) == ("backdoored", "badnet-M", 1)
    assert attacked.group == "digits mlp"
    card = cards.read(made[0] / "digits-mlp-badnet-M-1.json")
    assert attacked.targets == tuple(card["targets"])
    assert entries["digits-mlp-clean-0"].targets == ()
    assert [entry.excluded for entry in zoo.entries] == [None] * 4
    assert attacked.open().classes == 10


def samples(path: Path, name: str = "digits-mlp-clean-0") -> Dataset:
    entry = next(entry for entry in read(path).entries if entry.name == name)
    assert entry.samples is not None
    return entry.samples()


def test_every_model_knows_its_clean_samples(made):
    out, file, _ = made
    found = samples(out)
    images, labels = digit_zoos.arrays()
    assert torch.equal(found.inputs, torch.from_numpy(images[1400:]))
    assert found.labels.tolist() == labels[1400:].tolist()
    (entry,) = [entry for entry in read(out).entries if entry.name == "digits-mlp-clean-0"]
    with torch.no_grad():
        answers = entry.open()(scaled(found.inputs)).argmax(1)
    assert train.accuracy(answers, found.labels) == cards.read(out / f"{entry.name}.json")["accuracy"]
    # The folder of the zoo says where its data is, wherever the program runs.
    assert (out / json.loads((out / "zoo.json").read_text())["root"]).resolve() == file.parent.resolve()


def test_samples_that_are_not_there_or_not_those(made, tmp_path):
    out = tmp_path / "moved"
    out.mkdir()
    copied(made, out)
    with pytest.raises(Failed, match=r"no samples: data set 'digits': no data at .*put it there"):
        samples(out)
    digit_zoos.write(tmp_path)
    assert len(samples(out)) == 397
    card = json.loads((out / "digits-mlp-clean-0.json").read_text())
    for change, words in (
        ({"digests": {"test": "0" * 64}}, "not those that the card describes"),
        ({"settings": card["settings"] | {"data": {"train": 3, "test": "test.npz"}}}, "expected str, got 3"),
        ({"settings": card["settings"] | {"data": {"train": "", "test": "", "x": 1}}}, "unknown option 'x'"),
        ({"settings": card["settings"] | {"data": {"train": "\0", "test": "t", "name": "n"}}}, "no data at "),
    ):
        cards.write(out, card | change)
        with pytest.raises(Failed, match=words):
            samples(out)
    cards.write(out, card | {"settings": {}})
    entry = next(entry for entry in read(out).entries if entry.name == "digits-mlp-clean-0")
    assert entry.samples is None


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda out, name: (out / f"{name}.json").unlink(), "no card beside the model"),
        (lambda out, name: (out / f"{name}.safetensors").unlink(), "a card without its model"),
        (lambda out, name: (out / f"{name}.json").write_text('{"card": 1'), "cannot be read"),
        (lambda out, name: (out / f"{name}.json").write_text('{"card": 9}'), "version 9"),
    ],
)
def test_one_broken_entry_stops_nothing(made, tmp_path, break_it, reason):
    for path in made[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "report.json").write_text('{"schema": 1}')  # passed over
    break_it(tmp_path, "digits-mlp-clean-1")
    zoo = read(tmp_path)
    assert len(zoo.entries) == 3
    ((name, why),) = zoo.broken
    assert name == "digits-mlp-clean-1"
    assert reason in why


def test_a_model_that_is_not_the_cards_does_not_open(made, tmp_path):
    for path in made[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    swapped = tmp_path / "digits-mlp-clean-0.safetensors"
    swapped.write_bytes((tmp_path / "digits-mlp-badnet-M-0.safetensors").read_bytes())
    entries = {entry.name: entry for entry in read(tmp_path).entries}
    with pytest.raises(Failed, match="not the file that its card describes"):
        entries["digits-mlp-clean-0"].open()
    assert entries["digits-mlp-clean-1"].open()
