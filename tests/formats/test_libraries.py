"""Networks by the names of timm and torchvision: classes from the weights, inputs as the library has them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import mmbd
from mmbd.base.errors import Failed, Refused
from mmbd.formats.networks import shim

shim.torchvision_usable()
timm = pytest.importorskip("timm", reason="timm is not installed")
models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
SMALL = {"input_shape": (3, 32, 32)}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("timm") / "weights.pt"
    torch.save(timm.create_model("test_resnet", num_classes=6).state_dict(), path)
    return path


def test_classes_follow_from_the_weights_and_inputs_from_the_library(file: Path) -> None:
    loaded = mmbd.load(file, arch="timm:test_resnet")
    cfg = timm.get_pretrained_cfg("test_resnet")
    assert loaded.classifier.classes == 6
    assert loaded.classifier.domain.shape == cfg.input_size
    assert loaded.classifier.mean == pytest.approx(cfg.mean)
    assert loaded.notes[0].startswith("assumed: inputs of 3x160x160, mean ")
    assert "6 classes, as the shape of the last layer says" in loaded.notes


def test_what_the_user_says_goes_first(file: Path) -> None:
    loaded = mmbd.load(file, arch="timm:test_resnet", mean=0.5, std=0.25, **SMALL)
    assert (loaded.classifier.mean, loaded.classifier.domain.shape) == ((0.5,), (3, 32, 32))
    assert not any(note.startswith("assumed") for note in loaded.notes)
    loaded = mmbd.load(file, arch="timm:test_resnet", bounds=(0, 255), **SMALL)
    assert loaded.classifier.mean is None, "the library's mean is in other units"


def test_names_of_torchvision(tmp_path: Path) -> None:
    network = models.shufflenet_v2_x0_5(num_classes=4).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    loaded = mmbd.load(tmp_path / "weights.pt", arch="torchvision:shufflenet_v2_x0_5", **SMALL)
    assert loaded.classifier.classes == 4
    inputs = torch.rand(2, 3, 32, 32)
    mean, std = (
        torch.tensor(value).view(3, 1, 1) for value in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    torch.testing.assert_close(loaded.classifier(inputs), network((inputs - mean) / std).detach())


def test_functions_of_the_library_are_factories_as_before(file: Path) -> None:
    arguments = {"model_name": "test_resnet", "num_classes": 6}
    loaded = mmbd.load(file, arch="timm:create_model", arch_args=arguments, **SMALL)
    assert loaded.classifier.mean is None


@pytest.mark.parametrize("arch", ["timm:no_such_network", "torchvision:no_such_network"])
def test_names_that_no_library_has(file: Path, arch: str) -> None:
    with pytest.raises(Failed, match="has no function or class 'no_such_network'"):
        mmbd.load(file, arch=arch, **SMALL)


def test_a_module_of_ones_own_that_is_called_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("timm.py").write_text("from torch import nn\ndef test_resnet(): return nn.Linear(4, 3)\n")
    torch.save(torch.nn.Linear(4, 3).state_dict(), "weights.pt")
    loaded = mmbd.load("weights.pt", arch="timm:test_resnet", input_shape=(4,))
    assert isinstance(loaded.classifier.model, torch.nn.Linear)
    monkeypatch.delitem(sys.modules, "timm", raising=False)


def hub(at: Path, **entries: Any) -> Path:
    network = timm.create_model("test_resnet", num_classes=6).eval()
    save_file(network.state_dict(), at / "model.safetensors")
    cfg = {"mean": [0.5] * 3, "std": [0.25] * 3, "input_size": [3, 32, 32], "num_classes": 6}
    said = {
        "architecture": "test_resnet",
        "num_classes": 6,
        "pretrained_cfg": cfg,
        "label_names": list("abcdef"),
    }
    (at / "config.json").write_text(json.dumps(said | entries))
    return at


def test_a_folder_that_timm_wrote(tmp_path: Path) -> None:
    clf = mmbd.load(hub(tmp_path)).classifier
    assert (clf.class_names, clf.domain.shape, clf.mean) == (tuple("abcdef"), (3, 32, 32), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("entries", "kind", "said"),
    [
        ({"architecture": "hf-hub:evil/net"}, Refused, "which timm .* does not have"),
        ({"architecture": "local-dir:/tmp"}, Refused, "which timm .* does not have"),
        ({"num_classes": 7}, Failed, "of another shape"),
        ({"num_classes": 40_000}, Failed, "too few for that"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, Failed, "checkpoint_path"),
        ({"pretrained_cfg": 3}, Failed, "a pretrained_cfg that is none"),
    ],
)
def test_what_a_folder_may_not_say(
    tmp_path: Path, entries: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        mmbd.load(hub(tmp_path, **entries))


def test_the_operators_are_declared_once_and_only_where_they_are_missing() -> None:
    before = list(shim._kept)
    shim.torchvision_usable()
    assert shim._kept == before
    assert len(before) <= 1
