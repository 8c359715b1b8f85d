"""The mark of the last linear layer is one of networks whose features are pooled."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmbd.base.errors import NotEvaluable
from mmbd.model.classifier import Classifier
from mmbd.search.head_shares import head_shares


def classifier(*last: nn.Module) -> Classifier:
    torch.manual_seed(0)
    return Classifier(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), *last), input_shape=(3, 6, 6))


def test_the_class_that_pooled_features_prefer_wins_most_draws():
    last = nn.Linear(8, 5)
    with torch.no_grad():
        last.weight[3] += 2.0  # more than all others together
    model = classifier(nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)
    shares = head_shares(model, seed=0)
    assert sum(shares) == pytest.approx(1)
    assert max(range(5), key=lambda label: shares[label]) == 3


def test_hidden_features_say_nothing():
    model = classifier(nn.Flatten(), nn.Linear(128, 8), nn.ReLU(), nn.Linear(8, 5))
    with pytest.raises(NotEvaluable, match="not pooled"):
        head_shares(model, seed=0)
