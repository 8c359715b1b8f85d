"""Universal perturbations on samples: within their radius, and the planted target before the others."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers import backdoored_networks
from helpers.universal_perturbations import IMAGES, norms, universal, valid
from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box
from mmbd.model.points import Points
from mmbd.model.samples import Samples, prepare
from mmbd.search.perturbations import possible_kinds
from mmbd.search.universal import AdaptivePerturbations, easiest_classes, find


def around(domain, classes: int = 3, seed: int = 0) -> tuple[Classifier, Samples]:
    torch.manual_seed(seed)
    clf = Classifier(
        nn.Sequential(nn.Flatten(), nn.Linear(math.prod(domain.shape), 8), nn.ReLU(), nn.Linear(8, classes)),
        domain=domain,
    )
    return clf, prepare(clf, valid(domain))


def found(clf: Classifier, samples: Samples, kind: str = "added", *, seed: int = 0, **options):
    with clf.frozen():
        return find(clf, samples, kind, generator=generator_for("test", seed), **options)


@settings(max_examples=10)
@given(
    domain=st.sampled_from([IMAGES, Box((6,)), Points(7, region="ball")]),
    kind=st.sampled_from(["added", "flow"]),
    seed=st.integers(0, 99),
    step=st.floats(0.05, 5),
)
def test_no_perturbation_leaves_its_radius(domain, kind, seed, step):
    if kind not in possible_kinds(domain):
        return
    clf, samples = around(domain)
    these = found(clf, samples, kind, seed=seed, steps=6, step=step)
    assert bool((norms(these) <= these.radius * (1 + 1e-4)).all())
    with clf.frozen():
        for _ in range(3):
            these = these.ascended(clf, samples.inputs, torch.arange(20) % 3, step)
    assert bool((norms(these) <= these.radius * (1 + 1e-4)).all())
    assert bool(torch.isfinite(these.values).all())


def test_the_planted_target_is_found_before_the_others():
    for target in (0, 2, 3):
        clf = backdoored_networks.vectors(target=target)
        samples = prepare(clf, *backdoored_networks.vector_samples())
        with backdoored_networks.untouched(clf):
            these = found(clf, samples)
        assert these.targets.tolist() == [0, 1, 2, 3]
        assert int(these.success.argmax()) == target
        assert float(these.success.max()) >= 0.8
        assert these.radius < 0.2  # it gave way before the radius reached its limit of 0.29
        assert easiest_classes(these).targets.tolist() == [target]
        rates = these.rates(clf, samples)
        assert float(rates[target]) > 0.9
        assert float(rates.sum() - rates[target]) == 0
        # It is the planted input that it moves most.
        assert int(these.values[target].abs().argmax()) == 63


def test_without_a_backdoor_the_radius_grows_to_its_limit():
    clf = backdoored_networks.vectors()
    with torch.no_grad():
        clf.model[0].weight[-1] = 0
    these = found(clf, prepare(clf, *backdoored_networks.vector_samples()), steps=60)
    assert these.radius == pytest.approx(2 * math.sqrt(64 / 3072))
    assert float(these.success.max()) == 0
    assert easiest_classes(these).targets.tolist() == [0, 1, 2, 3]


def test_a_warped_backdoor_gives_way_to_a_flow():
    class Column(nn.Module):
        """Class 1 where the eighth column is bright."""

        def forward(self, x):
            bright = 40 * (x[:, 0, :, 7] - 0.64).mean(1)
            return torch.stack((torch.zeros_like(bright), bright), dim=1)

    ramp = torch.linspace(0, 1, 12).expand(20, 1, 8, 12)  # 0.636 in that column
    clf = Classifier(Column(), input_shape=(1, 8, 12))
    samples = prepare(clf, ramp * torch.linspace(0.95, 1, 20)[:, None, None, None])
    assert not samples.labels.any()
    these = found(clf, samples, "flow")
    assert these.values.shape == (2, 2, 4, 4)
    assert float(these.success[1]) >= 0.8
    assert float(these.rates(clf, samples)[1]) > 0.8
    assert float(these.values[1, 0, :, 2].mean()) > 0.2  # it looks further to the right


@pytest.mark.parametrize("classes", [2, 30])
def test_few_and_many_classes(classes):
    clf = backdoored_networks.vectors(classes, target=1)
    samples = prepare(clf, *backdoored_networks.vector_samples(2 * classes, classes=classes))
    these = found(clf, samples, batch=7)
    assert len(these.values) == len(these.success) == classes
    assert int(these.success.argmax()) == 1
    some = found(clf, samples, targets=[1, 0])
    assert some.targets.tolist() == [1, 0]
    assert int(some.success.argmax()) == 0


def test_the_generator_decides():
    clf = backdoored_networks.vectors()
    samples = prepare(clf, *backdoored_networks.vector_samples())
    first, again, other = (found(clf, samples, seed=seed).values for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_class_that_has_all_samples_already_has_a_rate_of_zero():
    net = nn.Linear(4, 2)
    with torch.no_grad():
        net.bias.copy_(torch.tensor([100.0, 0]))
    clf = Classifier(net, input_shape=(4,))
    samples = prepare(clf, torch.rand(8, 4))
    these = universal(clf.domain, torch.zeros(2, 4))
    assert these.rates(clf, samples).tolist() == [0, 0]
    assert found(clf, samples, steps=3).success.tolist() == [0, 0]


def test_the_easiest_classes_are_what_comes_close_to_the_easiest():
    these = universal(Box((2,)), torch.arange(8.0).reshape(4, 2), radius=0.5)
    these = type(these)(**vars(these) | {"success": torch.tensor([0.4, 0.9, 0.1, 0.45])})
    close = easiest_classes(these)
    assert close.targets.tolist() == [1, 3]
    assert close.values.tolist() == [[2, 3], [6, 7]]
    assert close.success.tolist() == pytest.approx([0.9, 0.45])
    assert close.radius == pytest.approx(0.6)


def test_perturbations_adapt_to_the_network():
    clf = backdoored_networks.vectors()
    samples = prepare(clf, *backdoored_networks.vector_samples())
    with clf.frozen():
        adaptive = AdaptivePerturbations(clf, samples, ("added", "flow"), generator_for("test"))
        (first,) = adaptive.found  # vectors do not flow
        assert first.targets.tolist() == [2]
        (moved,) = adaptive.perturbed(clf, samples.inputs[:3])  # fewer than there are classes
        assert moved.shape == (3, 64)
        assert not moved.requires_grad
        assert not torch.equal(adaptive.adapted[0].values, first.values)
        assert torch.equal(adaptive.found[0].values, first.values)
        (row,) = adaptive.outcome(clf, lambda x: 0 * clf(x), samples)
    assert row["kind"] == "added"
    assert row["target"] == 2
    assert row["radius"] == first.radius
    assert row["before"] == pytest.approx(float(first.rates(clf, samples)))
    assert row["before"] > 0.9
    assert row["after"] == 0
    assert AdaptivePerturbations(clf, samples, (), generator_for("test")).perturbed(clf, samples.inputs) == []
