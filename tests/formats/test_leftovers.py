"""What training leaves in state dicts: read where it cannot be a layer, and named in the notes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmbd
from mmbd import nets
from mmbd.base.errors import Failed

torch.manual_seed(0)
SHAPE = (3, 16, 16)
STATE = nets.build("resnet8", classes=4, input_shape=SHAPE, width=4).state_dict()
CLASSES = "4 classes, as the shape of the last layer says"


def at(prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in STATE.items()}


def inside(old: str, new: str) -> dict[str, Tensor]:
    return {name.replace(old, new): value for name, value in STATE.items()}


def load(folder: Path, value: Any, entry: str | None = None) -> mmbd.load.Loaded:
    torch.save(value, folder / "m.pt")
    return mmbd.load(folder / "m.pt", arch="resnet8", arch_args={"width": 4}, input_shape=SHAPE, entry=entry)


ZERO = torch.zeros(1, dtype=torch.float64)
READ: dict[str, tuple[Any, tuple[str, ...]]] = {
    "counters of a profiler": (
        {**STATE, "total_ops": ZERO, "total_params": ZERO, "layer1.0.total_ops": ZERO},
        ("left out 'total_ops', 'total_params', 'layer1.0.total_ops'",),
    ),
    "class weights of a loss": (
        {"state_dict": {**at("model."), "criterion.weight": torch.ones(4)}},
        ("unwrapped envelope 'state_dict'", "left out 'criterion.weight'", "stripped prefix 'model.'"),
    ),
    "the same without a prefix": ({**STATE, "ce_loss.weight": torch.ones(4)}, ("left out 'ce_loss.weight'",)),
    "a wrapper inside": (inside("layer1.", "layer1.module."), ("left out of names: module",)),
    "a compiled part": (inside("layer1.", "layer1._orig_mod."), ("left out of names: _orig_mod",)),
    "sharded": (
        {
            "_fsdp_wrapped_module." + name: value
            for name, value in inside("layer1.", "layer1._fsdp_wrapped_module.").items()
        },
        ("stripped prefix '_fsdp_wrapped_module.'", "left out of names: _fsdp_wrapped_module"),
    ),
    "checkpointed activations": (
        inside("layer2.0.", "layer2.0._checkpoint_wrapped_module."),
        ("left out of names: _checkpoint_wrapped_module",),
    ),
    "an average that is equal": (
        {**at("online_model."), **at("ema_model."), "initted": torch.tensor(True), "step": torch.tensor(3)},
        (
            "left out 'initted', 'step'",
            "stripped prefix 'online_model.'",
            "the same weights are at ema_model",
        ),
    ),
    "two encoders that are equal": (
        {
            "state_dict": {
                **at("module.encoder_q."),
                **at("module.encoder_k."),
                "module.queue": torch.zeros(3),
                "module.queue_ptr": torch.tensor([3]),
            }
        },
        (
            "unwrapped envelope 'state_dict'",
            "left out 'module.queue', 'module.queue_ptr'",
            "stripped prefix 'module.'",
            "stripped prefix 'encoder_q.'",
            "the same weights are at state_dict/module.encoder_k",
        ),
    ),
    "counts of a metric beside the network": (
        {**at("model."), "accuracy.tp": torch.zeros(4, dtype=torch.long), "loss_mean": ZERO},
        ("left out 'accuracy.tp', 'loss_mean'", "stripped prefix 'model.'"),
    ),
    "a count of batches that the network does not keep": (
        {**STATE, "layer1.num_batches_tracked": torch.tensor(3)},
        ("left out 'layer1.num_batches_tracked'",),
    ),
}


@pytest.mark.parametrize("name", READ)
def test_it_is_read_and_noted(name: str, tmp_path: Path) -> None:
    value, notes = READ[name]
    loaded = load(tmp_path, value)
    assert loaded.notes == (*notes, CLASSES)
    assert isinstance(loaded.classifier.model, nn.Module)
    own = loaded.classifier.model.state_dict()
    assert set(own) == set(STATE)
    assert all(torch.equal(own[key], STATE[key]) for key in STATE)


ONES = torch.ones(4)
LAYERS: dict[str, tuple[dict[str, Tensor], str]] = {
    "a further layer": ({**STATE, "fc2.weight": torch.ones(4, 4)}, r"fc2\.weight"),
    "a further stage": ({**STATE, "layer4.0.conv1.weight": ONES}, r"layer4\.0\.conv1\.weight"),
    "a further block": ({**STATE, "layer1.1.bn1.bias": ONES}, r"layer1\.1\.bn1\.bias"),
    "one number that scales": ({**STATE, "scale": torch.ones(())}, "scale"),
    "one number in a module": ({**STATE, "layer1.gate": torch.ones(1)}, r"layer1\.gate"),
    "eight bits of a layer": ({**STATE, "fc2.weight": torch.ones(4, 4, dtype=torch.int8)}, r"fc2\.weight"),
    "a count that is many": ({**STATE, "total_ops": ONES}, "total_ops"),
    "a loss with a matrix": ({**STATE, "criterion.weight": torch.ones(4, 16)}, r"criterion\.weight"),
    "behind the prefix": ({**at("model."), "model.fc2.weight": torch.ones(4, 4)}, r"model\.fc2\.weight"),
    "behind a wrapper": ({**at("module."), "module.fc2.bias": ONES}, r"fc2\.bias"),
    "beside the prefix": ({**at("model."), "head.weight": torch.ones(4, 4)}, r"head\.weight"),
    "beside it under a name of the network's": (
        {**at("model."), "linear.weight": torch.zeros(4, 16)},
        r"linear\.weight",
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_what_could_be_a_layer_is_an_error(name: str, tmp_path: Path) -> None:
    value, expected = LAYERS[name]
    with pytest.raises(Failed, match=rf"resnet8\(width=4\); unexpected: (\(top\)/)?{expected}; "):
        load(tmp_path, value)


def test_what_stands_beside_is_left_alone_where_the_prefix_is_named(tmp_path: Path) -> None:
    value = {"state_dict": {**at("model."), "head.weight": torch.ones(4, 4)}}
    with pytest.raises(Failed, match=r"give --entry state_dict/model \(entry= in Python\)"):
        load(tmp_path, value)
    loaded = load(tmp_path, value, "state_dict/model")
    assert "left out beside 'model.': 'head.weight'" in loaded.notes
    value["state_dict"]["model.fc2.weight"] = torch.ones(4, 4)
    with pytest.raises(Failed, match=r"unexpected: model\.fc2\.weight; what is unexpected may be"):
        load(tmp_path, value, "model")


def test_what_is_missing_stays_an_error_behind_prefixes(tmp_path: Path) -> None:
    value = {**at("module.encoder."), "module.queue": torch.zeros(3)}
    del value["module.encoder.bn1.bias"]
    with pytest.raises(Failed, match=r"missing: bn1\.bias; unexpected: queue\. Give "):
        load(tmp_path, value)


def test_a_network_with_parts_that_are_called_like_wrappers(tmp_path: Path) -> None:
    """Where two names of the network's own would be alike, none is made bare."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part, self.module = nn.Linear(4, 3), nn.ModuleDict({"part": nn.Linear(4, 3)})

        def forward(self, x: Tensor) -> Tensor:
            return self.part(x) + self.module["part"](x)

    network = Both()
    torch.save(network.state_dict(), tmp_path / "m.pt")
    loaded = mmbd.load(tmp_path / "m.pt", arch=Both, input_shape=(4,))
    assert loaded.notes == ()
    point = torch.rand(2, 4)
    assert torch.equal(loaded.classifier(point), network(point))
