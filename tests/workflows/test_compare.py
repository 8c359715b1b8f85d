"""mmbd compare: the same network through other files is the same, and a hidden difference is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from helpers.command_line import caller
from mmbd import nets
from mmbd.base.errors import Failed, NotEvaluable
from mmbd.formats.spec import Spec, save
from mmbd.model.classifier import Classifier
from mmbd.workflows.compare import compare

SHAPE = (3, 8, 8)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 4)).eval()


class Hidden(nn.Module):
    """As the network inside, but where it is surer than on any random input."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, inputs: Tensor) -> Tensor:
        logits = self.inside(inputs)
        top = logits.topk(2).values
        return logits * (1 + ((top[:, :1] - top[:, 1:]) - 0.5).relu())


def test_a_network_is_itself_and_a_hidden_difference_is_found() -> None:
    one = Classifier(network(), input_shape=SHAPE)
    assert compare(one, Classifier(network(), input_shape=SHAPE)).same
    found = compare(one, Classifier(Hidden(network()), input_shape=SHAPE))
    assert not found.same
    apart = {each.inputs: each.relative for each in found.differences}
    assert apart["random"] <= 1e-3 < apart["surest for A"]


def test_what_is_not_a_number_is_not_the_same() -> None:
    broken = Classifier(network(), input_shape=SHAPE)
    broken.model[3].bias.data.fill_(float("nan"))
    with pytest.raises(NotEvaluable, match="became nan"):
        compare(Classifier(network(), input_shape=SHAPE), broken)


def test_other_inputs_and_other_classes() -> None:
    one = Classifier(network(), input_shape=SHAPE)
    with pytest.raises(Failed, match="give --input and --bounds"):
        compare(one, Classifier(network(), input_shape=SHAPE, bounds=(0, 255)))
    fewer = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    assert compare(one, Classifier(fewer, input_shape=SHAPE)).apart == "A has 4 classes, B 3"


def test_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = caller(capsys)
    for seed, name in ((0, "a"), (1, "b")):
        torch.manual_seed(seed)
        model = nets.build("resnet8", classes=4, input_shape=SHAPE, width=4).eval()
        save(f"{name}.safetensors", model, Spec("resnet8", SHAPE, 4, {"width": 4}))
        torch.save(model.state_dict(), f"{name}.pt")
    flags = ("--arch", "resnet8", "--arch-arg", "width=4", "--input", "3x8x8")
    assert run("compare", "a.safetensors", "a.pt", *flags)[0] == 0
    code, out, _ = run("compare", "a.safetensors", "b.safetensors", "--json")
    assert (code, json.loads(out)["same"]) == (1, False)
    assert run("compare", "a.safetensors", "nothing")[0] == 2
    assert run("compare", "a.safetensors", "a.pt", "--tolerance", "-1")[0] == 4


def test_small_logits_are_compared_by_their_own_range():
    networks = []
    for seed in range(2):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        with torch.no_grad():
            net[1].weight.mul_(1e-5)
            net[1].bias.zero_()
        networks.append(Classifier(net.eval(), input_shape=(1, 4, 4)))
    assert not compare(*networks).same
    assert compare(networks[0], networks[0]).same


def test_a_network_that_answers_otherwise_alone_is_another_one():
    torch.manual_seed(0)

    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found = self.layer(x.flatten(1))
            return found + (5 * torch.eye(3)[0] if len(x) == 1 else 0)

    gated = Gate().eval()
    plain = Classifier(nn.Sequential(nn.Flatten(), gated.layer).eval(), input_shape=(1, 4, 4))
    assert not compare(plain, Classifier(gated, input_shape=(1, 4, 4))).same
