"""Made-up inputs: in their class, in the domain, and dependent on (seed, number) alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from helpers.patch_networks import patch_network
from helpers.toy_networks import convolutional
from mmbd.base.errors import NotEvaluable
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box, Domain
from mmbd.model.points import Points
from mmbd.search import slopes
from mmbd.search.made_up import MADE_UP, made_up
from mmbd.search.pool import margins
from mmbd.search.scenes import DRAWN

DOMAINS: dict[str, Domain] = {
    "grey": Box((1, 28, 20), 0, 255),
    "colour": Box((3, 16, 16), (-2.0, -1.8, -1.5), (2.0, 2.2, 2.5)),
    "sound": Box((2, 900), -1, 1),
    "points": Points(60, radius=2.0),
    "ball": Points(60, region="ball"),
    "vector": Box((24,), -1, 1),
    "volume": Box((2, 6, 6, 6)),
}


def linear(domain: Domain, classes: int = 5) -> Classifier:
    """Logits are linear in the inputs' places from the middle of the domain, so that all classes occur."""
    generator = torch.Generator().manual_seed(0)
    size = torch.Size(domain.shape).numel()
    weight = torch.randn(size, classes, generator=generator)
    return Classifier(lambda x: x.flatten(1) / float(domain.extent.max()) @ weight, domain=domain)


def valid(inputs: Tensor, domain: Domain) -> bool:
    return bool(torch.allclose(domain.project_(inputs.clone()), inputs, atol=1e-6))


@pytest.mark.parametrize("kind", MADE_UP)
@pytest.mark.parametrize("name", DOMAINS)
def test_every_kind_on_every_domain_that_has_it(kind, name):
    domain = DOMAINS[name]
    model = linear(domain)
    if not MADE_UP[kind].possible(domain):
        with pytest.raises(ValueError, match=kind):
            made_up(kind, model, 5, seed=0)
        return
    made = made_up(kind, model, 8, seed=0)
    assert 0 < len(made.samples.labels) <= 8 <= made.tried
    assert made.samples.inputs.shape[1:] == domain.shape
    assert valid(made.samples.inputs, domain)
    assert torch.equal(made.samples.labels, model(made.samples.inputs).argmax(1))
    assert (made.evaluations > 0) == (kind != "scenes")


@pytest.mark.parametrize("kind", MADE_UP)
def test_fewer_inputs_in_other_batches_are_the_first_of_more(kind):
    model = convolutional()
    with model.frozen():
        few, more = (made_up(kind, model, n, seed=3, batch=b) for n, b in ((4, 3), (9, 64)))
    same = more.samples.inputs[: len(few.samples.inputs)]
    assert torch.allclose(few.samples.inputs, same, atol=1e-3)
    other = made_up(kind, model, 4, seed=4)
    assert not torch.allclose(other.samples.inputs[0], same[0], atol=1e-2)


def test_further_steps_make_margins_firm():
    model = patch_network(0.0)
    short, firm = (made_up("firm", model, 12, seed=0, further=steps) for steps in (1, 20))
    just, solid = (margins(made.samples.logits, made.samples.labels) for made in (short, firm))
    assert float(just.min()) > 0
    assert float(solid.median()) > 3 * float(just.median())
    assert len(firm.samples.labels.unique()) == model.classes


def test_inputs_that_do_not_reach_their_class_are_left_out():
    away = torch.tensor([0.0, 0.0, 0.0, -1e3])

    def network(x: Tensor) -> Tensor:
        return x.flatten(1)[:, :4] + away

    model = Classifier(network, input_shape=(1, 4, 4))
    made = made_up("firm", model, 8, seed=0)
    assert (made.tried, len(made.samples.labels)) == (8, 6)
    assert 3 not in made.samples.labels
    constant = Classifier(lambda x: x.flatten(1)[:, :2] * 0 + torch.tensor([0.0, 0.0]), input_shape=(1, 2, 2))
    with pytest.raises(NotEvaluable, match="came into a class"):
        made_up("firm", constant, 4, seed=0, settling=3)


def test_smooth_inputs_have_no_fine_noise():
    model = convolutional()
    firm, smooth = (made_up(kind, model, 6, seed=0).samples.inputs for kind in ("firm", "smooth"))

    def fine(x: Tensor) -> float:
        lower = torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return float((x - lower).square().mean() / x.var())

    assert fine(smooth) < 0.5 * fine(firm)


def test_scenes_hold_at_most_so_many_of_a_class():
    made = made_up("scenes", convolutional(), 20, seed=0, most=3, draws=6)
    assert int(made.samples.labels.bincount().max()) <= 3
    assert made.evaluations == 0


def test_dead_leaves_have_edges_and_flat_places():
    x = DRAWN["image"](Box((3, 32, 32)), 0, range(6))
    steps = x.diff(dim=3).abs().amax(1).flatten()
    assert float((steps < 0.02).double().mean()) > 0.5
    assert float((steps > 0.2).double().mean()) > 0.05
    assert torch.equal(x[4], DRAWN["image"](Box((3, 32, 32)), 0, range(4, 5))[0])


def test_sounds_are_heard_and_begin_at_different_times():
    x = DRAWN["sound"](Box((1, 4000), -1, 1), 0, range(8))
    assert bool((x.abs().amax((1, 2)) >= 0.19).all())
    loud = x.abs() > 0.1 * x.abs().amax(2, keepdim=True)
    assert len({int(row.nonzero()[0]) for row in loud[:, 0]}) > 4


def test_the_slope_of_a_margin_is_its_derivative():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    (expected,) = torch.autograd.grad(margins(logits, labels).sum(), logits)
    assert torch.equal(slopes.margin(logits.detach(), labels), expected)


def test_no_such_kind():
    with pytest.raises(ValueError, match="firn"):
        made_up("firn", convolutional(), 4, seed=0)
