"""The latent shift as a repair: what it shortens, what it leaves, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from helpers import backdoored_networks
from mmbd.base.errors import NotMitigated
from mmbd.mitigators.latent_shift import latent_shift, shifts_of
from mmbd.model import head as heads
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples, prepare


def vectors() -> tuple[Classifier, Samples]:
    clf = backdoored_networks.vectors()
    return clf, prepare(clf, *backdoored_networks.vector_samples())


def test_shifting_adds_to_the_features_of_the_last_layer():
    clf, samples = vectors()
    layer = heads.find(clf)
    shifts = torch.randn(len(samples.labels), 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = clf(samples.inputs)
        with heads.shifting(layer, shifts):
            moved = clf(samples.inputs)
        assert torch.equal(clf(samples.inputs), plain)
    torch.testing.assert_close(moved - plain, shifts @ layer.weight.T.float(), atol=1e-4, rtol=1e-4)


def test_shifts_take_all_samples_to_their_class():
    clf, samples = vectors()
    found = shifts_of(clf, samples, 1.0)
    for label, shift in enumerate(found.shifts):
        with torch.no_grad(), heads.shifting(found.head, 1.001 * shift.expand(len(samples.labels), -1)):
            assert set(clf(samples.inputs).argmax(1).tolist()) == {label}
    assert min(range(4), key=lambda label: found.relative[label]) == 2  # the target


def test_a_planted_backdoor_is_trained_away_and_its_shift_is_longer():
    clf, samples = vectors()
    assert backdoored_networks.vector_rates(clf) == (1, 1)
    with backdoored_networks.untouched(clf):
        made = latent_shift(clf, samples, lr=0.02, steps=60)
    accuracy, success = backdoored_networks.vector_rates(made.classifier)
    assert accuracy >= 0.95
    assert success < 0.2
    before, after = made.record.settings["shifts"]["2"]
    assert after > 1.1 * before


def test_the_last_layer_alone_changes_if_told_to():
    clf, samples = vectors()
    made = latent_shift(clf, samples, steps=3, tuned="last layer", targets=(2,), accuracy=0.0)
    first, last = clf.model[0].weight, clf.model[2].weight
    assert torch.equal(made.classifier.model[0].weight, first)
    assert not torch.equal(made.classifier.model[2].weight, last)


def test_what_it_refuses():
    clf, samples = vectors()
    with pytest.raises(ValueError, match="choice of weights"):
        latent_shift(clf, samples, tuned="first layer")
    with pytest.raises(ValueError, match="targets must be classes of the model, 0 to 3"):
        latent_shift(clf, samples, targets=(4,))
    one = samples.at(samples.labels == 1)
    with pytest.raises(NotMitigated, match="no shift of the last features"):
        latent_shift(clf, one, targets=(1,))  # all of them are there
    scaled = Classifier(nn.Sequential(clf.model, nn.Softplus()), input_shape=(64,))
    with pytest.raises(NotMitigated, match="the last linear layer cannot be told"):
        latent_shift(scaled, prepare(scaled, *backdoored_networks.vector_samples()))
