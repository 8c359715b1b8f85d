"""The pool of searches: margins, single steps, and rows that are retired and refilled."""

from __future__ import annotations

import pytest
import torch

from helpers.search_batches import CLIMB, HILLS, armed, plain, run, searches
from helpers.toy_networks import linear, peaks
from mmbd.model.classifier import Classifier
from mmbd.search import pool

# -------------------------------------------------------------------------------------- margins


@pytest.mark.parametrize(
    ("logits", "label", "margin"),
    [
        ([3.0, 1.0, 2.0], 0, 1.0),
        ([3.0, 1.0, 2.0], 1, -2.0),
        ([-2e6, -1e6, -3e6], 0, -1e6),  # a constant of 1000 would mask nothing here
        ([-2e6, -1e6, -3e6], 1, 1e6),
        ([0.0, -1e6, -1e6], 1, -1e6),
        ([5.0, 5.0, 1.0], 0, 0.0),
        ([5.0, 5.0, 1.0], 1, 0.0),
        ([5.0, 5.0, 5.0], 2, 0.0),
        ([1.0, 4.0], 0, -3.0),
        ([1.0, -torch.inf, -torch.inf, 0.5], 0, 0.5),
    ],
)
def test_margins(logits, label, margin):
    rows = torch.tensor([logits, logits])
    assert pool.margins(rows, torch.tensor([label, label])).tolist() == [margin, margin]


def test_margins_of_every_row_match_masking():
    logits = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 7
    masked = logits.scatter(1, labels[:, None], -torch.inf)
    expected = logits.gather(1, labels[:, None])[:, 0] - masked.amax(1)
    assert torch.equal(pool.margins(logits, labels), expected)


def test_the_gradient_goes_to_the_class_and_one_rival():
    logits = torch.tensor([[5.0, 5.0, 5.0, 1.0]], requires_grad=True)
    pool.margins(logits, torch.tensor([1])).sum().backward()
    gradient = logits.grad[0]
    assert float(gradient[1]) == 1
    assert sorted(gradient[[0, 2, 3]].tolist()) == [-1, 0, 0]


# ---------------------------------------------------------------------------------------- steps


@pytest.mark.parametrize("count", [1, 30])
def test_each_restart_gets_its_own_whole_gradient(count):
    # The mean over the restarts, an easy mistake, would make the steps `count` times smaller.
    model = linear(2, 6)
    clf = Classifier(model, input_shape=(6,), bounds=(-10, 10))
    found, _ = run(
        clf,
        searches(2, count),
        plain(3, 0.01),
        start=lambda restart: torch.full((6,), restart / 10),  # far from the bounds
    )
    square = float((model.weight[0] - model.weight[1]).detach().square().sum())
    for search in found.values():
        assert search.curve.diff().tolist() == pytest.approx([0.01 * square] * 2, rel=1e-3)


def test_plain_steps_have_no_momentum():
    # On a quadratic, x - 1/2 shrinks by 1 - 2 * size a step: no more, no less.
    clf = Classifier(peaks(torch.full((1, 1), 0.5), torch.zeros(1)), input_shape=(1,))
    found, _ = run(clf, [(0, 0)], plain(8, 0.1, tolerance=0.0), start=lambda _: torch.tensor([0.9]))
    expected = [-((0.4 * 0.8**step) ** 2) for step in range(8)]
    assert found[0, 0].curve.tolist() == pytest.approx(expected, abs=1e-6)


def cliff(x):
    """A hill at 1/2 with a cliff above 0.8, from where a first step leaves [0, 1] far below."""
    height = -(x - 0.5).square() - 10 * torch.relu(x - 0.8)
    return torch.cat((height, torch.zeros_like(x)), dim=1)


def test_projection_returns_where_clamping_sticks():
    clf = Classifier(cliff, input_shape=(1,))
    settings = {"steps": 200, "size": 0.2, "tolerance": 1e-9}
    projected, _ = run(clf, [(0, 0)], plain(**settings), start=lambda _: torch.tensor([0.9]))
    assert projected[0, 0].margin == pytest.approx(0, abs=1e-6)
    assert float(projected[0, 0].input) == pytest.approx(0.5, abs=1e-3)
    clamp = plain(**settings, constraint="clamp")
    clamped, _ = run(clf, [(0, 0)], clamp, start=lambda _: torch.tensor([0.9]))
    assert clamped[0, 0].margin == -0.25  # stuck at the border, where the gradient is cut off
    assert float(clamped[0, 0].input) == 0.0  # the point it was measured at: inside
    assert clamped[0, 0].steps < 200
    assert clamped[0, 0].converged


def test_the_best_margin_counts_not_the_last():
    # Steps that overshoot ever further: the start is the best point there is.
    clf = Classifier(peaks(torch.full((1, 1), 0.5), torch.ones(1)), input_shape=(1,))
    found, _ = run(clf, [(0, 0)], plain(6, 1.25), start=lambda _: torch.tensor([0.55]))
    search = found[0, 0]
    assert search.curve.argmax() == 0
    assert search.curve[-1] < search.curve[0] - 0.01
    assert search.margin == pytest.approx(1 - 0.05**2)
    assert search.input.tolist() == pytest.approx([0.55])


def test_the_start_is_not_changed():
    origin = torch.full((6,), 0.5)
    clf = Classifier(linear(3, 6), input_shape=(6,))
    run(clf, searches(3, 2), plain(5, 0.1), start=lambda _: origin)
    assert origin.tolist() == [0.5] * 6


# -------------------------------------------------------------------------- retiring, refilling


@pytest.mark.parametrize("batch", [1, 4, 7, 100])
def test_rows_are_refilled_until_the_pool_is_empty(batch):
    clf, record = armed(HILLS, HILLS)
    work = searches(3, 8)
    ticks = []
    found, stats = run(clf, work, CLIMB, batch=batch, progress=ticks.append)
    assert set(found) == set(work)
    steps = {key: search.steps for key, search in found.items()}
    assert len(set(steps.values())) > 3  # they end at different times
    assert all(search.converged for search in found.values())
    assert stats.evaluations == sum(steps.values()) == sum(record.batches)
    assert (stats.batch, stats.oom_retries) == (batch, 0)
    assert ticks == torch.tensor(record.batches).cumsum(0).tolist()
    # Full while searches wait, then draining: no slot is ever empty in between.
    assert record.batches[0] == min(batch, len(work))
    assert record.batches == sorted(record.batches, reverse=True)


@pytest.mark.parametrize("batch", [1, 3, 7, 24])
def test_batch_and_order_change_nothing_but_rounding(batch):
    clf = Classifier(HILLS, input_shape=(6,))
    reference, _ = run(clf, searches(3, 8), CLIMB)
    for work in (searches(3, 8), searches(3, 8)[::-1], searches(3, 8)[::2]):
        found, _ = run(clf, work, CLIMB, batch=batch)
        assert set(found) == set(work)
        for key, search in found.items():
            assert search.margin == pytest.approx(reference[key].margin, rel=1e-6)
            assert search.steps == reference[key].steps
            torch.testing.assert_close(search.curve, reference[key].curve)
            torch.testing.assert_close(search.input, reference[key].input)


def test_curves_hold_one_margin_a_step():
    clf = Classifier(HILLS, input_shape=(6,))
    found, _ = run(clf, searches(3, 8), CLIMB, batch=5)
    for search in found.values():
        assert len(search.curve) == search.steps <= CLIMB.steps
        assert bool(torch.isfinite(search.curve).all())
        assert search.margin == float(search.curve.max())
        change = search.curve.diff().abs() / search.curve[:-1].abs()
        assert float(change[-1]) <= 1e-4  # it stopped as soon as the change was small
        assert bool((change[:-1] > 1e-4).all())


def test_convergence_is_relative_however_small_the_margins():
    tiny = Classifier(lambda x: 1e-6 * HILLS(x), input_shape=(6,))
    found, _ = run(tiny, searches(3, 4), plain(60, 1e5, tolerance=1e-4))
    usual, _ = run(Classifier(HILLS, input_shape=(6,)), searches(3, 4), CLIMB)
    for key, search in usual.items():
        assert found[key].steps == pytest.approx(search.steps, abs=1)
        assert found[key].margin == pytest.approx(1e-6 * search.margin, rel=1e-4)


def test_patience_waits_for_several_stalled_steps():
    clf = Classifier(HILLS, input_shape=(6,))
    once, _ = run(clf, [(0, 0)], CLIMB)
    patient, _ = run(clf, [(0, 0)], plain(200, 0.1, tolerance=1e-4, patience=4))
    assert patient[0, 0].steps == once[0, 0].steps + 3


def test_the_step_limit_is_not_convergence():
    clf = Classifier(HILLS, input_shape=(6,))
    found, stats = run(clf, searches(3, 2), plain(4, 0.1, tolerance=0.0))
    assert {(search.steps, search.converged) for search in found.values()} == {(4, False)}
    assert stats.evaluations == 24


# ----------------------------------------------------------------------------------- dead starts


def test_dead_starts_are_counted():
    def half_dead(x):
        alive = torch.relu(x[:, :1] - 0.5)
        return torch.cat((alive, torch.zeros(len(x), 1), torch.full((len(x), 1), -1.0)), dim=1)

    clf = Classifier(half_dead, input_shape=(2,))
    starts = {0: 0.2, 1: 0.8, 2: 0.4, 3: 0.6}
    found, _ = run(
        clf,
        [(0, restart) for restart in starts],
        plain(50, 0.1),
        start=lambda restart: torch.full((2,), starts[restart]),
        batch=2,
    )
    assert [restart for restart in starts if found[0, restart].zero_gradient] == [0, 2]
    assert found[0, 1].margin == pytest.approx(0.5)
    assert found[0, 0].margin == 0


def test_a_gradient_that_vanishes_later_is_not_a_dead_start():
    plateau = Classifier(
        lambda x: torch.cat((x.clamp(max=0.8), torch.zeros_like(x)), dim=1), input_shape=(1,)
    )
    found, _ = run(plateau, [(0, 0)], plain(50, 0.1), start=lambda _: torch.tensor([0.65]))
    assert found[0, 0].margin == pytest.approx(0.8)
    assert not found[0, 0].zero_gradient
