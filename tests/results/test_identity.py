"""When an answer may be used again: the digests of models, and of detectors as they are called."""

from __future__ import annotations

import threading
from functools import partial

import pytest
import torch
from torch import nn

from helpers.toy_zoos import listens, tagged
from mmbd.detectors import DETECTORS, margins
from mmbd.model.classifier import Classifier
from mmbd.results.identity import fingerprint, settings, sources


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
    ],
)
def test_whatever_changes_the_outputs_changes_it(changed):
    assert changed() != of(network())


def test_one_weight_or_buffer_changes_it():
    for change in (
        lambda net: net[0].weight.data[0, 0, 0, 0].add_(1e-6),
        lambda net: net[1].running_mean[2].add_(1),
    ):
        net = network()
        change(net)
        assert of(net) != of(network())


def test_a_plain_function_has_none():
    assert fingerprint(Classifier(lambda x: x[:, :3] * 2, input_shape=(4,))) is None


def test_detectors_and_how_they_are_called():
    base = settings(margins, level=0.05, seed=0)
    assert base == settings(DETECTORS["mm-bd"], level=0.05, seed=0)
    different = [
        settings(margins, level=0.01, seed=0),
        settings(margins, level=0.05, seed=1),
        settings(partial(margins, null="paper"), level=0.05, seed=0),
        settings(partial(margins, null="bootstrap"), level=0.05, seed=0),
        settings(listens, level=0.05, seed=0),
        *(settings(DETECTORS[name], level=0.05, seed=0) for name in list(DETECTORS)[3:]),
    ]
    assert None not in different
    assert len({base, *different}) == len(different) + 1


def test_options_are_compared_by_value():
    def with_(value: object) -> str | None:
        return settings(partial(listens, option=value), level=0.05, seed=0)

    assert with_(torch.arange(3000)) == with_(torch.arange(3000))
    other = torch.arange(3000)
    other[1500] = 0
    assert with_(other) != with_(torch.arange(3000))
    assert with_([tagged(0.1)]) == with_([tagged(0.1)]) != with_([tagged(0.2)])
    assert with_({"a": (1, 2.5, None)}) == with_({"a": [1, 2.5, None]})
    assert with_(threading.Lock()) is None  # who could tell
    assert settings(print, level=0.05, seed=0) is None


def test_functions_that_share_their_names_have_no_digest():
    def closure(classifier, *, level, seed):
        return None

    for function in (closure, lambda classifier, *, level, seed: None):
        assert settings(function, level=0.05, seed=0) is None
        assert settings(partial(listens, option=function), level=0.05, seed=0) is None


def test_an_answer_depends_on_the_search_and_the_nulls_but_not_on_readers_and_renderers():
    names = {path.name for path in sources("mmbd.detectors.margins")}
    assert {
        "margins.py",
        "scanning.py",
        "estimate.py",
        "pool.py",
        "ascent.py",
        "classifier.py",
        "population.py",
        "population.json",
        "bootstrap.py",
        "domain.py",
    } <= names
    assert not {"page.py", "report.py", "archives.py", "loading.py", "run.py"} & names
