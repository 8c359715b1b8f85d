"""Universal perturbations: valid, within their radius, and the planted target before the others."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers import backdoored_networks
from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box
from mmbd.model.points import Points
from mmbd.model.samples import Samples, prepare
from mmbd.search.perturbations import Perturbations, possible_kinds
from mmbd.search.universal import AdaptivePerturbations, easiest_classes, find

IMAGES = Box((2, 8, 12), [0.0, -3.0], [1.0, 5.0])  # a range a channel, and not square


def noise(shape, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def valid(domain, count: int = 20) -> torch.Tensor:
    return torch.stack([domain.sample(generator_for("valid", i)) for i in range(count)])


def universal(domain, values: torch.Tensor, *, kind: str = "added", radius: float = 1.0):
    classes = len(values)
    return Perturbations(kind, domain, torch.arange(classes), values, radius, torch.zeros(classes))


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


# --------------------------------------------------------------------------------- what they change


@settings(max_examples=15)
@given(
    domain=st.sampled_from(
        [IMAGES, Box((6,)), Box((1, 50), -1, 1), Points(7), Points(7, region="ball", radius=2)]
    ),
    size=st.floats(0.01, 10),
    seed=st.integers(0, 99),
)
def test_perturbed_inputs_are_valid_and_each_has_its_own(domain, size, seed):
    values = size * noise((3, *domain.shape), seed)
    inputs, which = valid(domain, 4), torch.tensor([2, 0, 1, 2])
    moved = universal(domain, values)(inputs, which)
    torch.testing.assert_close(domain.project_(moved.clone()), moved)
    torch.testing.assert_close(moved, domain.project_(inputs + values[which]))
    torch.testing.assert_close(universal(domain, 0 * values)(inputs, which), inputs)


@given(side=st.tuples(st.integers(8, 13), st.integers(8, 13)))
def test_flows_of_zero_leave_images_as_they_are(side):
    domain = Box((2, *side))
    still = universal(domain, torch.zeros(1, 2, 4, 4), kind="flow")
    inputs = valid(domain, 2)
    torch.testing.assert_close(still(inputs, torch.zeros(2, dtype=torch.int64)), inputs)


@pytest.mark.parametrize(("axis", "across"), [(0, True), (1, False)])
def test_a_flow_of_one_moves_by_a_pixel(axis, across):
    values = torch.zeros(1, 2, 4, 4)
    values[:, axis] = 1
    inputs = valid(IMAGES, 2)
    moved = universal(IMAGES, values, kind="flow")(inputs, torch.tensor([0, 0]))
    if across:
        torch.testing.assert_close(moved[..., :-1], inputs[..., 1:], atol=1e-4, rtol=0)
        torch.testing.assert_close(moved[..., -1], inputs[..., -1], atol=1e-4, rtol=0)  # the edge
    else:
        torch.testing.assert_close(moved[..., :-1, :], inputs[..., 1:, :], atol=1e-4, rtol=0)


def test_flowed_images_stay_within_their_range():
    inputs, values = valid(IMAGES, 6), 3 * noise((2, 2, 4, 4))
    moved = universal(IMAGES, values, kind="flow")(inputs, torch.tensor([0, 1] * 3))
    torch.testing.assert_close(IMAGES.project_(moved.clone()), moved)
    assert not torch.allclose(moved, inputs, atol=0.1)


@pytest.mark.parametrize("domain", [IMAGES, Box((2, 40), -1, 3), Box((30,))], ids=str)
def test_a_sparse_perturbation_goes_to_the_ends_of_the_domain_in_the_places_of_most_worth(domain):
    worth = noise((2, *domain.shape))
    inputs, which = valid(domain, 4), torch.tensor([0, 1, 1, 0])
    moved = universal(domain, worth, kind="sparse", radius=5.0)(inputs, which)
    changed = (moved != inputs) if inputs.dim() == 2 else (moved != inputs).any(1)
    total = (worth * domain.extent).abs()
    total = total if inputs.dim() == 2 else total.sum(1)
    for row, one in enumerate(which.tolist()):
        best = total[one].flatten().topk(5).indices.tolist()
        assert set(changed[row].flatten().nonzero().flatten().tolist()) <= set(best)
        ends = torch.where(worth[one] > 0, domain.high, domain.low).expand(domain.shape)
        at = (moved[row] == ends).flatten(-1 if inputs.dim() == 2 else 1)
        assert bool((at if inputs.dim() == 2 else at.all(0))[best].all())


@pytest.mark.parametrize("kind", ["added", "sparse", "flow"])
def test_gradients_reach_every_perturbation(kind):
    shape = (2, 4, 4) if kind == "flow" else IMAGES.shape
    values = (noise((2, *shape)) if kind == "flow" else 20 * noise((2, *shape))).requires_grad_()
    moved = universal(IMAGES, values, kind=kind)(valid(IMAGES, 2), torch.tensor([0, 1]))
    weights = noise(moved.shape, 1)
    (moved * weights).sum().backward()
    assert bool((values.grad.flatten(1).abs().amax(1) > 0).all())
    if kind != "flow":  # as if nothing had been projected or left out, though most of it was
        torch.testing.assert_close(values.grad, weights)


# ------------------------------------------------------------------------------------ how they grow


def norms(these: Perturbations) -> torch.Tensor:
    unit = these.domain.extent if these.kind == "added" else torch.ones(())
    return (these.values / unit).flatten(1).norm(dim=1)


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


def test_a_step_raises_the_margins():
    domain = Box((6,), -1, 1)
    torch.manual_seed(0)
    clf = Classifier(nn.Linear(6, 3), domain=domain)
    inputs = torch.zeros(9, 6)
    start = universal(domain, torch.zeros(3, 6), radius=0.1)
    with clf.frozen():
        after = start.ascended(clf, inputs, torch.arange(9) % 3, 0.5)
    # Half a radius in the direction of the gradient, in units of an extent of 2.
    torch.testing.assert_close(norms(after), torch.full((3,), 0.05))
    with torch.no_grad():
        logits, before = clf(after.values), clf(inputs[:3])
    gained = logits - before
    assert gained.argmax(1).tolist() == [0, 1, 2]
    idle = start.ascended(clf, inputs, torch.zeros(9, dtype=torch.int64), 0.5)
    assert not idle.values[1:].any()  # what nobody tried stays


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


def test_rates_count_samples_of_other_classes():
    domain = Box((2,))
    clf = Classifier(nn.Identity(), domain=domain)  # the larger input is the class
    inputs = torch.tensor([[0.9, 0.1], [0.5, 0.4], [0.6, 0.1], [0.1, 0.9], [0.3, 0.9], [0.8, 0]])
    samples = prepare(clf, inputs)
    these = universal(domain, torch.tensor([[0.55, 0], [0, 0.3]]))
    # To class 0 goes none with 0.65 of 0.9 and none with 0.85; to class 1 one of four.
    assert these.rates(clf, samples).tolist() == [0, 0.25]
    assert these.only(torch.tensor([1])).rates(clf, samples, batch=3).tolist() == [0.25]


def test_a_class_that_has_all_samples_already_has_a_rate_of_zero():
    net = nn.Linear(4, 2)
    with torch.no_grad():
        net.bias.copy_(torch.tensor([100.0, 0]))
    clf = Classifier(net, input_shape=(4,))
    samples = prepare(clf, torch.rand(8, 4))
    these = universal(clf.domain, torch.zeros(2, 4))
    assert these.rates(clf, samples).tolist() == [0, 0]
    assert found(clf, samples, steps=3).success.tolist() == [0, 0]


# ----------------------------------------------------------------------------------------- the rest


def test_the_easiest_classes_are_what_comes_close_to_the_easiest():
    these = universal(Box((2,)), torch.arange(8.0).reshape(4, 2), radius=0.5)
    these = type(these)(**vars(these) | {"success": torch.tensor([0.4, 0.9, 0.1, 0.45])})
    close = easiest_classes(these)
    assert close.targets.tolist() == [1, 3]
    assert close.values.tolist() == [[2, 3], [6, 7]]
    assert close.success.tolist() == pytest.approx([0.9, 0.45])
    assert close.radius == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        (Box((3, 8, 8)), ("added", "sparse", "flow")),
        (Box((1, 8, 30)), ("added", "sparse", "flow")),
        (Box((3, 7, 30)), ("added", "sparse")),
        (Box((64,)), ("added", "sparse")),
        (Box((1, 100)), ("added", "sparse")),
        (Points(20), ("added", "sparse")),
    ],
    ids=str,
)
def test_only_images_flow(domain, expected):
    assert possible_kinds(domain) == expected


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
