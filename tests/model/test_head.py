"""The last linear layer is found however it is written, and its inputs give the logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbd import nets
from mmbd.base.errors import NotEvaluable
from mmbd.model import head
from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of

SHAPE = (3, 4, 4)
CLASSES = 5


class Written(nn.Module):
    """Features of a ReLU, and a last layer that is written as `last` says."""

    def __init__(self, last: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(48, 7)
        self.weight = nn.Parameter(torch.randn(CLASSES, 7))
        self.bias = nn.Parameter(torch.randn(CLASSES))
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x.flatten(1)).relu(), self.weight, self.bias)


WAYS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "linear": F.linear,
    "by name": lambda f, w, b: F.linear(input=f, weight=w, bias=b),
    "without bias": lambda f, w, b: F.linear(f, w),
    "operator": lambda f, w, b: f @ w.T + b,
    "mm": lambda f, w, b: torch.mm(f, w.t()) + b,
    "addmm": lambda f, w, b: torch.addmm(b, f, w.t()),
    "convolution": lambda f, w, b: F.conv2d(f[:, :, None, None], w[:, :, None, None], b).flatten(1),
    "log-softmax": lambda f, w, b: F.linear(f, w, b).log_softmax(1),
    "in place": lambda f, w, b: [F.linear(f, w, b), f.zero_()][0],
}


def classifier(model: Any) -> Classifier:
    return Classifier(model, input_shape=SHAPE)


def inputs(count: int = 9) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1))


def centred(logits: Tensor) -> Tensor:
    return (logits - logits.mean(1, keepdim=True)).double()


@pytest.mark.parametrize("way", WAYS)
def test_it_is_found_however_it_is_written(way):
    net = Written(WAYS[way])
    clf = classifier(net)
    found = head.find(clf)
    features = found.features(clf, inputs(), batch=4)
    assert torch.equal(found.weight, net.weight.detach().double())
    expected = net.first(inputs().flatten(1)).relu().detach().double()
    torch.testing.assert_close(features, expected, atol=1e-6, rtol=1e-6)
    logits = features @ found.weight.T + found.bias
    torch.testing.assert_close(centred(logits), centred(logits_of(clf, inputs())), atol=1e-5, rtol=1e-5)
    bias = net.bias.detach().double()
    if way == "without bias":
        bias = bias * 0
    torch.testing.assert_close(found.bias - found.bias.mean(), bias - bias.mean(), atol=1e-5, rtol=1e-5)


def test_of_two_layers_of_one_size_it_is_the_last():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, CLASSES), nn.ReLU(), nn.Linear(CLASSES, CLASSES))
    clf = classifier(net)
    found = head.find(clf)
    assert torch.equal(found.weight, net[3].weight.detach().double())
    assert float(found.features(clf, inputs()).min()) >= 0


@pytest.mark.parametrize("name", ["cnn", "resnet8"])
def test_of_networks_that_this_package_builds(name):
    net = nets.build(name, classes=CLASSES, input_shape=(3, 16, 16))
    clf = Classifier(net, input_shape=(3, 16, 16), mean=0.5, std=0.2)
    found, images = head.find(clf), torch.rand(5, 3, 16, 16)
    logits = found.features(clf, images) @ found.weight.T + found.bias
    torch.testing.assert_close(centred(logits), centred(logits_of(clf, images)), atol=1e-4, rtol=1e-4)


def test_a_plain_function_has_one_too():
    weight = torch.randn(48, CLASSES, generator=torch.Generator().manual_seed(0))
    found = head.find(classifier(lambda x: x.flatten(1) @ weight))
    assert torch.equal(found.weight, weight.T.double())


@pytest.mark.parametrize("rows", ["one", "two"])
def test_networks_that_take_one_input_at_a_time_or_two_at_least(rows):
    net = Written(F.linear)

    def picky(x: Tensor) -> Tensor:
        if rows == "one" and len(x) > 1:
            raise RuntimeError("shape mismatch")
        return net(x) if rows == "one" else net(x).squeeze()  # which takes the axis of one input away

    clf = classifier(picky)
    assert clf.reading.rows == rows
    features = head.find(clf).features(clf, inputs(5), batch=4)
    expected = net.first(inputs(5).flatten(1)).relu().detach().double()
    torch.testing.assert_close(features, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        Written(lambda f, w, b: 3 * F.linear(f, w, b)),
        Written(lambda f, w, b: F.linear(f, w, b).relu()),
        nn.Sequential(nn.Conv2d(3, CLASSES, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ],
    ids=["scaled", "relu", "pooled"],
)
def test_where_there_is_none_to_be_seen_it_says_so(model):
    with pytest.raises(NotEvaluable, match="last linear layer cannot be told"):
        head.find(classifier(model))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_inside_a_compiled_program_it_cannot_be_seen():
    program = torch.jit.trace(Written(F.linear), inputs())
    with pytest.raises(NotEvaluable, match="TorchScript"):
        head.find(classifier(program))


def test_exported_programs_show_theirs():
    net = Written(F.linear).eval()
    batch = {"x": {0: torch.export.Dim("batch", min=1)}}
    program = torch.export.export(net, (inputs(),), dynamic_shapes=batch).module()
    assert torch.equal(head.find(classifier(program)).weight, net.weight.detach().double())


def test_the_network_stays_as_it_was():
    net = Written(F.linear).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    clf = classifier(net)
    head.find(clf).features(clf, inputs())
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_made_up_inputs_are_valid_and_depend_on_their_key():
    clf = Classifier(Written(F.linear), input_shape=SHAPE, bounds=(-1, 2))
    for kind in ("smooth", "uniform"):
        drawn = head.made_up(clf, 4, kind, "key", 1)
        assert float(drawn.min()) >= -1
        assert float(drawn.max()) <= 2
        assert torch.equal(drawn, head.made_up(clf, 4, kind, "key", 1))
        assert not torch.equal(drawn, head.made_up(clf, 4, kind, "key", 2))


def conv(*rest: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), *rest)


@pytest.mark.parametrize(
    ("network", "pooled"),
    [
        (conv(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)), True),
        (conv(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, CLASSES, 1), nn.Flatten()), True),
        (conv(nn.Flatten(), nn.Linear(32, CLASSES)), False),
        # As many hidden units as channels: they are none the less no channels.
        (
            conv(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, CLASSES)),
            False,
        ),
        (nn.Sequential(nn.Flatten(), nn.Linear(48, CLASSES)), False),
        (nets.build("resnet8", classes=CLASSES, input_shape=(3, 16, 16), width=4), True),
        (nets.build("lenet", classes=CLASSES, input_shape=(3, 16, 16)), False),
    ],
    ids=["pooled", "convolution", "flat", "hidden", "alone", "resnet8", "lenet"],
)
def test_pooled_features_are_told_from_others(
    network: nn.Module, pooled: bool, request: pytest.FixtureRequest
):
    shape = (3, 16, 16) if request.node.callspec.id in ("resnet8", "lenet") else SHAPE
    assert head.find(Classifier(network.eval(), input_shape=shape)).pooled is pooled
