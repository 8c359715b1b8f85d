"""Kinds of universal perturbations: valid inputs, the places of most worth, gradients, steps, rates."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers.universal_perturbations import IMAGES, noise, norms, universal, valid
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box
from mmbd.model.points import Points
from mmbd.model.samples import prepare
from mmbd.search.perturbations import KINDS, possible_kinds


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


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_perturbation(kind):
    shape = KINDS[kind].shape(IMAGES)
    values = (noise((2, *shape)) if kind == "flow" else 20 * noise((2, *shape))).requires_grad_()
    moved = universal(IMAGES, values, kind=kind)(valid(IMAGES, 2), torch.tensor([0, 1]))
    weights = noise(moved.shape, 1)
    (moved * weights).sum().backward()
    assert bool((values.grad.flatten(1).abs().amax(1) > 0).all())
    if kind != "flow":  # as if nothing had been projected or left out, though most of it was
        torch.testing.assert_close(values.grad, weights)


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


def test_rates_count_samples_of_other_classes():
    domain = Box((2,))
    clf = Classifier(nn.Identity(), domain=domain)  # the larger input is the class
    inputs = torch.tensor([[0.9, 0.1], [0.5, 0.4], [0.6, 0.1], [0.1, 0.9], [0.3, 0.9], [0.8, 0]])
    samples = prepare(clf, inputs)
    these = universal(domain, torch.tensor([[0.55, 0], [0, 0.3]]))
    # To class 0 goes none with 0.65 of 0.9 and none with 0.85; to class 1 one of four.
    assert these.rates(clf, samples).tolist() == [0, 0.25]
    assert these.only(torch.tensor([1])).rates(clf, samples, batch=3).tolist() == [0.25]


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
