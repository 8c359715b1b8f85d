"""TABOR: its objective against the formulas, its weights, and what it finds on a planted network."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import mmbd
from helpers.patch_networks import CLASSES, PATCH, TARGET, patch_network, patch_prepared, patch_samples
from helpers.toy_networks import convolutional
from mmbd.base.seeds import generator_for
from mmbd.model.samples import Samples
from mmbd.search.cost_schedule import CostSchedule
from mmbd.search.passes import Search, minibatches
from mmbd.search.regularised import RegularisedProblem, RegularisedSchedule, roughness, size
from mmbd.search.stamping import channels_first, channels_last

QUICK = {"steps": 250, "batch": 24}
ALL = (1e-3, 1e-6, 1e-2, 1e-7, 0.7, 0.4)  # every term has a say


def scanned(strength: float = 8.0, bounds=(0.0, 1.0), **options) -> mmbd.Report:
    network = patch_network(strength, bounds)
    settings = {"samples": patch_samples(bounds=bounds), **QUICK, **options}
    return mmbd.scan(network, detector="tabor", **settings)


@pytest.fixture(scope="module")
def report() -> mmbd.Report:
    return scanned()


def formula(classifier, images, truth, target, mask, pattern, weights, cost):
    """The objective for one class, image by image, for inputs from 0 to 1."""
    logits = classifier(channels_first((1 - mask) * images + mask * pattern))
    unused = (1 - mask) * pattern * 255

    def rough(values):
        return (values[1:] - values[:-1]).square().sum() + (values[:, 1:] - values[:, :-1]).square().sum()

    target = torch.tensor([target])
    terms = (
        mask.sum() + mask.norm(),
        unused.sum() + unused.norm(),
        rough(mask),
        rough(unused),
        F.cross_entropy(classifier(channels_first((1 - mask) * images)), truth),
        F.cross_entropy(classifier(channels_first((mask * pattern)[None])), target),
    )
    loss = F.cross_entropy(logits, target.expand(len(images))) + cost * mask.sum()
    return loss + sum(weight * term for weight, term in zip(weights, terms, strict=True)), terms


@pytest.mark.parametrize("blank", [True, False])
def test_the_derivatives_are_those_of_the_formula(blank):
    classifier = convolutional()
    shape = classifier.domain.shape
    inputs = torch.rand(9, *shape, generator=torch.Generator().manual_seed(0))
    samples = Samples(inputs, torch.arange(9) % 5, classifier(inputs).detach())
    terms = tuple(weight if blank or place != 4 else 0.0 for place, weight in enumerate(ALL))
    problem = RegularisedProblem(classifier, samples, 3, blank=blank, tell=True)
    assert problem.each == (7 if blank else 4)
    heard = {}

    def start(label):
        plan = RegularisedSchedule(CostSchedule.fixed(1, 0.9, 0.01), terms)
        plan.felt = lambda sizes: heard.__setitem__(label, sizes)
        return Search(label, plan, minibatches(9, 3, generator_for("test", label)))

    with classifier.frozen():
        rows = problem.begin([0, 3], start, seed=0)
        places, labels = torch.tensor([[0, 3, 5], [8, 1, 0]]), torch.tensor([0, 3])
        values = rows.values.clone().requires_grad_()
        loss, hits = problem.loss(rows, places, labels, *problem.form(values))
        (found,) = torch.autograd.grad(loss, values)
        leaf = rows.values.clone().requires_grad_()
        total = torch.zeros(())
        for row, label in enumerate((0, 3)):
            mask, pattern = problem.form(leaf[row : row + 1])
            images, truth = channels_last(inputs[places[row]]), samples.labels[places[row]]
            one, sizes = formula(classifier, images, truth, label, mask[0], pattern[0], terms, 0.01)
            total = total + one
            expected = [float(size.detach()) for size in sizes]
            if not blank:
                expected[4] = 0.0
            assert heard[label] == pytest.approx(expected, rel=1e-4)
        (expected,) = torch.autograd.grad(total, leaf)
    assert hits.shape == (2, 3)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_sizes_and_roughness_of_a_known_picture():
    values = torch.zeros(2, 3, 3, 1)
    values[0, 1, 1] = 0.5  # an island: four borders
    values[1, :, 0] = 2.0  # a stripe: three borders
    assert size(values).tolist() == pytest.approx([1.0, 6 + 12**0.5])
    assert roughness(values).tolist() == [1.0, 12.0]


def plan(adaptive: bool = True, terms=(1e-6, 1e-5, 1e-7, 1e-8, 0.0, 1e-2)) -> RegularisedSchedule:
    return RegularisedSchedule(CostSchedule.fixed(100, 0.99, 1e-3), terms, adaptive)


def test_weights_stay_as_they_are_unless_they_are_to_adapt():
    fixed = plan(adaptive=False)
    fixed.felt([1e9] * 6)
    fixed.after(1.0, 10.0)
    assert fixed.weights == (1e-3, 1e-6, 1e-5, 1e-7, 1e-8, 0.0, 1e-2)


def test_adaptive_weights_follow_the_rules():
    adaptive = plan()
    assert adaptive.weights == (1e-3, 1e-4, 1e-4, 1e-4, 1e-4, 0.0, 1e-4)
    for part in ([2000.0, 999.0, 0.0, 1500.0, 50.0, 9.0], [200.0, 1003.0, 0.0, 600.0, 50.0, 12.0]):
        adaptive.felt(part)  # means of 1100, 1001, 0, 1050, 50 and 10.5
    adaptive.after(0.96, 10.0)
    assert adaptive.terms == (2e-4, 2e-4, 1e-4, 2e-4, 0.0, 2e-4)
    adaptive.felt([2000.0] * 6)
    adaptive.after(0.92, 10.0)  # neither high nor low
    assert adaptive.terms == (2e-4, 2e-4, 1e-4, 2e-4, 0.0, 2e-4)
    adaptive.felt([2000.0] * 6)
    adaptive.after(0.89, 10.0)
    assert adaptive.terms == (1e-4, 1e-4, 5e-5, 1e-4, 0.0, 1e-4)
    assert adaptive.weights[0] == 1e-3


def test_the_best_mask_is_the_smallest_of_a_successful_pass_and_all_passes_are_taken():
    short = RegularisedSchedule(CostSchedule.fixed(4, 0.99, 0.0), (0.0,) * 6)
    passes = [(0.5, 3.0), (1.0, 9.0), (0.99, 7.0), (1.0, 8.0)]
    assert [short.after(*one) for one in passes] == [
        (False, False),
        (False, True),
        (False, True),
        (True, False),
    ]


def test_a_planted_patch_is_found_with_its_target_and_its_place(report):
    finding = report.finding
    assert report.targets == (TARGET,)
    norms = finding.columns[0].values
    assert norms[TARGET] == min(norms)
    assert None not in norms
    parts = {one.kind: one.tensor for one in finding.artifacts if one.label == TARGET}
    mask = parts["trigger mask"].squeeze()
    # Six of a hundred pixels are the patch; some bright ones elsewhere stay with the mask that R1 gave them.
    assert float(mask[PATCH].sum()) > 0.6 * float(mask.sum())
    # What the mask does not use has become black; with Neural Cleanse it stays as it was drawn.
    unused = (1 - mask) * parts["trigger pattern"]
    assert float(unused.mean()) < 0.02


def test_the_clean_twin_is_not_flagged():
    assert scanned(0.0).verdict == "clean"


def test_neither_rows_nor_the_box_of_the_inputs_matter(report):
    norms = report.finding.columns[0].values
    assert scanned().finding == report.finding
    assert scanned(rows=2).finding.columns[0].values == pytest.approx(norms, rel=1e-3)
    wide = scanned(bounds=(-3.0, 5.0)).finding
    assert wide.targets == (TARGET,)
    assert wide.columns[0].values == pytest.approx(norms, rel=0.02)


def test_evaluations_count_the_trigger_alone_and_the_images_without_its_region():
    steps = {"steps": 2, "batch": 10}  # three minibatches of eight
    assert scanned(**steps).finding.facts["evaluations"] == CLASSES * 2 * 3 * (8 + 1)
    more = scanned(**steps, weights=ALL).finding
    assert more.facts["evaluations"] == CLASSES * 2 * 3 * (2 * 8 + 1)
    assert more.settings["weights"] == list(ALL)


def test_the_cost_follows_neural_cleanse_unless_it_is_to_stay():
    steps = {"steps": 20, "batch": 24, "early_stop": None}
    rising = scanned(**steps, patience=1).finding.columns[0].values
    fixed = scanned(**steps, patience=None).finding.columns[0].values
    assert rising[TARGET] < fixed[TARGET]


def test_the_logarithm_of_the_norm_may_be_compared_instead(report):
    finding = scanned(score="log norm").finding
    assert finding.columns[0] == report.finding.columns[0]
    logs = torch.tensor(finding.columns[0].values).double().log()
    deviations = 1.4826 * (logs - logs.quantile(0.5)).abs().quantile(0.5)
    expected = (logs.quantile(0.5) - logs) / deviations
    assert finding.columns[1].values == pytest.approx(expected.tolist())
    assert finding.settings["score"] == "log norm"


def test_adaptive_weights_run_and_differ():
    steps = {"steps": 30, "batch": 24}
    assert scanned(**steps, adaptive=True).finding.columns[0] != scanned(**steps).finding.columns[0]


def test_the_third_regulariser_needs_labels():
    inputs, _ = patch_samples()
    with pytest.raises(ValueError, match="needs the samples' labels"):
        scanned(samples=inputs, weights=ALL)
    assert scanned(samples=inputs, steps=2).finding.facts["evaluations"] > 0
    assert patch_prepared(patch_network()).own is False


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weights": (1, 2, 3)}, "weights must be six numbers"),
        ({"weights": (1, 2, 3, 4, 5, -6)}, "weights must be six numbers"),
        ({"weights": "123456"}, "weights must be six numbers"),
        ({"cost": -1}, "cost must be at least 0"),
        ({"steps": 0}, "steps must be a whole number"),
        ({"lr": -1}, "lr must be above 0"),
        ({"patience": 0}, "patience must be a whole number"),
        ({"score": "size"}, "unknown score 'size'"),
        ({"kind": 3}, "unknown option 'kind'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        scanned(**options)
