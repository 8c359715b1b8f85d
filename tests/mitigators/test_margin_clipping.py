"""Maximum-margin activation clipping: lower margins, the planted channel, its weight's schedule."""

from __future__ import annotations

import importlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers import backdoored_networks
from mmbd import nets
from mmbd.base.errors import NotMitigated
from mmbd.base.progress import Progress
from mmbd.base.seeds import generator_for
from mmbd.mitigators import margin_clipping
from mmbd.mitigators.mitigator import Mitigation
from mmbd.model.bounded import Bounded
from mmbd.model.classifier import Classifier
from mmbd.model.points import Points
from mmbd.model.samples import prepare

FEW = {"maximised": 4, "steps": 5}


def vectors(**options) -> Mitigation:
    clf = backdoored_networks.vectors()
    return margin_clipping(clf, prepare(clf, *backdoored_networks.vector_samples()), **FEW | options)


def upper(made: Mitigation) -> list[float]:
    (layer,) = made.record.layers
    assert not layer["fold"]
    return layer["upper"]


def test_the_planted_channel_closes_and_margins_fall():
    made = vectors(epochs=60)
    assert backdoored_networks.vector_rates(backdoored_networks.vectors()) == (1, 1)
    assert backdoored_networks.vector_rates(made.classifier) == (1, 0)
    assert made.record.kept == 1
    assert upper(made)[4] < 0.1 < 0.5 < min(upper(made)[:4])
    margins = made.record.curves["margin"]
    assert margins[-1] < 0.6 * margins[0]


def test_without_weight_on_the_margins_it_stays_open():
    made = vectors(epochs=60, weight=0.0)
    assert backdoored_networks.vector_rates(made.classifier) == (1, 1)
    assert upper(made)[4] > 0.5


def test_bounds_start_where_told_and_move_by_the_learning_rate():
    start = upper(vectors(epochs=1, initial=3.0, lr=1e-6, batch=40))
    assert start == pytest.approx([3] * 5, abs=1e-4)
    moved = upper(vectors(epochs=1, initial=1.0, lr=0.25, batch=40))
    assert moved[4] == pytest.approx(0.75, abs=1e-3)


@pytest.mark.parametrize(("accuracy", "factor"), [(0.0, 1.5), (1.01, 1 / 1.5)])
def test_the_weight_changes_every_ten_epochs_from_the_30th_on(accuracy, factor):
    made = vectors(epochs=52, growth=1.5, accuracy=accuracy, weight=0.01)
    weights = [0.01] * 31 + [0.01 * factor] * 10 + [0.01 * factor**2] * 10 + [0.01 * factor**3]
    assert made.record.curves["weight"] == pytest.approx(weights)
    assert made.record.settings["weight"] == 0.01


def test_inputs_are_searched_for_again_on_the_bounded_network(monkeypatch):
    module = importlib.import_module("mmbd.mitigators.margin_clipping")
    searched, search = [], module._maximised

    def watched(classifier, *rest):
        inputs, labels = search(classifier, *rest)
        searched.append((isinstance(classifier.model, Bounded), inputs, labels))
        return inputs, labels

    monkeypatch.setattr(module, "_maximised", watched)
    clf = backdoored_networks.vectors()
    samples = prepare(clf, *backdoored_networks.vector_samples())
    with backdoored_networks.untouched(clf):
        margin_clipping(clf, samples, epochs=7, again=3, **FEW)
    assert [bounded for bounded, *_ in searched] == [False, True, True]
    for _, inputs, labels in searched:
        assert inputs.shape == (16, 64)
        assert labels.bincount().tolist() == [4] * 4
        assert 0 <= float(inputs.min()) <= float(inputs.max()) <= 1
    with torch.no_grad():
        logits = clf(searched[0][1])
    assert torch.equal(logits.argmax(1), searched[0][2])


@settings(max_examples=10)
@given(
    act=st.sampled_from([nn.ReLU(), nn.GELU(), nn.LeakyReLU(0.2)]),
    lr=st.floats(1e-3, 10),
    weight=st.floats(0, 5),
    initial=st.floats(0, 10),
    seed=st.integers(0, 99),
)
def test_no_bound_is_ever_negative(act, lr, weight, initial, seed):
    clf = backdoored_networks.two_channels(act)
    samples = prepare(clf, *backdoored_networks.two_samples(16, noise=0.3, seed=seed))
    options = {"lr": lr, "weight": weight, "initial": initial, "seed": seed}
    made = margin_clipping(clf, samples, epochs=5, again=3, maximised=2, steps=2, **options)
    assert all(value >= 0 for value in upper(made))


def test_only_what_is_right_is_learnt_from():
    clf = backdoored_networks.vectors()
    inputs, labels = backdoored_networks.vector_samples()
    labels[:8] = (labels[:8] + 1) % 4
    rows = prepare(clf, inputs, labels), prepare(clf, inputs[8:], labels[8:])
    full, right = (margin_clipping(clf, part, epochs=5, **FEW) for part in rows)
    assert upper(full) == pytest.approx(upper(right), abs=1e-4)


def test_the_seed_decides():
    made = []
    for seed, other in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(other)
        made.append(upper(vectors(seed=seed, epochs=4, batch=9)))
    assert made[0] == made[1]
    assert made[0] != made[2]


def test_progress_and_curves_count_the_epochs():
    calls = []
    record = vectors(epochs=5, progress=lambda at: calls.append((at.done, at.total))).record
    assert calls == [(epoch, 5) for epoch in range(1, 6)]
    assert {name: len(curve) for name, curve in record.curves.items()} == {
        "kept": 5,
        "margin": 5,
        "weight": 5,
    }


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("at", [1, 5])
def test_the_original_stays_also_after_an_exception(at):
    clf, _ = backdoored_networks.planted()
    options = {"epochs": 6, "again": 2, **FEW}

    def stop(progress: Progress) -> None:
        if progress.done == at:
            raise Interrupted

    with backdoored_networks.untouched(clf):
        made = margin_clipping(clf, backdoored_networks.planted_samples(), **options)
    for name, value in clf.model.state_dict().items():
        assert torch.equal(made.classifier.model.network.state_dict()[name], value)
    with backdoored_networks.untouched(clf), pytest.raises(Interrupted):
        margin_clipping(clf, backdoored_networks.planted_samples(), progress=stop, **options)


def test_layers_are_chosen_by_name():
    clf, _ = backdoored_networks.planted()
    for layers, count in (("all", 2), (["2"], 1)):
        made = margin_clipping(clf, backdoored_networks.planted_samples(), epochs=1, layers=layers, **FEW)
        assert len(made.record.layers) == count
    with pytest.raises(ValueError, match="'nope'; give all, paper or some of"):
        margin_clipping(clf, backdoored_networks.planted_samples(), layers=["nope"])


@pytest.mark.parametrize("arch", ["m5", "pointnet"])
def test_sounds_and_clouds(arch):
    torch.manual_seed(0)
    if arch == "m5":
        net = nets.build(arch, classes=2, input_shape=(1, 8000), width=2).eval()
        clf = Classifier(net, input_shape=(1, 8000), bounds=(-1, 1))
    else:
        net = nets.build(arch, classes=2, input_shape=(3, 12), width=4).eval()
        clf = Classifier(net, domain=Points(12))
    inputs = torch.stack([clf.domain.sample(generator_for("inputs", i)) for i in range(8)])
    made = margin_clipping(clf, prepare(clf, inputs), epochs=2, maximised=2, steps=2)
    assert made.record.changed


def test_a_network_without_activations_is_refused():
    clf = Classifier(nn.Linear(4, 2), input_shape=(4,))
    with pytest.raises(NotMitigated, match="no activation"):
        margin_clipping(clf, prepare(clf, torch.rand(8, 4)))
