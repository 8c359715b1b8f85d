"""TrojanNetDetector with a few clean images: a planted trigger is found, and how it searches."""

from __future__ import annotations

import math

import pytest
import torch

import mmbd
from helpers.dark_patch_networks import CLASSES, TARGET, network, samples
from mmbd.model.samples import prepare
from mmbd.search import proximal_masks
from mmbd.search.proximal_masks import Problem, Run, Search, away, shortfall, shrunk_, slope
from mmbd.search.proximal_plans import Bisection, Once

QUICK = {"values": 4}


def run(success: bool, area: float = 1.0) -> Run:
    return Run(1.0, success, 1.0, area, torch.zeros(1, 2), torch.zeros(1), torch.zeros(1))


def values(report: mmbd.Report, name: str) -> list[float]:
    column = report.finding.column(name)
    assert column is not None
    return [math.nan if value is None else value for value in column.values]


def test_the_proximal_step_takes_off_and_stays_in_zero_to_one():
    mask = torch.tensor([[0.05, 0.5, -0.3], [0.25, 1.4, 0.1]])
    shrunk_(mask, torch.tensor([[0.1], [0.25]]))
    torch.testing.assert_close(mask, torch.tensor([[0.0, 0.4, 0.0], [0.0, 1.0, 0.0]]))


def test_an_image_falls_short_of_a_class_or_of_leaving_it():
    logits = torch.tensor([[5.0, 2.0, 1.0]]).expand(4, -1)
    wanted = torch.tensor([0, 1, -1, -2])
    assert torch.equal(wanted[2:], away(torch.tensor([0, 1])))
    assert shortfall(logits, wanted).tolist() == [-3.0, 3.0, 3.0, -3.0]
    towards, leaving = [1.0, -1.0, 0.0], [1.0, -1.0, 0.0]
    assert slope(logits, wanted, 15.0).tolist() == [[-1.0, 1.0, 0.0], towards, leaving, [-1.0, 1.0, 0.0]]
    assert slope(logits, wanted, 2.0).tolist() == [[0.0] * 3, towards, leaving, [0.0] * 3]


def test_the_slope_is_that_of_the_hinge():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    wanted = torch.tensor([0, 1, 2, -1, -2, -4])
    (expected,) = torch.autograd.grad(shortfall(logits, wanted).clamp_min(-0.5).sum(), logits)
    torch.testing.assert_close(slope(logits.detach(), wanted, 0.5), expected)


def test_bisection_closes_in_on_the_smallest_c_that_succeeds():
    plan, tried = Bisection(0.01, 6.0, 8), list[float]()
    done = False
    while not done:
        tried.append(plan.c)
        done = plan.ended(run(plan.c > 1.0, area=plan.c))
    assert tried[:3] == pytest.approx([0.01, 3.005, 1.5075])
    assert len(tried) == 8
    assert abs(tried[-1] - 1.0) < 6 / 2**6
    assert len(plan.kept) == sum(c > 1 for c in tried)
    assert plan.smallest is not None
    assert plan.smallest.area == min(c for c in tried if c > 1)


def test_empty_masks_and_failures_are_not_kept():
    plan = Bisection(0.01, 6.0, 3)
    assert [plan.ended(run(True, area=0.0)), plan.ended(run(False)), plan.ended(run(False))] == [0, 0, 1]
    assert not plan.kept
    assert plan.smallest is None


def test_both_of_adams_steps_count_as_one_so_that_masks_grow():
    """With a constant gradient every step of Adam's own count is lr, which c = 1 takes off again."""
    model = network(60.0)
    clean = prepare(model, *samples())
    plan = Once(1.0)
    problem = Problem(model, clean, lr=0.1, steps=40)
    one = [Search(torch.tensor([1]), torch.tensor([TARGET]), plan)]
    with model.frozen():
        rows = problem.begin(one)
        early = [float((problem.advance(rows), rows.mask[0, 3:, 3:].max())[1]) for _ in range(39)]
    assert max(early[:8]) == 0
    assert early[-1] > 0.3


def test_runs_that_cannot_fill_a_mask_end_at_once(monkeypatch):
    model = network(60.0)
    clean = prepare(model, *samples())
    ends: list[tuple[int, float]] = []
    for below in (proximal_masks.EMPTY_BELOW, 0.0):
        monkeypatch.setattr(proximal_masks, "EMPTY_BELOW", below)
        plan = Bisection(0.12, 6.0, 1)
        places = torch.arange(len(clean.labels))
        with model.frozen():
            stats = proximal_masks.search(
                Problem(model, clean, lr=0.01, steps=30),
                [Search(places, away(clean.labels), plan)],
                len(places),
            )
        ends.append((stats.evaluations, plan.areas[0]))
    assert ends == [(2 * 24, 0.0), (30 * 2 * 24, 0.0)]


def test_a_dark_patch_is_found_and_its_target_named():
    report = mmbd.scan(network(60.0), detector="tnd", samples=samples(), **QUICK)
    assert report.verdict == "backdoored"
    assert report.targets == (TARGET,)
    assert values(report, "taken alone")[TARGET] == 1.0
    kinds = {
        artifact.kind: artifact.tensor for artifact in report.finding.artifacts if artifact.label == TARGET
    }
    mask = kinds["trigger mask"]
    assert mask.shape == (1, 6, 6)
    assert float(mask[:, 3:, 3:].sum()) > 0.8 * float(mask.sum()) > 0
    assert float(kinds["trigger pattern"].max()) < 0.02


def test_nothing_is_found_in_the_same_network_without_it():
    report = mmbd.scan(network(0.0), detector="tnd", samples=samples(), **QUICK)
    assert report.verdict == "clean"
    assert max(values(report, "similarity")) < 0.75


def test_a_class_without_a_perturbation_is_marked_and_left_out():
    report = mmbd.scan(network(60.0), detector="tnd", samples=samples(), values=2, goal=0.8)
    missed = [label for label in range(CLASSES) if math.isnan(values(report, "similarity")[label])]
    assert 0 < len(missed) < CLASSES
    assert TARGET not in missed
    assert set(report.finding.ranking[-len(missed) :]) == set(missed)
    assert "nothing is said of such classes" in report.finding.caveats[0]
    none = mmbd.scan(network(60.0), detector="tnd", samples=samples(), values=1)
    assert none.verdict == "not evaluable"
    assert "for no class" in str(none.finding.reason)


@pytest.mark.parametrize("compare", ["logits", "features"])
def test_rows_change_nothing_but_rounding(compare):
    options = {"values": 2, "steps": 40, "compare": compare, "goal": 0.5}
    many, few = (
        mmbd.scan(network(60.0), detector="tnd", samples=samples(2), rows=rows, **options)
        for rows in (None, 20)
    )
    assert values(many, "similarity") == pytest.approx(values(few, "similarity"), abs=1e-4, nan_ok=True)
    assert values(many, "mask area") == pytest.approx(values(few, "mask area"), abs=1e-3, nan_ok=True)
    assert many.finding.facts["evaluations"] == few.finding.facts["evaluations"]


@pytest.mark.parametrize("options", [{"steps": 0}, {"lr": 0}, {"goal": 1}, {"compare": "pixels"}])
def test_senseless_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        mmbd.scan(network(60.0), detector="tnd", samples=samples(), **options)
