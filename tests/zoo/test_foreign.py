"""Zoos of others, on files made here: what is safe is read, what is not is refused and said."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from mmbd import nets
from mmbd.base.errors import Failed, Refused
from mmbd.formats.spec import Spec, save
from mmbd.zoo import read

SHAPE = (3, 8, 8)
ARCH = {"arch": "mlp", "arch_args": {"hidden": (8,)}, "input_shape": SHAPE}


def weights(arch: str = "mlp", classes: int = 4, **arguments) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    arguments = arguments or {"hidden": (8,)}
    return nets.build(arch, classes=classes, input_shape=SHAPE, **arguments).state_dict()


class Hostile:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, marker) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def hostile(file, marker) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": Hostile(marker), "bd_test": None}, file)


# ---------------------------------------------------------------------------------- BackdoorBench


def result(folder, **changes):
    """An attack_result.pt as BackdoorBench saves it, without its NumPy arrays."""
    folder.mkdir(parents=True)
    content = {
        "model_name": "preactresnet18",
        "num_classes": 4,
        "model": weights(),
        "img_size": [8, 8, 3],
        "data_path": "./data/cifar10",
        "clean_data": "cifar10",
        "bd_train": {"x": torch.zeros(2, 3), "y": torch.tensor([3, 3]), "original_index": None},
        "bd_test": {"x": torch.zeros(5, 3), "y": torch.tensor([3] * 5)},
    } | changes
    torch.save(content, folder / "attack_result.pt")


def test_backdoorbench(tmp_path):
    own = weights("preact_resnet18", width=4)
    result(tmp_path / "cifar10_preactresnet18_badnet_0_1", model=own)
    zoo = read(tmp_path, arch_args={"width": 4})
    (entry,) = zoo.entries
    assert zoo.broken == ()
    assert (entry.label, entry.attack, entry.targets) == ("backdoored", "badnet", (3,))
    assert entry.name == "cifar10_preactresnet18_badnet_0_1"
    assert entry.group == "cifar10 preactresnet18"
    classifier = entry.open()
    assert classifier.domain.shape == SHAPE
    assert classifier.mean == pytest.approx((0.4914, 0.4822, 0.4465))
    assert torch.equal(classifier.model.state_dict()["conv1.weight"], own["conv1.weight"])


def second_form(*samples: object) -> dict[str, object]:
    """A part of BackdoorBench's later results: the images are files, the labels are notes."""
    notes = {np.int64(7 * i): note for i, note in enumerate(samples)}
    return {
        "bd_data_container": {"save_folder_path": "r/bd", "data_dict": notes, "save_file_format": ".png"},
        "getitem_all": True,
        "getitem_all_switch": False,
        "original_index_array": np.arange(50_000),
        "poison_indicator": np.zeros(50_000),
        "save_folder_path": "r/bd",
    }


@pytest.mark.parametrize(
    ("samples", "targets"),
    [
        ([{"path": "r/3/7.png", "other_info": [0, 3]}, {"path": "x", "other_info": [0, 2]}], (0,)),
        ([{"other_info": [np.int64(2), 1]}, {"other_info": (0, 3)}], (0, 2)),
        (
            [
                {"other_info": []},
                {"other_info": ["a"]},
                {"other_info": [True]},
                {"path": "x"},
                7,
                {"other_info": [-1, 0]},
                {"other_info": [1 << 80]},
                {"other_info": [0.5]},
            ],
            (),
        ),
        ([], ()),
    ],
)
def test_results_with_numpy_arrays_of_both_forms(tmp_path, samples, targets):
    """What BackdoorBench really saves; nothing of it is executed."""
    flags = np.zeros(50_000)
    flags[7] = 1
    first = {"x": torch.zeros(1, 3), "y": torch.tensor([3]), "original_index": np.where(flags == 1)[0]}
    result(tmp_path / "v1", bd_train=first)
    result(tmp_path / "v2", bd_train=second_form(), bd_test=second_form(*samples))
    zoo = read(tmp_path, arch="mlp", arch_args={"hidden": (8,)})
    assert zoo.broken == ()
    assert [(entry.name, entry.targets) for entry in zoo.entries] == [("v1", (3,)), ("v2", targets)]
    for entry in zoo.entries:
        assert entry.open().classes == 4


def test_one_result_alone_and_a_network_of_its_own(tmp_path):
    result(tmp_path / "record" / "blended_p0-1", model_name="vgg19", clean_data="gtsrb", bd_test=None)
    for path in (tmp_path, tmp_path / "record", tmp_path / "record" / "blended_p0-1"):
        (entry,) = read(path, arch="mlp", arch_args={"hidden": (8,)}).entries
        assert entry.targets == ()
        assert entry.open().classes == 4
        assert entry.open().mean is None
    (entry,) = read(tmp_path).entries
    with pytest.raises(Failed, match="does not say which network"):
        entry.open()


def test_hostile_results_are_refused_and_stop_nothing(tmp_path):
    marker = tmp_path / "marker"
    hostile(tmp_path / "a_hostile" / "attack_result.pt", marker)
    result(tmp_path / "b_good", model_name="mlp")
    (tmp_path / "c_broken").mkdir()
    (tmp_path / "c_broken" / "attack_result.pt").write_bytes(b"PK\x03\x04 cut short, alas")
    (tmp_path / "d_other").mkdir()
    torch.save({"weights": weights()}, tmp_path / "d_other" / "attack_result.pt")
    zoo = read(tmp_path, **ARCH)
    assert [entry.name for entry in zoo.entries] == ["b_good"]
    assert zoo.entries[0].open().classes == 4
    reasons = dict(zoo.broken)
    assert set(reasons) == {"a_hostile", "c_broken", "d_other"}
    assert "nothing in it was run" in reasons["a_hostile"]
    assert "posix.system" in reasons["a_hostile"]
    assert "no entry 'model'" in reasons["d_other"]
    assert not marker.exists()
    # The marker would have told: loaded without care, the same file runs.
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever becomes of the rest
        torch.load(tmp_path / "a_hostile" / "attack_result.pt", weights_only=False)["x"]
    assert marker.exists()


# ----------------------------------------------------------------------------------------- TrojAI


def trojai(folder, truth: str | None, config: object = None, model: object = None):
    folder.mkdir(parents=True)
    torch.save(weights() if model is None else model, folder / "model.pt")
    if truth is not None:
        (folder / "ground_truth.csv").write_text(truth)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("inside", ["", "models"])
def test_trojai_of_all_rounds(tmp_path, inside):
    root = tmp_path / inside
    trojai(root / "id-00000000", "0", {"POISONED": False, "TRIGGER_TARGET_CLASS": None})
    trojai(
        root / "id-00000001",
        "1\n",
        {"POISONED": True, "TRIGGER_TARGET_CLASS": 2, "MODEL_ARCHITECTURE": "resnet50"},
    )
    trojai(root / "id-00000002", "1.0", {"triggers": [{"target_class": 3}, {"target_class": 0}]})
    trojai(root / "id-00000003", None, {"poisoned": True, "triggers_0_target_class": "1"})
    trojai(root / "id-00000004", None, {"poisoned": False})
    zoo = read(tmp_path, **ARCH)
    assert zoo.broken == ()
    assert [(entry.label, entry.targets) for entry in zoo.entries] == [
        ("clean", ()),
        ("backdoored", (2,)),
        ("backdoored", (0, 3)),
        ("backdoored", (1,)),
        ("clean", ()),
    ]
    assert zoo.entries[1].group == "resnet50"
    assert [entry.attack for entry in zoo.entries[:2]] == ["clean", "trojai"]
    assert zoo.entries[1].open().classes == 4


def test_trojai_models_that_are_programs_are_refused(tmp_path):
    marker = tmp_path / "marker"
    trojai(tmp_path / "id-0", "0", model=nn.Sequential(nn.Flatten(), nn.Linear(12, 4)))
    trojai(tmp_path / "id-1", "1", model=Hostile(marker))
    trojai(tmp_path / "id-2", "1", config={"triggers": []})
    trojai(tmp_path / "id-3", "maybe")
    trojai(tmp_path / "id-4", None)
    trojai(tmp_path / "id-5", "1", config=[1])
    (tmp_path / "id-6").mkdir()
    (tmp_path / "id-6" / "ground_truth.csv").write_text("1")
    zoo = read(tmp_path, **ARCH)
    assert [entry.name for entry in zoo.entries] == ["id-2"]
    reasons = dict(zoo.broken)
    assert "It holds a whole model and not only its weights" in reasons["id-0"]
    assert "posix.system" in reasons["id-1"]
    assert "the label 'maybe' is none of clean, backdoored" in reasons["id-3"]
    assert "the label '' is none of" in reasons["id-4"]
    assert "config.json is not an object" in reasons["id-5"]
    assert "no such file" in reasons["id-6"]
    assert not marker.exists()


# ----------------------------------------------------------------------------------------- tables


def table(folder, *rows: str, head: str = "path,label,target") -> object:
    file = folder / "zoo.csv"
    file.write_text("\n".join([head, *rows]) + "\n")
    return file


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
