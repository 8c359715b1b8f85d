"""Tables of labelled files: rows that are read, and rows that are not."""

from __future__ import annotations

import pickle

import pytest
import torch

from helpers.foreign_zoos import ARCH, SHAPE, Hostile, table, weights
from mmbd.base.errors import Failed, Refused
from mmbd.formats.spec import Spec, save
from mmbd.zoo import read


@pytest.fixture
def models(tmp_path):
    torch.save(weights(), tmp_path / "a.pt")
    save(tmp_path / "b.safetensors", spec().network(), spec())
    return tmp_path


def spec() -> Spec:
    return Spec("mlp", SHAPE, 5, {"hidden": (8,)})


def test_a_table_of_labelled_files(models):
    file = table(models, "a.pt,backdoored,3", "b.safetensors,0,")
    zoo = read(file, **ARCH)
    assert [(entry.name, entry.label, entry.targets, entry.attack) for entry in zoo.entries] == [
        ("a.pt", "backdoored", (3,), "unknown"),
        ("b.safetensors", "clean", (), "clean"),
    ]
    assert [entry.open().classes for entry in zoo.entries] == [4, 5]
    more = table(
        models,
        "one,a.pt,1,0 2,badnet,mine,7",
        "one,a.pt,1,0,badnet,mine,",
        head="name,path,label,target,attack,group,seed",
    )
    first, second = read(more).entries
    assert (first.name, first.targets, first.attack, first.group) == ("one", (0, 2), "badnet", "mine")
    assert (first.seed, second.seed) == (7, None)
    assert second.name == "one (line 3)"  # names are unique


def test_rows_that_cannot_be_read(models):
    marker = models / "marker"
    with (models / "evil.pt").open("wb") as evil:
        pickle.dump(Hostile(marker), evil)
    file = table(
        models,
        "a.pt,perhaps,",
        "none.pt,clean,",
        "a.pt,clean,3",
        "a.pt,1,cat",
        ",1,2",
        "evil.pt,1,2",
        "a.pt,1,2",
    )
    zoo = read(file, **ARCH)
    reasons = [reason for _, reason in zoo.broken]
    for reason, words in zip(
        reasons,
        [
            "line 2: the label 'perhaps' is none of",
            "line 3: there is no file",
            "line 4: a clean model with a target",
            "line 5: target 'cat'",
            "line 6: expected path,label,target",
        ],
        strict=True,
    ):
        assert words in reason
    evil, good = zoo.entries
    with pytest.raises(Refused, match=r"posix\.system"):
        evil.open()
    assert good.open().classes == 4
    assert not marker.exists()


def test_targets_and_seeds_out_of_range(models):
    (entry,) = read(table(models, "a.pt,1,3 4"), **ARCH).entries
    with pytest.raises(Failed, match="to have target class 4, but its classes are 0 to 3"):
        entry.open()
    zoo = read(table(models, "a.pt,1,3,-1", head="path,label,target,seed"), **ARCH)
    assert "line 2: seed '-1': expected a whole number" in zoo.broken[0][1]


def test_a_device_that_cannot_be_used(models):
    with pytest.raises(ValueError, match="device 'gpu' cannot be used"):
        read(table(models, "a.pt,1,3"), device="gpu", **ARCH)


def test_tables_that_are_none(tmp_path):
    with pytest.raises(Failed, match=r"no column 'target'; expected path,label,target"):
        read(table(tmp_path, "a,1", head="path,label"))
    with pytest.raises(Failed, match="no column 'path'"):
        read(table(tmp_path, head="path,label,target"))
    (tmp_path / "zoo.csv").write_bytes(b"path,label\xff")
    with pytest.raises(Failed, match="the table cannot be read"):
        read(tmp_path / "zoo.csv")
