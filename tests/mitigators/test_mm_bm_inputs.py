"""The default bounds on every kind of input, precision and classifier."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from torch import nn

from helpers import backdoored_networks
from mmbd import nets
from mmbd.base.seeds import generator_for
from mmbd.mitigators import mitigate, mm_bm
from mmbd.model.activations import find
from mmbd.model.bounded import Bounded
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box
from mmbd.model.forward import logits_of
from mmbd.model.points import Points
from mmbd.model.samples import prepare

DOMAINS = {
    "sound": ("m5", {"width": 2}, Box((1, 8000), -1, 1)),
    "cloud in a cube": ("dgcnn", {"k": 3, "width": 2}, Points(12)),
    "cloud in a ball": ("pointnet", {"width": 4}, Points(12, region="ball")),
    "flat": ("mlp", {"hidden": (8, 6), "nonlinearity": "elu"}, Box((20,), -2, 3)),
    "grey image": ("cnn", {"widths": (4, 4), "nonlinearity": "gelu"}, Box((1, 10, 12))),
}


@pytest.mark.parametrize("name", DOMAINS)
def test_every_domain(name):
    arch, arguments, domain = DOMAINS[name]
    torch.manual_seed(0)
    net = nets.build(arch, classes=3, input_shape=domain.shape, **arguments).eval()
    for weight in net.parameters():
        if weight.dim() > 1:
            weight.data.mul_(2)  # so that answers differ
    clf = Classifier(net, domain=domain)
    inputs = torch.stack([domain.sample(generator_for("inputs", i)) for i in range(12)])
    with backdoored_networks.untouched(clf):
        made = mm_bm(clf, prepare(clf, inputs), steps=3, perturbations=("added", "flow"))
    record = made.record
    assert made.classifier.domain is domain
    assert isinstance(made.classifier.model, Bounded)
    assert len(record.layers) == len(find(clf))
    assert record.accuracy[1] >= 0.97
    assert {row["kind"] for row in record.perturbations} == (
        {"added", "flow"} if name == "grey image" else {"added"}
    )
    assert bool(torch.isfinite(logits_of(made.classifier, inputs)).all())
    json.dumps(dataclasses.asdict(record), allow_nan=False)


def test_a_class_that_has_all_samples_already():
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        net[2].bias.copy_(torch.tensor([100.0, 0]))
    clf = Classifier(net, input_shape=(4,))
    made = mitigate(clf, torch.rand(8, 4), [0, 1] * 4, steps=2)
    assert {row["target"] for row in made.record.perturbations} <= {0, 1}
    json.dumps(dataclasses.asdict(made.record), allow_nan=False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(dtype):
    clf = backdoored_networks.vectors()
    clf = clf.around(clf.model.to(dtype))
    made = mm_bm(clf, prepare(clf, *backdoored_networks.vector_samples()), steps=12)
    assert made.classifier.model.limits[0].upper.dtype == dtype
    assert backdoored_networks.vector_rates(made.classifier) == (1, 0)


def test_a_repaired_classifier_may_be_repaired_again():
    clf = backdoored_networks.vectors()
    samples = prepare(clf, *backdoored_networks.vector_samples())
    first = mm_bm(clf, samples, steps=6)
    again = prepare(first.classifier, *backdoored_networks.vector_samples())
    with backdoored_networks.untouched(first.classifier):
        second = mm_bm(first.classifier, again, steps=6)
    assert isinstance(second.classifier.model.network, Bounded)
    assert backdoored_networks.vector_rates(second.classifier) == (1, 0)
