"""Universal perturbations: exact gains of linear models, planted triggers, and independence."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

import mmbd
from mmbd.base.errors import Failed
from mmbd.base.seeds import generator_for
from mmbd.model.domain import Box, smooth
from mmbd.model.points import Points
from mmbd.search.perturbations import LEAST_PLACES
from mmbd.search.universal_data_free import Search, universal_gains


class Patterns(nn.Module):
    """Class c likes pattern c; class `target` also likes a few pixels in a corner, by `weight`."""

    def __init__(self, classes: int = 6, target: int = 2, weight: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.body = nn.Linear(3 * 8 * 8, classes)
        with torch.no_grad():
            self.body.weight.copy_(torch.randn(self.body.weight.shape, generator=generator) / 8)
            self.body.bias.zero_()
            corner = torch.zeros(3, 8, 8)
            corner[:, :2, :2] = weight
            self.body.weight[target] += corner.flatten()

    def forward(self, x):
        return self.body(x.flatten(1))


def classifier(**arguments) -> mmbd.Classifier:
    return mmbd.Classifier(Patterns(**arguments), input_shape=(3, 8, 8))


def test_the_gain_of_a_linear_model_is_the_norm_of_its_difference():
    """Two classes, no bound in the way: the gain is size * sqrt(n) * |w0 - w1|."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    clf = mmbd.Classifier(net, input_shape=(3, 4, 4), bounds=(-50, 50))
    weight = net[1].weight.detach()
    found = universal_gains(clf, size=1e-4)
    expected = 1e-4 * 100 * math.sqrt(48) * float((weight[0] - weight[1]).norm())
    assert found.added.tolist() == pytest.approx([expected, expected], rel=1e-3)


@pytest.mark.parametrize("shape", [(3, 10, 20), (1, 200), (200,)])
def test_the_sparse_gain_of_a_linear_model_is_that_of_its_best_places(shape):
    """Two classes: the places whose way to the better end of the box is worth most."""
    generator = torch.Generator().manual_seed(2)
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.randn(net[1].weight.shape, generator=generator))
    low, high = torch.full(shape, -1.0), torch.full(shape, 1.0)
    low.flatten()[::2] = -3.0  # what an element can do counts, and not its weight alone
    domain = Box(shape, low, high)
    clf = mmbd.Classifier(net, domain=domain)
    found = universal_gains(clf, inputs=1, settling=1, attempts=1)
    start = _only_input(clf)
    slope = (net[1].weight[0] - net[1].weight[1]).detach().view(shape)
    for sign, gain in zip((1, -1), found.sparse.tolist(), strict=True):
        worth = (sign * slope * domain.extent).abs()
        places = worth.sum(0).flatten() if len(shape) > 1 else worth
        best = places.topk(max(LEAST_PLACES, len(places) // 100)).indices
        ends = torch.where(sign * slope > 0, high, low)
        each = sign * slope * (ends - start)
        each = each.sum(0).flatten() if len(shape) > 1 else each
        assert gain == pytest.approx(float(each[best].sum()), rel=1e-3)


def _only_input(clf: mmbd.Classifier) -> torch.Tensor:
    """The input that a search with one input, moved once at most, works on."""
    seen: list[torch.Tensor] = []
    spy = mmbd.Classifier(lambda x: (seen.append(x.detach()), clf(x))[1], domain=clf.domain)
    universal_gains(spy, inputs=1, settling=1, attempts=1)
    return seen[-2 * 6][0]  # six steps of either kind


def test_a_planted_trigger_stands_out_and_a_clean_model_has_none():
    planted = universal_gains(classifier(weight=3.0))
    assert int(planted.gains.argmax()) == 2
    assert float(planted.gains[2]) > 2 * float(planted.gains.topk(2).values[1])
    assert float(planted.moved[2]) == 1.0
    clean = universal_gains(classifier())
    first, second = clean.gains.topk(2).values.tolist()
    assert first < 1.5 * second
    assert bool((clean.gains >= 0).all())
    assert bool((clean.moved <= 1).all())


def test_neither_batch_nor_memory_changes_the_result():
    clf = classifier(weight=1.0)
    whole = universal_gains(clf, batch=1000)
    for batch in (1, 7, 25):
        part = universal_gains(clf, batch=batch)
        torch.testing.assert_close(part.gains, whole.gains, rtol=1e-4, atol=1e-6)
        assert part.evaluations == whole.evaluations
    assert whole.evaluations <= 2 * (2 * 6 * 10 * 6 + 10 * 20)


def test_the_model_is_left_as_it_was():
    net = Patterns().train()
    before = [parameter.clone() for parameter in net.parameters()]
    with torch.inference_mode():
        universal_gains(mmbd.Classifier(net, input_shape=(3, 8, 8)))
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_seeds_repeat():
    clf = classifier(weight=1.0)
    one, same = universal_gains(clf, seed=4), universal_gains(clf, seed=4)
    other = universal_gains(clf, seed=5)
    assert torch.equal(one.gains, same.gains)
    assert not torch.equal(one.gains, other.gains)


class Hungry(nn.Module):
    """Runs out of memory for more than `most` inputs."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.inner = most, Patterns()

    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.inner(x)


def test_out_of_memory_halves_the_batch_and_loses_nothing():
    whole = universal_gains(classifier())
    hungry = mmbd.Classifier(Hungry(7), input_shape=(3, 8, 8))
    found = universal_gains(hungry, batch=60)
    assert found.oom_retries == 3  # 60, 30, 15, 7
    torch.testing.assert_close(found.gains, whole.gains, rtol=1e-4, atol=1e-6)
    assert found.evaluations == whole.evaluations
    starved = Hungry(7)
    clf = mmbd.Classifier(starved, input_shape=(3, 8, 8))
    starved.most = 0
    with pytest.raises(Failed, match="single input"):
        universal_gains(clf, batch=4)


def test_other_errors_are_not_swallowed():
    class Broken(Hungry):
        def forward(self, x):
            if len(x) > 7:
                raise RuntimeError("a bug")
            return self.inner(x)

    clf = mmbd.Classifier(Broken(7), input_shape=(3, 8, 8))
    with pytest.raises(RuntimeError, match="a bug"):
        universal_gains(clf, batch=60)


def test_a_class_that_takes_every_input_is_still_measured():
    net = Patterns()
    with torch.no_grad():
        net.body.bias[3] = 1000.0
    found = universal_gains(mmbd.Classifier(net, input_shape=(3, 8, 8)))
    assert bool(torch.isfinite(found.gains).all())
    assert float(found.gains[3]) > 0


def test_progress_counts_classes_and_evaluations():
    seen: list[tuple[int, int]] = []
    found = universal_gains(classifier(), batch=20, progress=lambda done, spent: seen.append((done, spent)))
    assert sorted({done for done, _ in seen}) == [0, 2, 4, 6]
    assert seen[-1] == (6, found.evaluations)
    # Between two of them no more is done than one step of the inputs side by side.
    spent = [0, *(evaluations for _, evaluations in seen)]
    assert all(0 <= after - before <= 20 for before, after in pairwise(spent))


@pytest.mark.parametrize(
    "domain",
    [
        Box((3, 32, 32)),
        Box((1, 8000), -1, 1),
        Box((5,)),
        Box((2, 3, 3)),
        Box((1, 4, 6, 6)),
        Box((3, 16, 16), low=[0, -1, 2], high=[1, 1, 3]),
        Points(40),
        Points(40, region="ball"),
    ],
)
def test_made_up_inputs_are_valid_and_smooth_where_that_means_something(domain):
    x = smooth(domain, generator_for("a", 1))
    assert x.shape == domain.shape
    assert torch.equal(domain.project_(x.clone()[None])[0], x)
    assert torch.equal(x, smooth(domain, generator_for("a", 1)))
    if domain.shape in ((3, 32, 32), (1, 8000)):
        noise = domain.sample(generator_for("a", 1))
        assert float(x.diff(dim=-1).abs().mean()) < 0.5 * float(noise.diff(dim=-1).abs().mean())


@pytest.mark.parametrize("shape", [(1, 800), (20,)])
def test_sounds_and_flat_vectors(shape):
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 5))
    found = universal_gains(mmbd.Classifier(net, input_shape=shape, bounds=(-1, 1)))
    assert found.gains.shape == (5,)
    assert bool((found.gains > 0).all())


@pytest.mark.parametrize(
    "wrong",
    [
        {"inputs": 0},
        {"steps": 0},
        {"size": 0.0},
        {"momentum": 1.0},
        {"stride": -1.0},
        {"share": 0.0},
        {"share": 1.5},
    ],
)
def test_bad_settings(wrong):
    with pytest.raises(ValueError, match="must be"):
        Search(**wrong)


def test_a_batch_must_be_positive():
    with pytest.raises(ValueError, match="batch"):
        universal_gains(classifier(), batch=0)
