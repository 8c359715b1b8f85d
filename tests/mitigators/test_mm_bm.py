"""The default bounds: a backdoor that goes, where the bounds lie, seeds, steps and layers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers import backdoored_networks
from mmbd.base.progress import Progress
from mmbd.mitigators import mm_bm
from mmbd.mitigators.learned_bounds import quantiles
from mmbd.mitigators.mitigator import Mitigation
from mmbd.model.activations import find
from mmbd.model.samples import prepare


def vectors(**options) -> Mitigation:
    clf = backdoored_networks.vectors()
    return mm_bm(clf, prepare(clf, *backdoored_networks.vector_samples()), **options)


def uppers(made: Mitigation) -> list[list[float]]:
    return [layer["upper"] for layer in made.record.layers]


# ----------------------------------------------------------------------------- what it is there for


def test_a_trained_backdoor_goes_and_the_accuracy_stays():
    clf, _ = backdoored_networks.planted()
    accuracy, success = backdoored_networks.planted_rates(clf)
    assert accuracy > 0.95
    assert success > 0.95
    with backdoored_networks.untouched(clf):
        repaired, record = mm_bm(clf, backdoored_networks.planted_samples())
    after, left = backdoored_networks.planted_rates(repaired)
    assert after >= accuracy - 0.02
    assert left < 0.5
    assert record.changed
    assert record.accuracy[1] >= 0.97 * record.accuracy[0]
    for name, value in clf.model.state_dict().items():
        assert torch.equal(repaired.model.network.state_dict()[name], value)


def test_a_planted_channel_closes():
    made = vectors(steps=12)
    (upper,) = uppers(made)
    assert max(upper[:4]) > 0.7
    assert upper[4] < 0.02  # the trigger reaches 0.5
    assert backdoored_networks.vector_rates(backdoored_networks.vectors()) == (1, 1)
    assert backdoored_networks.vector_rates(made.classifier) == (1, 0)
    assert made.record.kept == 1


def test_a_channel_that_clean_samples_use_is_closed_because_a_perturbation_was_found():
    clf = backdoored_networks.vectors()
    samples = prepare(clf, *backdoored_networks.vector_samples(used=0.15))  # of the trigger's 0.5
    options = {"steps": 30, "norm": 0.0, "fold": False}
    blind = mm_bm(clf, samples, perturbations=(), **options)
    seeing = mm_bm(clf, samples, **options)
    assert uppers(blind)[0][4] > 0.16
    assert uppers(seeing)[0][4] < 0.1
    assert backdoored_networks.vector_rates(blind.classifier) == (1, 1)
    assert backdoored_networks.vector_rates(seeing.classifier) == (1, 0)


def test_folding_stops_what_clipping_lets_pass():
    clf = backdoored_networks.vectors()
    samples = prepare(clf, *backdoored_networks.vector_samples(used=0.15))
    for fold, success in ((False, 1), (True, 0)):
        made = mm_bm(clf, samples, fold=fold, steps=5, perturbations=())
        assert backdoored_networks.vector_rates(made.classifier) == (1, success)


def test_the_record_says_what_the_perturbations_did():
    made = vectors()
    row, *others = made.record.perturbations
    assert (row["kind"], row["target"]) == ("added", 2)
    assert {other["kind"] for other in others} == {"sparse"}
    assert row["before"] > 0.9
    assert row["after"] < 0.1
    assert 0 < row["radius"] < 1.2 * 2 * math.sqrt(64 / 3072)
    both = mm_bm(
        *backdoored_networks.planted()[:1],
        backdoored_networks.planted_samples(),
        steps=3,
        perturbations=("flow", "added"),
    )
    rows = both.record.perturbations
    assert list(dict.fromkeys(row["kind"] for row in rows)) == ["flow", "added"]
    assert all(0 <= row[when] <= 1 for row in rows for when in ("before", "after"))


# ------------------------------------------------------------------------------------------- bounds


@pytest.mark.parametrize("share", [1.0, 0.998, 0.9])
def test_bounds_start_at_a_quantile_of_each_channel(share):
    clf, _ = backdoored_networks.planted()
    samples = backdoored_networks.planted_samples()
    still = {"steps": 1, "lr": 1e-9, "accuracy": 0.0, "perturbations": ()}
    made = mm_bm(clf, samples, share=share, places="channel", **still)
    activations = find(clf)
    starts = quantiles(clf, activations, samples.inputs, share)
    assert [layer["name"] for layer in made.record.layers] == [activation.name for activation in activations]
    for activation, layer in zip(activations, made.record.layers, strict=True):
        assert layer["upper"] == pytest.approx(starts[activation.index].clamp_min(1e-6).tolist())
        assert len(layer["upper"]) == activation.channels
        assert layer["fold"]
        highest = torch.tensor(layer["highest"])
        assert bool((torch.tensor(layer["upper"]) <= highest.clamp_min(1e-6) * 1.00001).all())


@settings(max_examples=15)
@given(
    act=st.sampled_from([nn.ReLU(), nn.GELU(), nn.LeakyReLU(0.2)]),
    lr=st.floats(1e-3, 20),
    share=st.floats(0, 1),
    norm=st.floats(0, 10),
    against=st.floats(0, 10),
    fold=st.booleans(),
    seed=st.integers(0, 99),
)
def test_no_bound_is_ever_negative(act, lr, share, norm, against, fold, seed):
    clf = backdoored_networks.two_channels(act)
    samples = prepare(clf, *backdoored_networks.two_samples(16, noise=0.3, seed=seed))
    made = mm_bm(
        clf,
        samples,
        lr=lr,
        share=share,
        norm=norm,
        against=against,
        fold=fold,
        accuracy=0.0,
        steps=4,
        batch=6,
        seed=seed,
    )
    assert all(0 <= value < math.inf for value in uppers(made)[0])
    assert made.record.settings["fold"] is fold
    assert made.classifier.model.limits[0].fold is fold


# --------------------------------------------------------------------------- seeds, steps, the rest


def test_the_seed_decides():
    options = {"steps": 4, "batch": 9, "accuracy": 0.0}
    noise = []
    for seed, other in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(other)
        noise.append(uppers(vectors(seed=seed, **options)))
    assert noise[0] == noise[1]
    assert noise[0] != noise[2]


def test_progress_and_curves_count_the_steps():
    calls = []
    record = vectors(steps=5, progress=lambda at: calls.append((at.done, at.total))).record
    assert calls == [(step, 5) for step in range(1, 6)]
    assert {name: len(curve) for name, curve in record.curves.items()} == {
        "clean": 5,
        "fooled": 5,
        "height": 5,
    }
    assert record.curves["height"][0] == pytest.approx(1)  # where the bounds start
    assert record.curves["height"][-1] < 1
    assert record.settings["steps"] == 5


def test_layers_are_chosen_by_name():
    clf, _ = backdoored_networks.planted()
    short = {"steps": 1, "perturbations": (), "accuracy": 0.0}
    names = [activation.name for activation in find(clf)]
    for layers, expected in (("all", names), ("paper", names[:3]), (names[-1:], names[-1:])):
        record = mm_bm(clf, backdoored_networks.planted_samples(), layers=layers, **short).record
        assert [layer["name"] for layer in record.layers] == expected
    with pytest.raises(ValueError, match="'nope'; give all, paper or some of"):
        mm_bm(clf, backdoored_networks.planted_samples(), layers="nope", **short)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("at", [1, 3])
def test_an_exception_leaves_the_original_alone(at):
    clf, _ = backdoored_networks.planted()

    def stop(progress: Progress) -> None:
        if progress.done == at:
            raise Interrupted

    with backdoored_networks.untouched(clf), pytest.raises(Interrupted):
        mm_bm(clf, backdoored_networks.planted_samples(), progress=stop)
