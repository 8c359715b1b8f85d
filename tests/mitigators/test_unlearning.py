"""Unlearning: the trigger it is given goes, labels stay, and the trigger's form is exact."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import colour_networks
from helpers.toy_networks import shared
from mmbd import load
from mmbd.data import read as data
from mmbd.mitigators.mitigator import Mitigation
from mmbd.mitigators.unlearning import unlearning
from mmbd.model.forward import logits_of
from mmbd.model.samples import prepare
from mmbd.triggers import MAKERS
from mmbd.triggers.mask_pattern import MaskPattern
from mmbd.triggers.trigger import stamp

MODULE = sys.modules[unlearning.__module__]  # the package calls the function by its name
MODELS = Path(__file__).resolve().parents[2] / "examples/models"
CARDS = json.loads((MODELS / "models.json").read_text(encoding="utf-8"))


def trigger() -> MaskPattern:
    """The white pixel as a detector would give it."""
    mask = np.zeros((4, 4))
    mask[1, 2] = 1
    return MaskPattern(mask, np.ones(colour_networks.SHAPE))


def repaired(**options) -> Mitigation:
    clf = colour_networks.classifier()
    return unlearning(clf, colour_networks.samples(clf), **{"trigger": trigger(), "lr": 0.1} | options)


def test_a_known_trigger_is_unlearned():
    clf = colour_networks.classifier()
    assert colour_networks.rates(clf) == (1, 1)
    before = colour_networks.state(clf)
    samples = colour_networks.samples(clf)
    kept = samples.inputs.clone()
    made = unlearning(clf, samples, trigger=trigger(), lr=0.1)
    assert colour_networks.same(before, colour_networks.state(clf))
    assert torch.equal(samples.inputs, kept)
    accuracy, success = colour_networks.rates(made.classifier)
    assert accuracy == 1
    assert success == 0
    assert made.record.accuracy == (1, 1)
    assert made.record.settings["epochs"] == len(made.record.curves["loss"]) == 40


def test_another_trigger_leaves_the_backdoor():
    mask = torch.zeros(4, 4)
    mask[3, 3] = 1
    made = repaired(trigger=MaskPattern(mask, torch.zeros(colour_networks.SHAPE)))
    assert colour_networks.rates(made.classifier) == (1, 1)
    assert "changed the answer on 0% of them" in made.record.notes[0]


@pytest.mark.parametrize(("share", "stamped"), [(0.2, 12), (1, 60), (1e-9, 1)])
def test_the_share_is_stamped_once_and_labels_stay(share, stamped, monkeypatch):
    trained = {}

    def tune(clf, network, inputs, labels, **options):
        trained.update(inputs=inputs, labels=labels)
        return []

    monkeypatch.setattr(MODULE, "tune", tune)
    made = repaired(share=share)
    inputs, labels = colour_networks.images(60)
    changed = (trained["inputs"] != inputs).flatten(1).any(1)
    assert int(changed.sum()) == stamped
    assert torch.equal(trained["inputs"][changed], trigger()(inputs[changed]))
    assert torch.equal(trained["labels"], labels)
    assert f"stamped on {stamped} samples" in made.record.notes[0]


def test_without_labels_the_classifiers_own_answers_are_kept():
    clf = colour_networks.classifier()
    inputs, _ = colour_networks.images(60)
    made = unlearning(clf, prepare(clf, inputs), trigger=trigger(), lr=0.1)
    assert colour_networks.rates(made.classifier) == (1, 0)
    assert made.record.own_labels


@pytest.mark.parametrize(
    ("count", "batch", "epochs"), [(60, 128, 40), (60, 20, 13), (61, 60, 40), (300, 5, 1)]
)
def test_about_forty_steps_however_many_samples(count, batch, epochs):
    clf, calls = colour_networks.classifier(), []
    made = unlearning(
        clf,
        colour_networks.samples(clf, count),
        trigger=trigger(),
        batch=batch,
        lr=1e-9,
        progress=lambda at: calls.append((at.done, at.total)),
    )
    assert made.record.settings["epochs"] == epochs
    assert calls[-1][0] == calls[-1][1] == len(calls)


def test_the_seed_decides():
    first, again, other = (colour_networks.state(repaired(seed=seed).classifier) for seed in (0, 0, 1))
    assert colour_networks.same(first, again)
    assert not colour_networks.same(first, other)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"share": 0}, "share"),
        ({"share": 1.1}, "share"),
        ({"trigger": lambda x: x[:, :1]}, "shape"),
        ({"trigger": lambda x: x / 0}, "finite"),
    ],
)
def test_bad_input_is_named(options, word):
    with pytest.raises(ValueError, match=word):
        repaired(**options)


def test_what_a_trigger_returns_is_made_valid(monkeypatch):
    trained = []
    monkeypatch.setattr(MODULE, "tune", lambda *given, **_: trained.append(given[2]) or [])
    repaired(trigger=lambda x: x + 5, share=1)
    assert bool((trained[0] == 1).all())


@given(mask=st.integers(0, 255), pattern=st.integers(0, 255), value=st.integers(0, 255), whole=st.booleans())
def test_a_mask_and_a_pattern_mix_and_round(mask, pattern, value, whole):
    shape = (3, 2, 2)
    made = MaskPattern(
        np.full(shape if whole else shape[1:], mask, np.uint8), torch.full(shape, pattern / 255)
    )
    images = torch.full((5, *shape), value, dtype=torch.uint8)
    mixed = ((255 - mask) * value + mask * pattern) / 255
    found = made(images.float() / 255)
    assert float((found * 255 - mixed).abs().max()) <= 0.5 + 1e-3
    assert torch.equal((found * 255).round() / 255, found)
    assert torch.equal(stamp(made, images).float() / 255, found)


@pytest.mark.parametrize(
    ("mask", "pattern", "word"),
    [
        (np.full((4, 4), 1.5), np.zeros((3, 4, 4)), "mask.*0 to 1"),
        (np.zeros((4, 4)), np.full((3, 4, 4), 200.0), "pattern.*divide by 255"),
        (np.zeros((4, 4)), np.full((3, 4, 4), np.nan), "pattern"),
        (np.zeros((5, 4)), np.zeros((3, 4, 4)), r"\(5, 4\)"),
        (np.zeros((2, 4, 4)), np.zeros((3, 4, 4)), r"\(2, 4, 4\)"),
        (np.zeros((4, 4)), np.zeros((4, 4)), r"\(4, 4\)"),
    ],
)
def test_masks_and_patterns_that_make_no_trigger(mask, pattern, word):
    with pytest.raises(ValueError, match=word):
        MaskPattern(mask, pattern)


def test_a_real_backdoor_is_unlearned_from_ten_images_a_class():
    dataset = data.load(shared("data", "cifar10", "test.parquet"), limit=600)
    card = next(entry for entry in CARDS if entry["name"] == "badnet-resnet8")
    attack, clf = card["attack"], load(MODELS / card["file"]).classifier
    planted = MAKERS[attack["trigger"]]((3, 32, 32), seed=card["seed"], **attack["parameters"])
    order = torch.cat([(dataset.labels[:300] == k).nonzero().flatten()[:10] for k in range(10)])
    samples = prepare(clf, dataset.inputs[order], dataset.labels[order])
    made = unlearning(clf, samples, trigger=planted, batch=32)
    test = dataset.take(torch.arange(300, 600))
    others = test.inputs[test.labels != attack["target"]]

    def rates(of) -> tuple[float, float]:
        right = logits_of(of, test.inputs.float() / 255).argmax(1) == test.labels
        taken = logits_of(of, stamp(planted, others).float() / 255).argmax(1) == attack["target"]
        return float(right.float().mean()), float(taken.float().mean())

    (accuracy, success), (left, remaining) = rates(clf), rates(made.classifier)
    assert success > 0.95
    assert remaining < 0.15
    assert left > accuracy - 0.1
