"""MM-BM as published: layers, labels, seeds, progress, precisions, and the original that stays."""

from __future__ import annotations

import pytest
import torch

from helpers import backdoored_networks
from mmbd import nets
from mmbd.base.progress import Progress
from mmbd.mitigators import mitigate
from mmbd.mitigators.mm_bm_published import paper, script
from mmbd.model.classifier import Classifier
from mmbd.model.samples import prepare


def network() -> Classifier:
    torch.manual_seed(0)
    net = nets.build("cnn", classes=3, input_shape=(3, 8, 8), widths=(4, 5, 6), hidden=(7,))
    return Classifier(net.eval(), input_shape=(3, 8, 8), mean=0.5, std=0.25)


def noise(count: int = 24) -> torch.Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def layer_names(record) -> list[str]:
    return [layer["name"] for layer in record.layers]


@pytest.mark.parametrize("method", [paper, script])
def test_the_three_activations_near_the_input_or_those_named(method):
    clf = network()
    samples, short = prepare(clf, noise()), {"accuracy": 0.0}
    short |= {"iterations": 2} if method is paper else {"epochs": 2}
    assert layer_names(method(clf, samples, **short).record) == ["2", "6", "10"]
    everything = method(clf, samples, layers="all", **short).record
    assert layer_names(everything) == ["2", "6", "10", "15"]
    assert [len(layer["upper"]) for layer in everything.layers] == [4, 5, 6, 7]
    named = method(clf, samples, layers=["15", "2"], **short).record
    assert layer_names(named) == ["2", "15"]
    with pytest.raises(ValueError, match=r"no activation is called 'nope'; .*: 2, 6, 10, 15"):
        method(clf, samples, layers=["nope"], **short)


def test_labels_are_optional():
    clf = network()
    with torch.no_grad(), clf.frozen():
        own = clf(noise()).argmax(1)
    told = mitigate(clf, noise(), method="paper", iterations=5)
    assert told.record.own_labels
    assert told.record.accuracy[0] == 1
    logits = prepare(clf, noise()).logits
    assert torch.equal(logits.argmax(1), own)
    assert prepare(clf, noise()).correct.all()


@pytest.mark.parametrize(
    ("method", "options", "random"),
    [(paper, {"iterations": 4}, False), (script, {"epochs": 4, "batch": 5, "initial": 1.0}, True)],
)
def test_the_seed_decides(method, options, random):
    clf = backdoored_networks.two_channels()
    samples = backdoored_networks.two_prepared(clf)
    first, again, other = (
        [layer["upper"] for layer in record.layers]
        for record in (method(clf, samples, seed=seed, accuracy=0, **options).record for seed in (0, 0, 1))
    )
    assert first == again
    assert (first != other) is random


@pytest.mark.parametrize(("method", "options"), [(paper, {"iterations": 7}), (script, {"epochs": 7})])
def test_progress_counts(method, options):
    clf, calls = backdoored_networks.two_channels(), []
    method(
        clf,
        backdoored_networks.two_prepared(clf),
        progress=lambda at: calls.append((at.done, at.total)),
        **options,
    )
    assert calls == [(step, 7) for step in range(1, 8)]


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("method", [paper, script])
def test_the_original_stays_bit_for_bit_also_after_an_exception(method):
    clf = network()
    clf.model.train()
    clf.model[1].eval()
    clf.model[0].weight.requires_grad_(False)
    samples = prepare(clf, noise())

    def stop(at: Progress) -> None:
        if at.done == 2:
            raise Interrupted

    with backdoored_networks.untouched(clf):
        repaired, _ = method(clf, samples, accuracy=0)
    assert repaired.model.network is not clf.model
    for name, value in clf.model.state_dict().items():
        assert torch.equal(repaired.model.network.state_dict()[name], value)
    with backdoored_networks.untouched(clf), pytest.raises(Interrupted):
        method(clf, samples, progress=stop)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(dtype):
    clf = backdoored_networks.two_channels(strength=8)
    clf = clf.around(clf.model.to(dtype))
    for made in (
        paper(clf, backdoored_networks.two_prepared(clf), iterations=60),
        script(clf, backdoored_networks.two_prepared(clf), batch=20),
    ):
        assert made.classifier.model.limits[0].upper.dtype == dtype
        assert backdoored_networks.two_rates(made.classifier)[0] == 1
        assert made.record.kept >= 0.95
