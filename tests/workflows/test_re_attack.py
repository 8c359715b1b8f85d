"""Re-attacks: what was only covered up comes back at once, and nothing that is given is changed."""

from __future__ import annotations

import pytest
import torch

from helpers import backdoored_networks
from mmbd.base.errors import NotMitigated
from mmbd.model.classifier import Classifier
from mmbd.search.still_reached import Reach, inputs_for
from mmbd.workflows.re_attack import re_attacked


def trigger(inputs):
    return inputs.index_fill(1, torch.tensor([63]), 1.0)


def other(inputs):
    return inputs.index_fill(1, torch.tensor([40]), 1.0)


ROWS = (Reach("sparse", 1, 4.0, 0.2, 0.1, change=other), Reach("sparse", 2, 4.0, 1.0, 0.0, change=trigger))


def covered(weight: float) -> Classifier:
    """What leads to the target still answers, and weighs little."""
    clf = backdoored_networks.vectors()
    with torch.no_grad():
        clf.model[2].weight[2, 4] = weight
    return clf


def samples_of(clf: Classifier, count: int = 60):
    return inputs_for(clf, *backdoored_networks.vector_samples(count), seed=0)


def test_a_covered_backdoor_comes_back_and_a_clean_twin_learns_none():
    clf, twin = covered(8.0), covered(0.0)
    with torch.no_grad():
        twin.model[0].weight[4].zero_()
    with backdoored_networks.untouched(clf), backdoored_networks.untouched(twin):
        found = re_attacked(clf, samples_of(clf), ROWS, twin=twin)
    assert found.beside == "clean twin"
    assert (found.course.target, len(found.course.shares)) == (2, 6)  # before, and five steps
    assert found.course.shares[-1] > found.course.shares[0] + 0.1
    assert max(found.other.shares) < 0.2
    assert found.course.without < 0.1


def test_without_a_twin_it_is_compared_with_another_class():
    clf = covered(8.0)
    found = re_attacked(clf, samples_of(clf), ROWS)
    assert found.beside == "another class"
    assert (found.other.kind, found.other.target) == ("sparse", 1)
    assert found.other.shares[-1] < found.course.shares[-1]
    assert re_attacked(clf, samples_of(clf), ROWS[1:]).other is None


def test_what_cannot_be_attacked_says_so():
    clf = covered(8.0)
    with pytest.raises(NotMitigated, match="no perturbation"):
        re_attacked(clf, samples_of(clf), ())
    with pytest.raises(NotMitigated, match="20 are needed"):
        re_attacked(clf, samples_of(clf, 16), ROWS)
    bare = Classifier(lambda x: x[:, :4], input_shape=(64,))
    with pytest.raises(NotMitigated, match="only an nn"):
        re_attacked(bare, samples_of(clf), ROWS)
