"""The built-in architectures: shapes, sizes, layer names and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mmbd import nets

NARROW = {
    "resnet18": {"width": 4},
    "resnet34": {"width": 4},
    "preact_resnet18": {"width": 4},
    "vgg16": {"width": 4},
    "mobilenet": {},
    "resnet8": {"width": 4},
    "resnet20": {"width": 4},
    "resnet32": {"width": 4},
    "resnet56": {"width": 4},
    "resnet110": {"width": 4},
    "resnet18_imagenet": {"width": 4},
    "resnet34_imagenet": {"width": 4},
    "cnn": {"widths": (4, 6)},
    "lenet": {},
    "mlp": {"hidden": (8,)},
    "vit": {"width": 8, "depth": 2},
}


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("name", NARROW)
def test_every_image_network_maps_a_batch_to_logits(name, size):
    for channels in (1, 3):
        shape = (channels, size, size)
        net = nets.build(name, classes=7, input_shape=shape, **NARROW[name]).eval()
        with torch.no_grad():
            logits = net(torch.rand(2, *shape))
        assert logits.shape == (2, 7)
        assert bool(torch.isfinite(logits).all())
        assert not torch.equal(logits[0], logits[1])


def test_arguments_may_be_of_any_kind_of_number():
    """Lists as well, and what NumPy counts with; whole numbers where a share is meant."""
    net = nets.build("mlp", classes=3, input_shape=(4,), hidden=[np.int64(5)])
    assert net(torch.rand(2, 4)).shape == (2, 3)
    assert nets.build("pointnet", classes=3, input_shape=(3, 8), width=np.int64(4), dropout=0)


def test_every_architecture_is_tested_above():
    assert set(nets.ARCHITECTURES) == {*NARROW, "m5", "dgcnn", "pointnet"}  # see test_points.py


def test_every_architecture_has_a_title():
    titles = [row.title for row in nets.ARCHITECTURES.values()]
    assert all(title and "\n" not in title and len(title) < 80 for title in titles)
    assert len(set(titles)) == len(titles)


def test_m5_maps_sounds_to_logits():
    net = nets.build("m5", classes=35, input_shape=(1, 8000), width=8).eval()
    assert net(torch.rand(2, 1, 8000)).shape == (2, 35)


# Parameters of the widely used implementations that these networks follow, at 10 classes.
@pytest.mark.parametrize(
    ("name", "arguments", "count"),
    [
        ("resnet18", {}, 11_173_962),
        ("resnet34", {}, 21_282_122),
        ("preact_resnet18", {}, 11_171_146),
        ("vgg16", {}, 14_728_266),
        ("mobilenet", {}, 2_296_922),
        ("resnet8", {}, 78_042),
        ("resnet20", {}, 272_474),
        # He et al. 2015, table 6, with option A: 0.27, 0.46, 0.85 and 1.7 million.
        ("resnet20", {"shortcut": "A"}, 269_722),
        ("resnet32", {"shortcut": "A"}, 464_154),
        ("resnet56", {"shortcut": "A"}, 853_018),
        ("resnet110", {"shortcut": "A"}, 1_727_962),
        # 5x5x3x6+6 + 5x5x6x16+16 + 400x120+120 + 120x84+84 + 84x10+10
        ("lenet", {}, 62_006),
        ("mlp", {"hidden": (100,)}, 3072 * 100 + 100 + 1010),
    ],
)
def test_parameter_counts(name, arguments, count):
    with torch.device("meta"):
        net = nets.build(name, classes=10, input_shape=(3, 32, 32), **arguments)
    assert sum(parameter.numel() for parameter in net.parameters()) == count


def test_m5_parameter_count():
    net = nets.build("m5", classes=35, input_shape=(1, 8000))
    # The torchaudio tutorial's network: 26,915 parameters at 35 classes.
    assert sum(parameter.numel() for parameter in net.parameters()) == 26_915


def resnet18_keys() -> set[str]:
    """The state dict of the usual CIFAR ResNet-18, written out."""
    bn = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    keys = {"conv1.weight", "linear.weight", "linear.bias", *(f"bn1.{part}" for part in bn)}
    for stage in range(1, 5):
        for block in range(2):
            prefix = f"layer{stage}.{block}"
            for number in (1, 2):
                keys.add(f"{prefix}.conv{number}.weight")
                keys |= {f"{prefix}.bn{number}.{part}" for part in bn}
            if stage > 1 and block == 0:
                keys.add(f"{prefix}.shortcut.0.weight")
                keys |= {f"{prefix}.shortcut.1.{part}" for part in bn}
    return keys


def test_resnet18_has_the_usual_layer_names():
    net = nets.build("resnet18", classes=10, input_shape=(3, 32, 32), width=4)
    assert set(net.state_dict()) == resnet18_keys()


def test_preact_resnet18_has_the_usual_layer_names():
    net = nets.build("preact_resnet18", classes=10, input_shape=(3, 32, 32), width=4)
    keys = set(net.state_dict())
    assert "bn1.weight" not in keys
    assert {"conv1.weight", "layer1.0.bn1.weight", "layer2.0.shortcut.0.weight"} <= keys
    assert not any(".shortcut.1." in key or "layer1.0.shortcut" in key for key in keys)


def test_vgg16_and_mobilenet_have_the_usual_layer_names():
    vgg = set(nets.build("vgg16", classes=10, input_shape=(3, 32, 32), width=4).state_dict())
    assert {"features.0.weight", "features.1.running_var", "features.41.bias"} <= vgg
    assert {"classifier.weight", "classifier.bias"} <= vgg
    mobile = set(nets.build("mobilenet", classes=10, input_shape=(3, 32, 32)).state_dict())
    assert {"layers.0.shortcut.0.weight", "layers.16.bn3.bias", "conv2.weight"} <= mobile


def test_group_normalisation_has_no_running_statistics():
    net = nets.build("resnet8", classes=3, input_shape=(3, 32, 32), normalisation="group")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    assert not list(net.buffers())


@pytest.mark.parametrize("name", ["relu", "elu", "gelu", "silu", "leaky_relu", "tanh"])
def test_activations(name):
    net = nets.build("mlp", classes=3, input_shape=(4,), nonlinearity=name)
    assert net(torch.rand(2, 4)).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "shape", "arguments", "message"),
    [
        ("resnet", (3, 32, 32), {}, "did you mean 'resnet"),
        ("transformer", (3, 32, 32), {}, "known: resnet18, resnet34"),
        ("resnet18", (3, 32, 32), {"widht": 8}, "no argument 'widht'; it takes: width"),
        ("mobilenet", (3, 32, 32), {"width": 8}, "takes no argument"),
        ("resnet18", (3072,), {}, "image shape"),
        ("m5", (3, 32, 32), {}, "sound shape"),
        ("cnn", (3, 32, 32), {"normalisation": "layer"}, "known: batch, group, none"),
        ("cnn", (3, 32, 32), {"head": "max"}, "known: mean, flat"),
        ("mlp", (3, 32, 32), {"nonlinearity": "step"}, "unknown activation 'step'"),
        ("lenet", (3, 32, 32), {"pool": "sum"}, "known: max, mean"),
        ("lenet", (3, 32, 32), {"widths": (6,)}, "two convolutions, got widths"),
        ("cnn", (3, 32, 32), {"depth": 0}, "at least 1, got 0"),
        ("dgcnn", (3, 64), {"width": (1,) * 64}, "for width a value such as 64, got \\(1, 1, "),
        ("dgcnn", (3, 64), {"width": "wide"}, "for width a value such as 64, got 'wide'"),
        ("resnet8", (3, 32, 32), {"width": True}, "such as 16, got True"),
        ("resnet8", (3, 32, 32), {"width": 8.0}, "such as 16, got 8.0"),
        ("mlp", (4,), {"hidden": 8}, r"hidden a value such as \(128, 64\), got 8"),
        ("mlp", (4,), {"hidden": ("8",)}, r"hidden a value such as .*, got \('8',\)"),
        ("pointnet", (3, 64), {"dropout": "a"}, "dropout a value such as 0.3, got 'a'"),
        ("resnet20", (3, 32, 32), {"shortcut": "C"}, "unknown shortcut 'C'; known: A, B"),
        ("resnet18", (3, 32, 32), {"shortcut": "A"}, "takes no argument 'shortcut'"),
        ("lenet", (3, 12, 12), {}, "at least 16 pixels, got 12x12"),
    ],
)
def test_what_cannot_be_built_is_refused(name, shape, arguments, message):
    with pytest.raises(ValueError, match=message):
        nets.build(name, classes=10, input_shape=shape, **arguments)
