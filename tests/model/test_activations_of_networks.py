"""The activations of whole networks: residual ones, the built-in ones, and transformers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.activation_networks import Net, around, names
from mmbd import nets
from mmbd.model.activations import Activation, ActivationHook, find, near_input, select
from mmbd.model.bounded import Bounded, Limit
from mmbd.model.classifier import Classifier
from mmbd.model.points import Points


def built(arch: str, shape=(3, 32, 32), **arguments) -> tuple[Activation, ...]:
    net = nets.build(arch, classes=4, input_shape=shape, **arguments).eval()
    return find(Classifier(net, input_shape=shape))


# -------------------------------------------------------------------------------- residual networks


@pytest.mark.parametrize(
    "add",
    [
        lambda x, y: x + y,
        torch.add,
        torch.Tensor.add,
        torch.Tensor.add_,
        lambda x, y: sum([x, y]),
        lambda x, y: nn.Dropout()(x + y),
    ],
    ids=["plus", "torch.add", "add", "add_", "sum", "dropout"],
)
def test_an_activation_that_follows_a_sum_is_residual(add):
    class Block(Net):
        def forward(self, x):
            x = F.relu(self.conv(x))
            y = add(self.mix(x), x)
            return self.head(F.relu(y).flatten(1))

    net = Block(None)
    net.mix = nn.Conv2d(4, 4, 3, padding=1)
    assert [activation.residual for activation in find(around(net.eval()))] == [False, True]

    class Augmented(Block):
        def forward(self, x):
            x = self.conv(x)
            y = self.mix(F.relu(x))
            y += x
            return self.head(F.relu(self.mix(F.relu(y))).flatten(1))

    net.__class__ = Augmented
    assert [activation.residual for activation in find(around(net))] == [False, True, False]


def test_the_paper_bounds_a_resnet18_where_its_5th_and_9th_convolution_end():
    activations = built("resnet18", width=2)
    assert len(activations) == 17
    assert [activation.residual for activation in activations[:5]] == [False, False, True, False, True]
    chosen = near_input(activations)
    assert names(chosen) == ["relu", "layer1.1.relu#2", "layer2.1.relu#2"]
    assert [(activation.index, activation.channels) for activation in chosen] == [(0, 2), (4, 2), (8, 4)]
    assert select(activations, "paper") == chosen
    assert names(near_input(activations, 2)) == ["relu", "layer1.1.relu#2"]


def test_the_output_of_a_stage_is_what_is_found():
    torch.manual_seed(0)
    net = nets.build("resnet18", classes=4, input_shape=(3, 32, 32), width=2).eval()
    clf, outputs, seen = Classifier(net, input_shape=(3, 32, 32)), [], {}
    chosen = near_input(find(clf))
    handles = [
        stage.register_forward_hook(lambda *at: outputs.append(at[2])) for stage in (net.layer1, net.layer2)
    ]
    with torch.no_grad(), ActivationHook(lambda index, out: seen.setdefault(index, out)):
        clf(torch.rand(2, 3, 32, 32))
    for handle in handles:
        handle.remove()
    assert all(torch.equal(seen[activation.index], out) for activation, out in zip(chosen[1:], outputs))  # noqa: B905


@pytest.mark.parametrize(
    ("arch", "arguments", "count", "near"),
    [
        ("vgg16", {"width": 2}, 13, ["features.2", "features.5", "features.9"]),
        ("preact_resnet18", {"width": 2}, 16, ["layer1.0.relu", "layer1.0.relu#2", "layer1.1.relu"]),
        ("mobilenet", {}, 36, ["relu", "layers.0.relu", "layers.0.relu#2"]),
        ("resnet20", {"width": 2}, 19, ["relu", "layer1.2.relu#2", "layer2.2.relu#2"]),
        ("mlp", {"hidden": (4, 5)}, 2, ["2", "4"]),
        ("lenet", {}, 4, ["1", "4", "8"]),
        ("cnn", {"widths": (2, 3), "nonlinearity": "silu", "hidden": (4,)}, 3, ["2", "6", "11"]),
        ("cnn", {"widths": (2, 3), "nonlinearity": "tanh"}, 0, []),
    ],
)
def test_networks_for_images(arch, arguments, count, near):
    activations = built(arch, **arguments)
    assert len({activation.name for activation in activations}) == len(activations) == count
    assert names(near_input(activations)) == near
    assert all(activation.channels == activation.shape[0] for activation in activations)


def test_networks_for_sound_and_clouds():
    activations = built("m5", (1, 8000), width=2)
    assert names(activations) == ["2", "6", "10", "14"]
    assert [activation.channels for activation in activations] == [2, 2, 4, 4]
    for arch, arguments, expected in (
        (
            "dgcnn",
            {"k": 3, "width": 2},
            ["conv1.2", "conv2.2", "conv3.2", "conv4.2", "conv5.2", "activate", "activate#2"],
        ),
        ("pointnet", {"width": 2}, [f"features.{i}" for i in (2, 5, 8)] + ["head.2", "head.5"]),
    ):
        net = nets.build(arch, classes=4, input_shape=(3, 12), **arguments).eval()
        activations = find(Classifier(net, domain=Points(12)))
        assert names(activations) == expected
        assert [activation.shape[0] for activation in activations] == [
            activation.channels for activation in activations
        ]
        assert not any(activation.residual for activation in activations)


# ------------------------------------------------------------------------------------- transformers


class Transformer(nn.Module):
    def __init__(self, activation, norm_first: bool):
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(
            8, 2, 12, activation=activation, batch_first=True, norm_first=norm_first
        )
        self.embed, self.head = nn.Linear(4, 8), nn.Linear(8, 3)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=not norm_first)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x)).mean(1))


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu", F.gelu, nn.GELU()], ids=str)
def test_torch_takes_no_fast_path_past_a_transformers_activations(activation, norm_first):
    net = Transformer(activation, norm_first).eval()
    for parameter in net.parameters():
        parameter.requires_grad_(False)  # as the fast path wants it
    clf = Classifier(net, input_shape=(5, 4))
    activations = find(clf)
    assert [(activation.channels, activation.axis, activation.shape) for activation in activations] == [
        (12, -1, (5, 12))
    ] * 2
    assert [activation.name.split(".")[2] for activation in activations] == ["0", "1"]
    inputs = torch.rand(6, 5, 4)
    pruned = Bounded(net, [Limit(activation, torch.zeros(12), torch.zeros(12)) for activation in activations])
    silent = Transformer(activation, norm_first).eval()
    silent.load_state_dict(net.state_dict())
    with torch.no_grad():
        for layer in silent.encoder.layers:
            layer.linear2.weight.zero_()
        assert not torch.allclose(net(inputs), silent(inputs), atol=1e-3)
        torch.testing.assert_close(pruned(inputs), silent(inputs))
    with torch.inference_mode():
        torch.testing.assert_close(pruned(inputs), silent(inputs))


def test_a_transformer_written_out():
    class Written(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(4), nn.LayerNorm(4)
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.mlp = nn.Sequential(nn.Linear(4, 9), nn.GELU(), nn.Dropout(0.1), nn.Linear(9, 4))
            self.head = nn.Linear(4, 3)

        def forward(self, x):
            y = self.norm1(x)
            x = x + self.attention(y, y, y, need_weights=False)[0]
            return self.head((x + self.mlp(self.norm2(x)))[:, 0])

    assert find(around(Written(), (5, 4))) == (Activation("mlp.1", 0, 9, -1, (5, 9)),)
