"""The search for masks and patterns: its derivatives, its minibatches, its box, and its rows."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F

from helpers.patch_networks import CLASSES, patch_network, patch_prepared
from helpers.toy_networks import smooth
from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box
from mmbd.model.samples import Samples
from mmbd.search.mask_pattern import Problem, search
from mmbd.search.passes import Search, minibatches
from mmbd.search.stamping import box, channels_first, channels_last, pulled, squashed, stamped, unsquashed


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@dataclass
class Steps:
    """A schedule of some passes with one cost; a pass counts if `goal` of the images went over."""

    steps: int
    cost: float = 0.01
    goal: float = 0.9
    passes: int = 0
    smallest: float = float("inf")

    @property
    def weights(self):
        return (self.cost,)

    def after(self, success, norm):
        self.passes += 1
        better = success >= self.goal and norm < self.smallest
        self.smallest = min(norm, self.smallest) if better else self.smallest
        return self.passes >= self.steps, better


def test_stamping_replaces_what_lies_under_the_mask():
    images, mask, pattern = drawn(2, 5, 4, 4, 3), drawn(2, 4, 4, 1, seed=1), drawn(2, 4, 4, 3, seed=2)
    expected = (1 - mask[:, None]) * images + mask[:, None] * pattern[:, None]
    torch.testing.assert_close(stamped(images, mask, pattern), expected)


def test_what_is_pulled_back_has_the_derivatives_of_autograd():
    images = drawn(2, 5, 4, 4, 3)
    mask, pattern = drawn(2, 4, 4, 1, seed=1).requires_grad_(), drawn(2, 4, 4, 3, seed=2).requires_grad_()
    leaf = stamped(images, mask, pattern)
    loss = (leaf.sin() * drawn(2, 5, 4, 4, 3, seed=3)).square().sum()
    wanted = torch.autograd.grad(loss, (mask, pattern), retain_graph=True)
    (gradient,) = torch.autograd.grad(loss, leaf)
    found = torch.autograd.grad(pulled(gradient, images, mask, pattern), (mask, pattern))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_the_loss_of_a_step_has_the_derivatives_of_cross_entropy_and_cost():
    classifier = smooth()
    inputs = torch.stack([classifier.domain.sample(torch.Generator().manual_seed(i)) for i in range(9)])
    samples = Samples(inputs, torch.arange(9) % 4, classifier(inputs).detach())
    problem = Problem(classifier, samples)
    with classifier.frozen():
        rows = problem.begin([0, 2], lambda label: _search(label, Steps(1, cost=0.3)), seed=0)
        places, labels = torch.tensor([[0, 3, 5], [8, 1, 0]]), torch.tensor([0, 2])
        values = rows.values.clone().requires_grad_()
        loss, hits = problem.loss(rows, places, labels, *problem.form(values))
        (found,) = torch.autograd.grad(loss, values)
        leaf = rows.values.clone().requires_grad_()
        total = torch.zeros(())
        for row in range(2):
            mask, pattern = (
                leaf[row, ..., :1].tanh() / 2 + 0.5,
                -1 + 3 * (leaf[row, ..., 1:].tanh() / 2 + 0.5),
            )
            shown = (1 - mask) * channels_last(inputs[places[row]]) + mask * pattern
            logits = classifier(channels_first(shown))
            total = total + F.cross_entropy(logits, labels[row].expand(3)) + 0.3 * mask.sum()
            assert torch.equal(hits[row], logits.argmax(1) == labels[row])
        (expected,) = torch.autograd.grad(total, leaf)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def _search(label, schedule):
    return Search(label, schedule, minibatches(9, 3, generator_for("test", label)))


@pytest.mark.parametrize(("count", "size"), [(10, 3), (10, 10), (7, 32), (100, 32), (5, 1)])
def test_every_pass_shows_every_image_in_minibatches_of_one_length(count, size):
    parts = minibatches(count, size, generator_for("order", 0))
    steps = -(-count // size)
    length = -(-count // steps)
    passes = [torch.cat([next(parts) for _ in range(steps)]) for _ in range(3)]
    for places in passes:
        assert len(places) == steps * length
        assert set(places.tolist()) == set(range(count))
        # What comes twice fills up the last minibatch alone.
        assert len(set(places[:count].tolist())) == count
        assert length <= size
    assert count == 1 or not all(torch.equal(passes[0], other) for other in passes[1:])


def test_squashing_is_undone_and_stays_inside():
    values = drawn(1000)
    torch.testing.assert_close(squashed(unsquashed(values)), values, rtol=0, atol=1e-6)
    far = squashed(torch.tensor([-100.0, 100.0]))
    assert far.tolist() == pytest.approx([0, 1], abs=1e-6)


def test_patterns_fill_a_box_whose_bounds_differ_by_channel():
    domain = Box((3, 2, 2), low=(-1.0, 0.0, 2.0), high=(1.0, 4.0, 3.0))
    low, extent = box(domain, torch.zeros(1))
    assert low.flatten().tolist() == [-1, 0, 2]
    assert extent.flatten().tolist() == [2, 4, 1]
    weight = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
    classifier = Classifier(lambda x: x.flatten(1) @ weight, domain=domain)
    inputs = torch.stack([domain.sample(torch.Generator().manual_seed(i)) for i in range(4)])
    problem = Problem(classifier, Samples(inputs, torch.zeros(4).long(), classifier(inputs)))
    values = torch.stack([torch.full((2, 2, 4), value) for value in (-100.0, 0.0, 100.0)])
    mask, pattern = problem.form(values)
    assert mask.shape == (3, 2, 2, 1)
    for row, share in enumerate((0, 0.5, 1)):
        expected = [-1 + 2 * share, 4 * share, 2 + share]
        assert pattern[row, 0, 0].tolist() == pytest.approx(expected, abs=1e-5)
        assert mask[row].flatten().tolist() == pytest.approx([share] * 4, abs=1e-5)


def test_inputs_that_are_in_no_box_are_refused():
    class Ball:
        shape, extent, bounds = (3,), torch.ones(()), None

    with pytest.raises(ValueError, match="in a box"):
        box(Ball(), torch.zeros(1))  # type: ignore[arg-type]


def run(rows, *, classifier=None, seed=0, passes=6):
    classifier = classifier or patch_network()
    problem = Problem(classifier, patch_prepared(classifier), batch=7)
    with classifier.frozen():
        return search(problem, lambda label: Steps(passes + label % 3), seed=seed, rows=rows)


@pytest.mark.parametrize("rows", [1, 3, None])
def test_rows_side_by_side_change_nothing_but_rounding(rows):
    found, stats = run(rows)
    reference, _ = run(CLASSES)
    assert list(found) == list(range(CLASSES))
    assert stats.evaluations == 4 * 6 * sum(6 + label % 3 for label in range(CLASSES))
    for label, one in found.items():
        other = reference[label]
        torch.testing.assert_close(one.mask, other.mask, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(one.pattern, other.pattern, rtol=1e-4, atol=1e-5)
        assert one.curve == pytest.approx(other.curve, rel=1e-5)
        assert len(one.curve) == 6 + label % 3
        assert (one.reached, one.success) == (other.reached, other.success)


def test_the_seed_decides_where_a_search_begins():
    assert run(None)[0][0].mask.equal(run(None)[0][0].mask)
    assert not run(None, seed=1)[0][0].mask.allclose(run(None)[0][0].mask, atol=1e-3)


def test_what_is_found_is_measured_on_images_of_other_classes_in_their_own_form():
    found, _ = run(None, passes=40)
    one = found[2]
    assert one.reached
    assert one.mask.shape == (12, 12)
    assert one.pattern.shape == (3, 12, 12)
    assert one.norm == pytest.approx(float(one.mask.sum()), rel=1e-5)
    classifier = patch_network()
    samples = patch_prepared(classifier)
    others = samples.inputs[samples.labels != 2]
    shown = (1 - one.mask) * others + one.mask * one.pattern
    assert one.success == float((classifier(shown).argmax(1) == 2).double().mean())
    # The best pass is kept, not the last one.
    assert one.norm <= min(one.curve) * 1.2


def test_memory_that_runs_out_changes_nothing():
    network = patch_network()
    inner, calls = network.model.forward, []

    def tight(x):
        calls.append(len(x))
        if len(calls) == 9:
            raise MemoryError
        return inner(x)

    reference, _ = run(None)
    network.model.forward = tight
    found, stats = run(None, classifier=network)
    assert stats.oom_retries == 1
    for label, one in found.items():
        torch.testing.assert_close(one.mask, reference[label].mask, rtol=1e-4, atol=1e-5)
