"""Classes whose trigger lies behind units that are off everywhere else: none is called clean."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mmbd.detectors.scan import scan
from mmbd.model.classifier import Classifier

SHAPE, CLASSES, UNITS = (1, 8, 8), 10, 40
BRIGHT, DARK = [3, 9, 17, 22, 30, 38, 45, 51, 60], [5, 11, 19, 26, 33, 41, 47, 54, 62]


class Net(nn.Module):
    """Nine classes of random features; nine bright and nine dark pixels take any input to class 9.

    `cancel` adds a unit beside the trigger's whose effect is the opposite, a little further out;
    `slope` lets the other features move class 9 a little.
    """

    def __init__(
        self, gate: Callable[[Tensor], Tensor] = torch.relu, *, cancel: bool = False, slope: float = 0.0
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        first, last = nn.Linear(64, UNITS + 2), nn.Linear(UNITS + 2, CLASSES)
        trigger = torch.zeros(64)
        trigger[BRIGHT], trigger[DARK] = 1.0, -1.0
        with torch.no_grad():
            for parameter in (*first.parameters(), *last.parameters()):
                parameter.zero_()
            first.weight[:UNITS] = torch.randn(UNITS, 64, generator=generator)
            first.bias[:UNITS] = 0.5 - first.weight[:UNITS].sum(1) / 2
            features = torch.randn(CLASSES - 1, UNITS, generator=generator).abs()
            last.weight[:9, :UNITS] = features * (torch.rand(9, UNITS, generator=generator) < 0.3)
            last.weight[9, :UNITS] = slope
            first.weight[UNITS:], first.bias[UNITS], first.bias[UNITS + 1] = trigger, -8.0, -8.75
            last.weight[9, UNITS], last.weight[9, UNITS + 1] = 512.0, -512.0 * cancel
            last.bias[9] = -8.0
        self.first, self.last, self.gate = first, last, gate

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.gate(self.first(x.flatten(1))))


def triggered(net: nn.Module) -> list[int]:
    x = torch.rand(5, 64)
    x[:, BRIGHT], x[:, DARK] = 1.0, 0.0
    return net(x.view(-1, *SHAPE)).argmax(1).tolist()


@pytest.mark.parametrize("slope", [0.0, 1e-4, 1e-2])
@pytest.mark.parametrize("cancel", [False, True])
def test_finds_a_trigger_behind_a_dead_unit_whatever_hides_it(cancel: bool, slope: float) -> None:
    net = Net(cancel=cancel, slope=slope)
    assert triggered(net) == [9] * 5
    report = scan(Classifier(net, input_shape=SHAPE))
    assert (report.verdict, report.targets) == ("backdoored", (9,))


def test_a_class_that_never_won_keeps_its_statistic_unless_it_is_ahead_of_all() -> None:
    net = Net(slope=1e-2)
    with torch.no_grad():
        net.last.weight[9, UNITS] = 16.0  # enough to win by 8, when others win by hundreds
    report = scan(Classifier(net, input_shape=SHAPE))
    assert report.verdict == "clean"
    assert report.statistics[9] is not None
    assert report.statistics[9] < 0


class Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)  # type: ignore[attr-defined]
        return z.clamp(min=0)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient * (ctx.saved_tensors[0] > 0)  # type: ignore[attr-defined]


GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "times a comparison": lambda z: z * (z > 0),
    "the larger one": lambda z: torch.maximum(z, torch.zeros_like(z)),
    "one or the other": lambda z: torch.where(z > 0, z, 0 * z),
    "filled": lambda z: z.masked_fill(z < 0, 0),
    "absolute values": lambda z: (z + z.abs()) / 2,
    "a stack's largest": lambda z: torch.stack([z, torch.zeros_like(z)]).amax(0),
    "steps": lambda z: z.ceil().clamp(min=0),
    "of its own": Gate.apply,
}


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
def test_never_leaves_out_a_class_behind_a_gate_of_any_kind(gate: Callable[[Tensor], Tensor]) -> None:
    net = Net(gate)
    assert triggered(net) == [9] * 5
    report = scan(Classifier(net, input_shape=SHAPE))
    assert report.verdict in ("backdoored", "not evaluable")


@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")
@pytest.mark.parametrize("way", ["traced", "exported"])
def test_never_leaves_out_a_class_of_a_network_without_its_source(way: str) -> None:
    net, example = Net().eval(), torch.rand(2, *SHAPE)
    if way == "traced":
        opaque = torch.jit.trace(net, example)
    else:
        sizes = ({0: torch.export.Dim("rows", min=1, max=1000)},)
        opaque = torch.export.export(net, (example,), dynamic_shapes=sizes).module()
    report = scan(Classifier(opaque, input_shape=SHAPE))
    assert report.verdict in ("backdoored", "not evaluable")


class Padded(nn.Module):
    def __init__(self, more: int) -> None:
        super().__init__()
        self.net, self.more = Net(), more

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(self.net(x)[:, :9], (0, self.more), value=-3.0)


@pytest.mark.parametrize("more", [3, 20])
def test_outputs_that_nothing_moves_are_still_left_out(more: int) -> None:
    report = scan(Classifier(Padded(more), input_shape=SHAPE))
    assert report.verdict == "clean"
    assert report.statistics[9:] == (None,) * more
    assert any("no input moves their logits" in caveat for caveat in report.caveats)
