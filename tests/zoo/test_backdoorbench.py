"""Results of BackdoorBench: what is safe is read, what is not is refused and said."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.foreign_zoos import ARCH, SHAPE, hostile, result, weights
from mmbd.base.errors import Failed
from mmbd.zoo import read


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
