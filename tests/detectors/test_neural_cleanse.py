"""Neural Cleanse: its schedule, what it finds on a planted network, and what it says where it cannot."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import mmbd
from helpers import own_process
from helpers.patch_networks import CLASSES, PATCH, TARGET, patch_network, patch_samples
from helpers.planted_files import planted
from mmbd.search.cost_schedule import CostSchedule
from mmbd.workflows import scan_file as gate

QUICK = {"steps": 80, "batch": 24}


def schedule(**changes) -> CostSchedule:
    """Quick-tempered, so that a sequence of a few passes shows every rule."""
    settings = {"steps": 100, "goal": 0.99, "patience": 2, "first": 1e-3, "multiplier": 2.0, "progress": 1.0}
    return CostSchedule(**{**settings, "stop_early": True, **changes})


def scanned(detector: str, strength: float = 8.0, **options) -> mmbd.Report:
    network = options.pop("network", None) or patch_network(strength)
    samples = options.pop("samples", None) or patch_samples(bounds=network.domain.bounds)
    return mmbd.scan(network, detector=detector, samples=samples, **options)


@pytest.fixture(scope="module")
def report() -> mmbd.Report:
    return scanned("neural-cleanse", **QUICK)


def test_costs_follow_the_published_rules():
    plan, costs = schedule(), []
    for success in (1.0, 0.99, 1.0, 1.0, 0.9, 0.98, 1.0, 1.0, 0.5, 1.0, 0.5):
        plan.after(success, 10.0)
        costs.append(plan.weights[0])
    down = 2e-3 / 2**1.5
    assert costs == pytest.approx(
        [0, 1e-3, 2e-3, 2e-3, 2e-3, down, down, 2 * down, 2 * down, 2 * down, 2 * down]
    )


def test_the_cost_stays_zero_until_passes_in_a_row_succeed():
    plan = schedule()
    for success in (1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0):
        plan.after(success, 10.0)
        assert plan.weights == (0.0,)
    assert plan.went_down
    plan.after(1.0, 10.0)
    assert plan.weights == (1e-3,)
    assert not plan.went_down  # it starts anew with the first cost


def test_the_best_mask_is_the_smallest_of_a_successful_pass():
    plan = schedule()
    passes = [(0.5, 3.0), (1.0, 9.0), (0.9, 1.0), (1.0, 7.0), (1.0, 8.0), (0.99, 6.0)]
    assert [plan.after(*one)[1] for one in passes] == [False, True, False, True, False, True]


def test_a_search_ends_once_costs_went_both_ways_and_nothing_improves():
    plan, ends = schedule(patience=1, first=1.0), []
    for number in range(6):
        done, _ = plan.after(float(number == 0), 10.0)
        ends.append(done)
    assert ends == [False] * 5 + [True]  # five idle passes after the first


def test_progress_and_costs_that_went_one_way_alone_keep_a_search_alive():
    plan = schedule(patience=1)
    assert not any(plan.after(1.0, 10.0)[0] for _ in range(50))  # the cost never fell
    plan = schedule(patience=1)
    ends = [plan.after(float(number in (0, 4)), 10.0 - number)[0] for number in range(10)]
    assert ends == [False] * 9 + [True]  # five after the progress of the fifth pass
    patient = schedule(patience=1, stop_early=False, steps=30)
    assert [patient.after(float(number == 0), 10.0)[0] for number in range(30)] == [False] * 29 + [True]


def test_a_planted_patch_is_found_with_its_target_and_its_place(report):
    finding = report.finding
    assert report.verdict == "backdoored"
    assert report.targets == (TARGET,)
    assert finding.score > 2
    assert finding.score == pytest.approx(finding.columns[1].values[TARGET])
    norms = finding.columns[0].values
    assert norms[TARGET] == min(norms)
    mask = next(one.tensor for one in finding.artifacts if (one.kind, one.label) == ("trigger mask", TARGET))
    mask = mask.squeeze()
    assert float(mask[PATCH].sum()) > 0.9 * float(mask.sum())
    assert 1 < float(mask.sum()) < 9  # a fifth of a white patch is enough, of a darker one more
    assert finding.columns[2].values[TARGET] == 1


def test_the_clean_twin_is_not_flagged():
    finding = scanned("neural-cleanse", 0.0, **QUICK).finding
    assert finding.verdict == "clean"
    assert finding.targets == ()
    assert None not in finding.columns[0].values


def test_the_same_seed_gives_the_same_and_rows_change_nothing_but_rounding(report):
    again = scanned("neural-cleanse", **QUICK).finding
    assert again == report.finding
    apart = scanned("neural-cleanse", rows=2, **QUICK).finding
    assert apart.columns[0].values == pytest.approx(report.finding.columns[0].values, rel=1e-3)
    assert apart.targets == report.targets
    other = scanned("neural-cleanse", seed=1, **QUICK).finding
    assert other.columns[0].values != report.finding.columns[0].values


def deaf_to(label: int):
    """The backdoored network, one of whose classes nothing leads to."""
    network = patch_network()
    inner = network.model.forward
    network.model.forward = lambda x: inner(x).index_fill(1, torch.tensor(label), -50.0)
    return network


def test_a_class_that_nothing_leads_to_is_left_out_and_said():
    finding = scanned("neural-cleanse", network=deaf_to(4), **QUICK).finding
    assert finding.columns[0].values[4] is None
    assert finding.columns[1].values[4] is None
    assert finding.columns[2].values[4] == 0
    assert finding.ranking[-1] == 4
    assert 4 not in {one.label for one in finding.artifacts}
    assert finding.facts["reached"] == CLASSES - 1
    assert any("to 4" in caveat for caveat in finding.caveats)
    assert finding.targets == (TARGET,)


def test_too_many_classes_without_a_trigger_leave_nothing_to_compare():
    network = patch_network()
    inner = network.model.forward
    network.model.forward = lambda x: inner(x).index_fill(1, torch.tensor([0, 1]), -50.0)
    report = scanned("neural-cleanse", network=network, **QUICK)
    assert report.verdict == "not evaluable"
    assert "4 classes" in report.finding.reason


def test_one_class_that_is_hard_to_reach_is_no_backdoor():
    network = patch_network(0.0)
    inner = network.model.forward
    network.model.forward = lambda x: inner(x) - 3.0 * torch.nn.functional.one_hot(torch.tensor(5), CLASSES)
    report = scanned("neural-cleanse", network=network, **QUICK)
    norms = report.finding.columns[0].values
    assert norms[5] == max(norms)
    assert report.finding.columns[1].values[5] < -2
    assert report.verdict == "clean"


def test_the_box_of_the_inputs_does_not_matter(report):
    wide = scanned("neural-cleanse", network=patch_network(bounds=(-3.0, 5.0)), **QUICK).finding
    assert wide.targets == (TARGET,)
    assert wide.columns[0].values == pytest.approx(report.finding.columns[0].values, rel=0.02)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps must be a whole number from 1"),
        ({"patience": 1.5}, "patience must be a whole number"),
        ({"lr": 0}, "lr must be above 0"),
        ({"cost": math.nan}, "cost must be above 0"),
        ({"goal": 1.5}, r"goal must be in \(0, 1\]"),
        ({"threshold": -1}, "threshold must be above 0"),
        ({"tresh": 2}, "unknown option 'tresh'"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_runs(options, words):
    with pytest.raises(ValueError, match=words):
        scanned("neural-cleanse", **options)


@pytest.mark.parametrize("detector", ["neural-cleanse", "tabor"])
def test_too_few_classes_to_compare_is_exit_code_3(tmp_path, detector):
    model = planted(tmp_path / "m.safetensors", gain=1.0, classes=4)
    x = np.zeros((40, 16), np.float32)
    x[np.arange(40), np.arange(40) % 4] = 1
    np.savez(tmp_path / "clean.npz", x=x.reshape(-1, 1, 4, 4), y=np.arange(40) % 4)
    done = own_process.mmbd("scan", model, "--detector", detector, "--data", tmp_path / "clean.npz")
    assert done.returncode == gate.REFUSED == 3, done.stderr
    assert "4 classes" in done.stdout
