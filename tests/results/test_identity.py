"""What a stored result depends on: digests of models and samples, settings without defaults."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field, make_dataclass
from functools import partial

import pytest
import torch
from torch import nn

from mmbd.model.classifier import Classifier
from mmbd.results.identity import fingerprint, function, samples, settings


def network(**changes) -> nn.Module:
    torch.manual_seed(0)
    options = {"kernel": 3, "stride": 1, "classes": 5} | changes
    return nn.Sequential(
        nn.Conv2d(3, 4, options["kernel"], stride=options["stride"]),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, options["classes"]),
    )


def of(model: nn.Module, **options) -> str | None:
    return fingerprint(Classifier(model, **{"input_shape": (3, 6, 6)} | options))


def detect(classifier, samples=None, *, level=0.05, seed=0, steps=20, rule="l2", reference=None):
    """A method to be called with options."""


def test_the_same_model_has_the_same_fingerprint():
    assert of(network()) == of(network()) == of(network().double().float())
    half = network()
    half.train()
    assert of(half) == of(network())


@pytest.mark.parametrize(
    "changed",
    [
        lambda: of(network(stride=2)),
        lambda: of(network(classes=6)),
        lambda: of(network().double()),
        lambda: of(network(), mean=0.5),
        lambda: of(network(), std=0.5),
        lambda: of(network(), bounds=(-1, 1)),
        lambda: of(network(), input_shape=(3, 8, 8)),
        lambda: of(nn.Sequential(network(), nn.Sigmoid()), ends_in="sigmoid"),
        lambda: of(network(), class_names="abcde"),  # which reports show
    ],
)
def test_whatever_changes_the_outputs_changes_it(changed):
    assert changed() != of(network())


class Answers(nn.Module):
    """Two heads, equal in shape, or one of them, which may have an axis more."""

    def __init__(self, axes: tuple[int, ...] = ()) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.heads, self.axes = nn.ModuleList(nn.Linear(4, 5) for _ in "12"), axes

    def forward(self, inputs):
        return tuple(head(inputs).reshape(len(inputs), 5, *self.axes) for head in self.heads)


def test_how_the_outputs_are_read_changes_it():
    first, again, second = (of(Answers(), input_shape=(4,), output=output) for output in "001")
    assert first == again != second
    assert of(Answers((1, 1)), input_shape=(4,), output="0") != first


def test_one_weight_or_buffer_changes_it():
    for change in (
        lambda net: net[0].weight.data[0, 0, 0, 0].add_(1e-6),
        lambda net: net[1].running_mean[2].add_(1),
    ):
        net = network()
        change(net)
        assert of(net) != of(network())


def test_a_plain_function_has_none():
    callable_ = Classifier(lambda x: x[:, :3] * 2, input_shape=(4,))
    assert fingerprint(callable_) is None
    assert settings(detect, {"reference": callable_}) is None


def test_samples_count_with_values_order_and_labels():
    inputs, labels = torch.rand(4, 3), torch.tensor([0, 1, 0, 1])
    base = samples(inputs, labels)
    assert base == samples(inputs.clone(), labels.clone())
    different = [
        samples(inputs),
        samples(inputs, 1 - labels),
        samples(inputs.flip(0), labels.flip(0)),
        samples(inputs[:3], labels[:3]),
        samples(inputs.double(), labels),
    ]
    assert len({base, *different}) == 6


def test_settings_are_those_that_are_no_defaults():
    assert settings(detect) == settings(detect, {"steps": 20, "rule": "l2", "reference": None}) == "{}"
    assert json.loads(settings(detect, {"steps": 30, "rule": "l2"})) == {"steps": 30}
    assert settings(partial(detect, steps=30)) == settings(detect, {"steps": 30})
    assert settings(partial(partial(detect, steps=30), steps=20)) == "{}"  # the last one given counts
    assert settings(detect, {"rule": "sign", "steps": 1}) == settings(detect, {"steps": 1, "rule": "sign"})


def test_a_new_setting_with_a_default_changes_no_key():
    def later(classifier, *, steps=20, rule="l2", reference=None, patience=3):
        """`detect`, a release later."""

    for options in ({}, {"steps": 30}):
        assert settings(later, options) == settings(detect, options)
    assert settings(later, {"patience": 4}) != settings(detect)


def test_a_new_field_with_a_default_changes_no_key():
    @dataclass
    class Search:
        steps: int
        rule: str = "l2"

    longer = make_dataclass(
        "Search",
        [
            ("steps", int),
            ("rule", str, "l2"),
            ("patience", int, 3),
            ("names", list, field(default_factory=list)),
        ],
    )
    longer.__qualname__ = Search.__qualname__
    before = settings(detect, {"reference": Search(5)})
    assert before == settings(detect, {"reference": longer(5)})
    assert before != settings(detect, {"reference": longer(5, patience=4)})
    assert before != settings(detect, {"reference": Search(6)})


def test_options_are_compared_by_value():
    def with_(value: object) -> str | None:
        return settings(partial(detect, reference=value))

    assert with_(torch.arange(3000)) == with_(torch.arange(3000))
    other = torch.arange(3000)
    other[1500] = 0
    assert with_(other) != with_(torch.arange(3000))

    def classifier(scale: float) -> Classifier:
        layer = nn.Linear(4, 5, bias=False)
        nn.init.constant_(layer.weight, scale)
        return Classifier(layer, input_shape=(4,))

    assert with_([classifier(0.1)]) == with_([classifier(0.1)]) != with_([classifier(0.2)])
    assert with_({"a": (1, 2.5, None)}) == with_({"a": [1, 2.5, None]})
    assert with_(threading.Lock()) is None  # who could tell
    assert with_(detect) != with_(print) != with_(None)


def test_functions_that_share_their_names_are_not_identified():
    def closure(classifier, *, level, seed):
        return None

    script = partial(detect)
    script.func.__module__, before = "__main__", script.func.__module__
    try:
        assert function(script) is None
    finally:
        script.func.__module__ = before
    for shared in (closure, lambda classifier, *, level, seed: None):
        assert function(shared) is None
        assert settings(partial(detect, reference=shared)) is None
    assert function(detect) == function(partial(detect, steps=3)) == f"{__name__}.detect"
