"""The accuracy that the default bounds keep, and what happens where they cannot."""

from __future__ import annotations

import pytest

from helpers import backdoored_networks
from mmbd.base.errors import NotMitigated
from mmbd.mitigators import mitigate, mm_bm
from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of
from mmbd.model.samples import prepare


def accuracy(of: Classifier, samples) -> float:
    return samples.accuracy(logits_of(of, samples.inputs))


@pytest.mark.parametrize("least", [0.5, 0.8, 0.97, 1.0])
def test_the_accuracy_asked_for_is_kept_on_the_samples(least):
    clf, _ = backdoored_networks.planted()
    samples = backdoored_networks.planted_samples()
    hard = {"lr": 0.5, "norm": 2.0, "steps": 20, "perturbations": (), "places": "channel"}  # pays for all
    made = mm_bm(clf, samples, accuracy=least, share=1.0, **hard)
    reached = accuracy(made.classifier, samples)
    assert reached >= least * accuracy(clf, samples) - 1e-9
    assert made.record.accuracy == pytest.approx((accuracy(clf, samples), reached))
    assert made.record.settings["extent"] < 1
    free = mm_bm(clf, samples, accuracy=0.0, share=1.0, **hard)
    assert accuracy(free.classifier, samples) < 0.5 * accuracy(clf, samples)
    assert free.record.settings["extent"] == 1


def test_it_is_relative_to_what_the_classifier_gets_right():
    clf = backdoored_networks.vectors()
    inputs, labels = backdoored_networks.vector_samples()
    labels[:12] = (labels[:12] + 1) % 4  # a third is labelled wrongly
    made = mm_bm(clf, prepare(clf, inputs, labels), steps=12, accuracy=1.0)
    assert made.record.accuracy[0] == 0.7
    assert made.record.accuracy[1] >= 0.7
    assert made.record.kept == 1


@pytest.mark.parametrize("options", [{"accuracy": 1.01}, {"share": 0.1, "accuracy": 1.0}], ids=str)
def test_what_is_not_feasible_changes_nothing_and_says_so(options):
    clf = backdoored_networks.two_channels()
    inputs, labels = backdoored_networks.two_samples()
    with backdoored_networks.untouched(clf):
        made = mitigate(clf, inputs, labels, method="mm-bm", steps=2, **options)
    assert made.classifier is clf
    assert not made.record.changed
    assert "accuracy" in made.record.reason
    with pytest.raises(NotMitigated):
        mm_bm(clf, prepare(clf, inputs, labels), steps=2, **options)
