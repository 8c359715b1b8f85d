"""Classes without a gradient: searched from elsewhere, left out where nothing moves, or open."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import mmbd
from mmbd.model.classifier import Classifier
from mmbd.search import harder

SHAPE = (1, 8, 8)
BRIGHT = torch.zeros(64)
BRIGHT[:9] = 1
MIXED = BRIGHT.clone()
MIXED[9:30] = -1


def hidden(pattern: Tensor, classes: int = 10) -> nn.Sequential:
    """The last class is reached only by a unit that wants `pattern`: 1 bright, -1 dark, 0 any."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, classes))
    first, last = net[1], net[3]
    with torch.no_grad():
        first.weight.mul_(3)
        first.weight[31] = 20 * pattern
        first.bias[31] = -20.0 * (float((pattern > 0).sum()) - 0.3)
        last.weight.normal_()
        last.weight[:, 31] = 0
        last.weight[-1] = 0
        last.weight[-1, 31] = 100
        last.bias[-1] = -50
    return net


@pytest.mark.parametrize("pattern", [BRIGHT, MIXED], ids=["bright", "mixed"])
def test_a_class_behind_a_dead_unit_is_found(pattern):
    """Its logit is the same at every usual start and the gradient of it is zero there."""
    net = hidden(pattern)
    clf = Classifier(net, input_shape=SHAPE)
    report = mmbd.scan(clf)
    assert (report.targets, report.finding.decided_by) == ((9,), "population")
    joint = next(test for test in report.finding.tests if test.name == "joint")
    assert "unusual starts" in joint.reason
    # The unit gives at most 6 (0.3 * 20), which the class takes 100 times.
    assert report.statistics[9] > 500
    assert "searched from bright, dark and smooth ones (class 9)" in report.caveats[0]
    (found,) = (artifact for artifact in report.finding.artifacts if artifact.label == 9)
    with torch.no_grad():
        assert int(net(found.tensor[None])[0].argmax()) == 9


@pytest.mark.parametrize("pattern", [BRIGHT, MIXED], ids=["bright", "mixed"])
def test_a_class_whose_margin_has_no_gradient_is_found(pattern):
    """Another class is ahead by far, and constantly: so margins have no gradient at all."""
    net = hidden(pattern)
    with torch.no_grad():
        net[3].weight[0] = 0
        net[3].bias[0] = 400
    report = mmbd.scan(Classifier(net, input_shape=SHAPE), universal=False)
    assert report.statistics[9] > 100
    assert report.finding.facts["zero_gradient"] >= 4


class Padded(nn.Module):
    """Ten classes of which one stands out, and outputs that nothing moves."""

    def __init__(self, unused: int, value: float, *, rows: bool = False) -> None:
        super().__init__()
        self.head = nn.Linear(16, 10 + (unused if rows else 0))
        self.unused, self.value, self.rows = unused, value, rows
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.bias.zero_()
            self.head.bias[10:] = value
            self.head.weight[range(10), range(10)] = torch.linspace(10, 11, 10)
            self.head.weight[3] *= 30

    def forward(self, x):
        logits = self.head(x.flatten(1))
        if self.rows:
            return logits
        return torch.cat((logits, logits.new_full((len(x), self.unused), self.value)), 1)


@pytest.mark.parametrize("rows", [False, True], ids=["appended", "rows of zeros"])
@pytest.mark.parametrize("value", [-10.0, -1000.0])
def test_outputs_that_never_move_are_left_out_and_named(value, rows):
    padded = Classifier(Padded(20, value, rows=rows), input_shape=(1, 4, 4))
    plain = Classifier(Padded(0, 0), input_shape=(1, 4, 4))
    report, alone = (mmbd.scan(one, universal=False) for one in (padded, plain))
    assert report.targets == alone.targets == (3,)
    assert report.statistics[:10] == pytest.approx(alone.statistics, rel=1e-4)
    assert report.statistics[10:] == (None,) * 20
    assert report.p_value == pytest.approx(alone.p_value, rel=1e-3)
    assert "20 of 30 classes could not be searched (classes 10, 11" in report.caveats[0]


def test_a_constant_class_that_wins_is_no_unused_output():
    """Subtracting one logit from all changes no margin, and must not hide that class."""

    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Padded(0, 0)

        def forward(self, x):
            logits = self.inner(x)
            return logits - logits[:, 3:4]

    report = mmbd.scan(Classifier(Shifted(), input_shape=(1, 4, 4)), universal=False)
    assert report.targets == (3,)


def test_too_few_moving_classes_are_not_evaluable():
    class Few(Padded):
        def forward(self, x):
            return torch.cat((super().forward(x)[:, :4], x.new_full((len(x), 6), -9.0)), 1)

    report = mmbd.scan(Classifier(Few(0, 0), input_shape=(1, 4, 4)))
    assert report.verdict == "not evaluable"
    assert "4 classes with a valid statistic" in report.reason


def test_a_class_that_could_be_moved_but_was_not_reached_leaves_the_verdict_open(monkeypatch):
    monkeypatch.setattr(harder, "STEPS", 0)
    monkeypatch.setattr(harder, "_starts", lambda classifier, seed: [])
    report = mmbd.scan(Classifier(hidden(MIXED), input_shape=SHAPE))
    assert report.verdict == "not evaluable"
    assert "1 of 10 classes could not be searched (9)" in report.reason
    assert report.exit_code == 3


def test_gradients_leak_through_switches_and_values_stay():
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    for function, slopes in (
        (torch.relu, (0.1, 1.1)),
        (nn.ReLU(inplace=True), (0.1, 1.1)),
        (lambda y: torch.clamp(y, 0, 1), (0.1, 0.1)),
        (lambda y: 3 * y, (3.0, 3.0)),
    ):
        plain = function(x * 1.0).detach()
        with harder.Leaky():
            leaky = function(x * 1.0)
        assert torch.equal(leaky, plain)
        (gradient,) = torch.autograd.grad(leaky.sum(), x)
        assert gradient.tolist() == pytest.approx(slopes)
