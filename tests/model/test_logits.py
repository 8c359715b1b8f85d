"""Outputs that are no logits: several tensors, bounded ones, and ends that are undone."""

from __future__ import annotations

from collections import namedtuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import mmbd
from mmbd.base.errors import NotEvaluable
from mmbd.model.classifier import Classifier
from mmbd.model.logits import seem_bounded

SHAPE = (3, 4, 4)
Pair = namedtuple("Pair", ["features", "answers"])


class Wrapped(nn.Module):
    """A network of five classes and 24 features; both go through `wrap`."""

    def __init__(self, wrap):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head, self.wrap = nn.Linear(48, 24), nn.Linear(24, 5), wrap

    def forward(self, x):
        features = self.body(x.flatten(1)).relu()
        return self.wrap(features, self.head(features))


def logits_of(wrapped: Wrapped, x: torch.Tensor) -> torch.Tensor:
    return wrapped.head(wrapped.body(x.flatten(1)).relu())


TWO = {
    "tuple": (lambda f, y: (f, y), "1"),
    "logits first": (lambda f, y: (y, f), "0"),
    "mapping": (lambda f, y: {"features": f, "answers": y}, "answers"),
    "named tuple": (Pair, "answers"),
    "nested": (lambda f, y: ({"f": f}, [f, y]), "1.1"),
    "maps beside": (lambda f, y: (f[:, :, None, None], y), "1"),
}


@pytest.mark.parametrize(("wrap", "place"), TWO.values(), ids=TWO)
def test_of_several_tensors_none_is_taken_in_silence(wrap, place):
    with pytest.raises(NotEvaluable, match="any of which may be them") as raised:
        Classifier(Wrapped(wrap), input_shape=SHAPE)
    assert f"(3, {'24' if place != '0' else '5'}" in str(raised.value)
    assert "--output" in str(raised.value)
    x = torch.rand(2, *SHAPE)
    wrapped = Wrapped(wrap)
    chosen = [
        Classifier(wrapped, input_shape=SHAPE, output=place),
        Classifier(wrapped, input_shape=SHAPE, classes=5),
        Classifier(wrapped, input_shape=SHAPE, class_names=list("abcde")),
    ]
    for clf in (*chosen, chosen[0].around(wrapped)):
        assert clf.classes == 5
        assert torch.equal(clf(x), logits_of(wrapped, x))


def test_a_number_chooses_too():
    clf = Classifier(Wrapped(lambda f, y: (f, y)), input_shape=SHAPE, output=1)
    assert clf.classes == 5


def test_classes_that_fit_no_output_or_two():
    with pytest.raises(NotEvaluable, match="any of which"):
        Classifier(Wrapped(lambda f, y: (f, y)), input_shape=SHAPE, classes=7)
    with pytest.raises(NotEvaluable, match="any of which"):
        Classifier(Wrapped(lambda f, y: (y, -y)), input_shape=SHAPE, classes=5)


def test_an_output_that_is_not_there():
    with pytest.raises(NotEvaluable, match=r"no tensor '7'; it has: 0, 1"):
        Classifier(Wrapped(lambda f, y: (f, y)), input_shape=SHAPE, output=7)


def test_what_cannot_be_logits_leaves_no_question():
    clf = Classifier(Wrapped(lambda f, y: (f.mean(), y, f.argmax(1))), input_shape=SHAPE)
    assert clf.classes == 5


# ---------------------------------------------------------------------------------------- bounded

BOUNDED = {
    "sigmoid": (torch.sigmoid, "a sigmoid"),
    "module": (nn.Sigmoid(), "a sigmoid"),
    "view behind": (lambda y: torch.sigmoid(y)[:, :, None], "a sigmoid"),
    "scaled": (lambda y: 10 * torch.sigmoid(y) - 5, "a sigmoid"),
    "tanh": (torch.tanh, "a tanh"),
    "hard sigmoid": (F.hardsigmoid, "a hard sigmoid"),
    "scaled softmax": (lambda y: 7 * y.softmax(1), "a softmax"),
}


@pytest.mark.parametrize(("end", "words"), BOUNDED.values(), ids=BOUNDED)
def test_bounded_outputs_are_refused_with_the_way_out(end, words):
    with pytest.raises(NotEvaluable, match=f"by {words} at the network's end") as raised:
        Classifier(Wrapped(lambda f, y: end(y)), input_shape=SHAPE)
    assert "Leave that out" in str(raised.value)
    assert ("--ends-in" in str(raised.value)) == ("hard" not in words)


@pytest.mark.parametrize("end", ["sigmoid", "tanh", "softmax"])
@pytest.mark.parametrize("inside", [False, True])
def test_an_end_is_undone_exactly(end, inside):
    def ended(f, y):
        squashed = getattr(torch, end)(y, *([1] if end == "softmax" else []))
        return {"logits": squashed} if inside else squashed

    wrapped = Wrapped(ended)
    clf = Classifier(wrapped, input_shape=SHAPE, ends_in=end)
    x = torch.rand(4, *SHAPE)
    assert torch.equal(clf(x), logits_of(wrapped, x))
    assert torch.equal(clf.around(wrapped)(x), logits_of(wrapped, x))


def test_the_end_of_the_whole_network_is_undone_and_no_gate_inside():
    class Gated(Wrapped):
        def forward(self, x):
            features = self.body(x.flatten(1))
            return torch.sigmoid(self.head(features * torch.sigmoid(features)))

    gated = Gated(None)
    clf = Classifier(gated, input_shape=SHAPE, ends_in="sigmoid")
    x = torch.rand(4, *SHAPE)
    torch.testing.assert_close(torch.sigmoid(clf(x)), gated(x))
    assert bool((clf(x) < 0).any())


def test_another_end_than_said():
    with pytest.raises(NotEvaluable, match="does not end in a sigmoid"):
        Classifier(Wrapped(lambda f, y: y), input_shape=SHAPE, ends_in="sigmoid")
    with pytest.raises(NotEvaluable, match="does not end in a sigmoid"):
        Classifier(Wrapped(lambda f, y: 2 * y.sigmoid()), input_shape=SHAPE, ends_in="sigmoid")
    with pytest.raises(ValueError, match="ends_in must be one of sigmoid, softmax, tanh"):
        Classifier(Wrapped(lambda f, y: y), input_shape=SHAPE, ends_in="relu")


class Tilted(nn.Module):
    """Class c wants pixel c; the class 3 wants it thirty times as much."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.diag(torch.linspace(10, 11, 10)))
        with torch.no_grad():
            self.weight[3] *= 30

    def forward(self, x):
        return x.flatten(1) @ self.weight.T


def test_a_bound_that_no_gradient_tells_is_seen_where_searches_end():
    """A sigmoid written by hand: all outputs stop at 0 and 1."""

    class ByHand(Tilted):
        def forward(self, x):
            return 1 / (1 + torch.exp(-super().forward(x) + 5))

    report = mmbd.scan(Classifier(ByHand(), input_shape=(10,)))
    assert report.verdict == "not evaluable"
    assert "end at 0 and 1" in report.reason
    assert mmbd.scan(Classifier(Tilted(), input_shape=(10,))).targets == (3,)


def stops(values: list[list[float]]) -> str | None:
    return seem_bounded(torch.tensor(values), torch.arange(len(values)))


def test_where_outputs_end():
    assert "end at 0 and 1" in stops([[0.001, 0.999], [0.99, 0.0]])
    assert "end at -1 and 1" in stops([[-0.999, 0.999], [0.5, -1.0]])
    for values in ([[0.1, 0.99]], [[0.0, 1.1]], [[-0.5, 1.0]], [[0.0, 0.9]], [[-2.0, 1.0]]):
        assert stops(values) is None


def test_outputs_of_one_length_and_clipped_ones_are_no_logits():
    drawn = torch.randn(10, 10, generator=torch.Generator().manual_seed(0)) + 20 * torch.eye(10)
    assert stops(drawn.tolist()) is None
    assert "same length, 16" in stops((16 * F.normalize(drawn)).tolist())
    assert "of 10 classes end at the same number, 15" in stops(drawn.clamp(max=15).tolist())
    assert stops(drawn.clamp(max=float(drawn.diag().sort().values[-4])).tolist()) is None
    assert stops(drawn[:4].clamp(max=15).tolist()) is None


@pytest.mark.parametrize("end", [F.normalize, lambda y: y.clamp(-5, 5)], ids=["length", "clip"])
def test_a_backdoor_does_not_hide_behind_such_an_end(end):
    class Ended(Tilted):
        def forward(self, x):
            return 16 * end(super().forward(x) + 0.1)

    report = mmbd.scan(Classifier(Ended(), input_shape=(10,)))
    assert report.exit_code == 3
    assert "bounded" in report.reason


# ------------------------------------------------------------------------------------------ units


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mean": 125.3, "std": 63.0}, r"mean 125\.3 lies outside the bounds of the inputs, 0 to 1"),
        ({"mean": (0.4, 0.5, -0.1)}, r"mean -0\.1 lies outside"),
        ({"mean": 0.49, "std": 0.25, "bounds": (0, 255)}, "those of inputs up to 1"),
    ],
)
def test_a_normalisation_in_other_units_is_said_at_once(arguments, words):
    with pytest.raises(ValueError, match=words):
        Classifier(Wrapped(lambda f, y: y), input_shape=SHAPE, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"mean": 0.0, "std": 1.0},
        {"mean": 1.0},
        {"mean": 120.0, "std": 60.0, "bounds": (0, 255)},
        {"mean": 120.0, "bounds": (0, 255)},
        {"std": 255.0, "bounds": (0, 255)},
        {"mean": -0.5, "std": 0.01, "bounds": (-1, 1)},
        {"bounds": (0, 255)},
    ],
)
def test_usual_normalisations_are_taken(arguments):
    clf = Classifier(Wrapped(lambda f, y: y), input_shape=SHAPE, **arguments)
    assert clf.classes == 5
