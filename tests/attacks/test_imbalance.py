"""Class imbalance: exactly the counts asked for, and classes drawn alike where that is asked."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.toy_victims import pictures, victim
from mmbd.attacks.imbalance import imbalance, subset
from mmbd.training import loop as train

TRAINING = pictures(80)  # 20 of each of 4 classes


def trained(**options):
    """What the trainer is given, and the protocol."""
    seen = []

    def spy(network, inputs, labels, recipe, **given):
        seen.append((inputs, labels, given))
        train.fit(network, inputs, labels, recipe, **given)

    protocol = imbalance(replace(victim(TRAINING, epochs=1), trainer=spy), **options)
    (call,) = seen
    return *call, protocol


def test_counts_are_exact():
    inputs, labels, given_, protocol = trained(count=5, target_count=17, target=1)
    assert labels.bincount().tolist() == [5, 17, 5, 5]
    assert len(inputs.flatten(1).unique(dim=0)) == 32
    assert given_["sample_weights"] is None
    assert protocol == {"target": 1, "count": 5, "target_count": 17, "reweighted": False}
    assert json.loads(json.dumps(protocol)) == protocol


def test_reweighting_draws_classes_alike():
    _, labels, given_, protocol = trained(count=5, target_count=20, reweighted=True)
    assert protocol["target"] == 3
    weights = given_["sample_weights"]
    by_class = torch.zeros(4).index_add(0, labels, weights)
    torch.testing.assert_close(by_class, torch.ones(4))


@given(counts=st.lists(st.integers(1, 20), min_size=4, max_size=4), seed=st.integers(0, 1000))
def test_a_subset_holds_so_many_samples_of_each_class_in_order(counts, seed):
    chosen = subset(TRAINING, counts, seed=seed)
    assert chosen.labels.bincount(minlength=4).tolist() == counts
    places = [int((TRAINING.inputs == image).flatten(1).all(1).nonzero()) for image in chosen.inputs]
    assert places == sorted(set(places))
    assert torch.equal(TRAINING.labels[places], chosen.labels)
    assert torch.equal(subset(TRAINING, counts, seed=seed).inputs, chosen.inputs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 5}, r"5000 samples asked for of class 3 \(picture 3\), which holds 20"),
        ({"count": 21, "target_count": 20}, r"21 samples asked for of class 0 .* holds 20"),
        ({"count": 0, "target_count": 20}, "0 samples asked for of class 0"),
        ({"target": -1}, "class -1 is out of range: the data has 0 to 3"),
    ],
)
def test_counts_that_the_data_does_not_hold(options, message):
    with pytest.raises(ValueError, match=message):
        imbalance(victim(TRAINING), **options)
