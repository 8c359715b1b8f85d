"""Slopes of losses by the logits, and gradients at inputs, against autograd."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from helpers.toy_networks import convolutional, smooth
from mmbd.base.errors import NotEvaluable
from mmbd.model.classifier import Classifier
from mmbd.search.slopes import cross_entropy, gradients

LOGITS = torch.tensor([[3.0, 1.0, 0.5], [0.2, -1.0, 0.1], [5.0, 5.5, -2.0], [1.0, 2.0, 3.0]])
LABELS = torch.tensor([0, 1, 0, 2])


def one_hot(logits, labels):
    return F.one_hot(labels, logits.shape[1]).to(logits)


LOSSES = {
    "cross-entropy": (cross_entropy, lambda x, y: F.cross_entropy(x, y, reduction="sum")),
    "logit": (one_hot, lambda x, y: x.gather(1, y[:, None]).sum()),
}


@pytest.mark.parametrize("name", LOSSES)
def test_slopes_are_the_derivatives_of_their_losses(name):
    slope, loss = LOSSES[name]
    leaf = LOGITS.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(leaf, LABELS), leaf)
    torch.testing.assert_close(slope(LOGITS, LABELS), expected)


@pytest.mark.parametrize("make", [smooth, convolutional])
@pytest.mark.parametrize("chunk", [1, 3, 64])
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_at_inputs_are_those_of_autograd_whatever_the_chunk(make, chunk, name):
    slope, loss = LOSSES[name]
    classifier = make()
    inputs = torch.stack([classifier.domain.sample(torch.Generator().manual_seed(i)) for i in range(7)])
    labels = torch.arange(7) % classifier.classes
    with classifier.frozen():
        logits, found = gradients(classifier, inputs, labels, slope, chunk=chunk)
        leaf = inputs.clone().requires_grad_()
        answers = classifier(leaf)
        (expected,) = torch.autograd.grad(loss(answers, labels), leaf)
    torch.testing.assert_close(logits, answers.detach())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert not inputs.requires_grad


def test_models_without_gradients_or_with_infinite_answers_are_not_evaluable():
    weight = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    deaf = Classifier(lambda x: x.detach() @ weight, input_shape=(6,))
    wild = Classifier(lambda x: x @ weight / (0.9 - x.amin(1, keepdim=True)).relu(), input_shape=(6,))
    with pytest.raises(NotEvaluable, match="no gradient"):
        gradients(deaf, torch.rand(2, 6), torch.zeros(2, dtype=torch.long), cross_entropy, chunk=2)
    with pytest.raises(NotEvaluable, match="not all finite"):
        gradients(wild, torch.full((2, 6), 0.95), torch.zeros(2, dtype=torch.long), cross_entropy, chunk=2)
