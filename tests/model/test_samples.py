"""Which clean samples are taken for the classifier's."""

from __future__ import annotations

import pytest
import torch

from mmbd.base.errors import NotMitigated
from mmbd.model.classifier import Classifier
from mmbd.model.samples import prepare

CLASSES = 10


def classifier() -> Classifier:
    """Says class c where element c is the largest."""
    return Classifier(lambda x: 5 * x, input_shape=(CLASSES,), classes=CLASSES)


def samples(count: int, right: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`count` inputs of all classes in turn, of which the first `right` are labelled as they are."""
    classes = torch.arange(count) % CLASSES
    labels = torch.where(torch.arange(count) < right, classes, (classes + 1) % CLASSES)
    return torch.nn.functional.one_hot(classes, CLASSES).float(), labels


@pytest.mark.parametrize(("count", "right", "taken"), [(10, 2, True), (10, 0, False), (100, 20, False)])
def test_few_right_ones_may_be_chance_where_there_are_few(count, right, taken):
    inputs, labels = samples(count, right)
    if taken:
        assert int(prepare(classifier(), inputs, labels, fewest=0).correct.sum()) == right
        return
    with pytest.raises(NotMitigated, match="another order"):
        prepare(classifier(), inputs, labels, fewest=0)
