"""What networks and classifiers say of many inputs, in batches."""

from __future__ import annotations

import torch
from torch import nn

from mmbd.model.classifier import Classifier
from mmbd.model.forward import classes_of, logits_of, scaled
from mmbd.model.normalised import Normalisation, Normalised

SHAPE = (1, 4, 4)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    ).eval()


def images(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, *SHAPE), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def test_scaled_divides_bytes_only():
    assert scaled(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [0.0, 1.0]
    assert scaled(torch.tensor([0.0, 255.0], dtype=torch.float64)).tolist() == [0.0, 255.0]


def test_classes_do_not_depend_on_the_batch():
    net, inputs = network(), images(23)
    whole = classes_of(net, inputs)
    assert torch.equal(classes_of(net, inputs, batch=5), whole)
    assert whole.dtype == torch.int64
    assert classes_of(net, inputs[:0]).shape == (0,)
    assert torch.equal(logits_of(net, inputs, batch=5).argmax(1), whole)


def test_a_classifier_and_a_network_behind_its_normalisation_say_the_same():
    net, inputs = network(), images(7)
    behind = Normalised(net, Normalisation(0.4, (0.2,), SHAPE))
    clf = Classifier(net, input_shape=SHAPE, mean=0.4, std=0.2)
    assert torch.equal(logits_of(behind, inputs), logits_of(clf, inputs))
    assert not torch.equal(logits_of(net, inputs), logits_of(clf, inputs))


def test_a_classifier_is_asked_in_eval_mode_and_left_in_its_own():
    net = network().train()
    clf = Classifier(net, input_shape=SHAPE)
    before = net[1].running_mean.clone()
    assert not logits_of(clf, images(3)).requires_grad
    assert net[1].training
    assert torch.equal(net[1].running_mean, before)


class InPlace(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mul_(2).flatten(1)


def test_a_network_may_work_in_place_on_a_copy():
    inputs = torch.rand(2, *SHAPE)
    before = inputs.clone()
    assert torch.equal(Normalised(InPlace(), lambda x: x)(inputs), 2 * before.flatten(1))
    assert torch.equal(inputs, before)
