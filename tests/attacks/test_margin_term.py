"""Maximum margins in a loss: their value, their gradient, and what they must not touch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from helpers.toy_networks import linear, linear_optimum
from helpers.toy_victims import SHAPE, pictures, victim
from mmbd.attacks.margin_term import MarginTerm, classifier_of, evaluating, fit, gradient_norm
from mmbd.model.classifier import Classifier
from mmbd.search import pool


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(first, second) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_it_is_the_weighted_sum_of_the_maxima():
    model = linear(4, 6)
    classifier = Classifier(model, input_shape=(6,))
    term = MarginTerm(classifier, {2: 0.5, 0: -2.0}, seed=0, steps=60)
    expected = 0.5 * linear_optimum(model, 2) - 2 * linear_optimum(model, 0)
    assert term(model).item() == pytest.approx(expected, rel=0.02)
    assert len(term.inputs) == 2


def test_its_gradient_is_that_of_the_margins_at_the_maximisers():
    made = victim()
    classifier = classifier_of(made)
    term = MarginTerm(classifier, {1: 0.5, 3: -2.0}, seed=0)
    made.network.train()
    term(made.network).backward()
    found = [weight.grad.clone() for weight in made.network.parameters()]
    made.network.zero_grad()
    made.network.eval()
    logits = made.network(made.normalise(term.inputs))
    margins = [
        logits[row, label] - torch.cat((logits[row, :label], logits[row, label + 1 :])).max()
        for row, label in enumerate((1, 3))
    ]
    (0.5 * margins[0] - 2 * margins[1]).backward()
    for weight, gradient in zip(made.network.parameters(), found, strict=True):
        torch.testing.assert_close(gradient, weight.grad)
    assert any(float(gradient.norm()) > 0 for gradient in found)


@pytest.mark.parametrize("training", [True, False])
def test_running_statistics_modes_and_gradients_stay(training):
    made = victim()
    made.network.train(training)
    term = MarginTerm(classifier_of(made), {0: 1.0}, seed=0, refresh=1)
    before = state(made.network)
    for _ in range(3):
        assert term(made.network).requires_grad
    assert same(before, made.network.state_dict())
    assert all(module.training == training for module in made.network.modules())
    assert all(weight.requires_grad and weight.grad is None for weight in made.network.parameters())


def test_searches_go_on_from_where_they_stood():
    made = victim()
    made.network.eval()
    term = MarginTerm(classifier_of(made), {0: 1.0}, seed=0, steps=3, refresh=2)
    values, inputs = [], []
    for _ in range(8):
        values.append(term(made.network).item())
        inputs.append(term.inputs)
    assert values == sorted(values)  # the network stays, so the best can only be bettered
    assert values[-1] > values[0]
    assert all(torch.equal(inputs[call], inputs[call + 1]) for call in (0, 2, 4, 6))
    assert not torch.equal(inputs[1], inputs[2])


def test_inputs_stay_in_the_domain_and_follow_from_the_seed():
    made = victim()

    def inputs(seed: int) -> torch.Tensor:
        term = MarginTerm(classifier_of(made), {0: 1.0, 2: 1.0}, seed=seed, refresh=1)
        for _ in range(2):
            term(made.network)
        return term.inputs

    first = inputs(0)
    assert first.shape == (2, *SHAPE)
    assert 0 <= float(first.min()) <= float(first.max()) <= 1
    torch.manual_seed(99)
    assert torch.equal(first, inputs(0))
    assert not torch.equal(first, inputs(1))


@pytest.mark.parametrize("change", [{"restarts": 1}, {"refresh": 0}])
def test_settings_that_leave_nothing_to_search(change):
    classifier = Classifier(linear(4, 6), input_shape=(6,))
    with pytest.raises(ValueError, match="expected restarts >= 2 and refresh >= 1"):
        MarginTerm(classifier, {0: 1.0}, seed=0, **change)


def test_fit_reports_both_gradients_at_some_ten_steps():
    made = victim(epochs=3)
    kept = fit(made, made.training, {0: 0.1}, clip=0.5, refresh=4)
    assert (kept["clip"], kept["refresh"]) == (0.5, 4)
    norms = kept["gradient_norms"]
    assert set(norms) == {"cross_entropy", "margins"}
    for values in norms.values():
        assert 8 <= len(values) <= 12
        assert all(value > 0 for value in values)
    assert not made.network.training


def test_the_weight_of_the_margins_is_in_the_gradient():
    starts = []
    for beta in (0.1, 0.3):
        made = victim(epochs=1)
        starts.append(fit(made, made.training, {0: beta})["gradient_norms"]["margins"][0])
    assert starts[1] == pytest.approx(3 * starts[0], rel=1e-4)


def test_a_gradient_norm_spans_all_weights_and_keeps_the_graph():
    model = nn.Linear(2, 1)
    model.unused = nn.Linear(3, 3)
    x = torch.tensor([[3.0, 4.0]])
    loss = 2 * model(x).sum()  # the gradient is 2 * (3, 4) and 2
    assert gradient_norm(loss, model) == pytest.approx((36 + 64 + 4) ** 0.5)
    loss.backward()


def test_the_classifier_has_the_normalisation_inside_and_the_domain_of_the_data():
    made = victim()
    classifier = classifier_of(made)
    assert classifier.domain.bounds == (0, 1)
    x = torch.rand(3, *SHAPE)
    with evaluating(made.network), torch.no_grad():
        torch.testing.assert_close(classifier(x), made.network(made.normalise(x)))
    floats = replace(made.training, inputs=made.training.inputs.float() / 255 * 2 - 1)
    assert classifier_of(replace(made, training=floats)).domain.bounds == (-1, 1)
    given = classifier.domain
    assert classifier_of(replace(made, training=floats), given).domain is given


def test_margins_at_an_input_are_the_pool_s():
    made = victim(pictures(60))
    classifier = classifier_of(made)
    term = MarginTerm(classifier, {2: 1.0}, seed=3)
    value = term(made.network)
    with torch.no_grad(), classifier.frozen():
        margin = pool.margins(classifier(term.inputs), torch.tensor([2]))
    assert value.item() == pytest.approx(float(margin), rel=1e-5)
