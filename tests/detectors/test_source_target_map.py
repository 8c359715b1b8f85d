"""The map of universal perturbations by source: a column, a cell, or nothing that stands out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import mmbd
from mmbd.detectors.source_target_map import leads_of, shares_of
from mmbd.model.samples import prepare
from mmbd.search.perturbations import Perturbations

CLASSES, SHAPE, TARGET, SOURCE = 6, (1, 8, 8), 3, 1


class Toy(nn.Module):
    """Class c is pixel c. Pixel 60 leads to class 3: from all classes, from class 1 alone, or not."""

    def __init__(self, trigger: str) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.trigger = trigger

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(1)
        logits = self.scale * pixels[:, :CLASSES]
        if self.trigger == "none":
            return logits
        needed = 1.0 if self.trigger == "one source" else 0.0
        seen = pixels[:, 60] + needed * (pixels[:, SOURCE] - 1)
        return logits + 600 * torch.eye(CLASSES)[TARGET] * seen.clamp_min(0)[:, None]


def clean(count: int = 36) -> tuple[Tensor, Tensor]:
    labels = torch.arange(count) % CLASSES
    inputs = torch.zeros(count, 64)
    inputs[torch.arange(count), labels] = 1
    return inputs.view(-1, *SHAPE), labels


def scanned(trigger: str, **options) -> mmbd.Report:
    model = mmbd.Classifier(Toy(trigger), input_shape=SHAPE)
    return mmbd.scan(model, detector="source-target-map", samples=clean(), **{"kinds": ("added",), **options})


def matrix(report: mmbd.Report, name: str) -> Tensor:
    (found,) = (one for one in report.finding.matrices if one.name == name)
    return torch.tensor([[math.nan if x is None else x for x in row] for row in found.values])


def test_a_trigger_for_all_sources_is_a_full_column():
    report = scanned("all sources")
    assert (report.verdict, report.targets) == ("backdoored", (TARGET,))
    assert report.finding.decided_by == "added, all sources"
    shares = matrix(report, "added, all sources")
    assert shares.diagonal().isnan().all()
    assert shares[:, TARGET].nanmean() > 0.9
    shares[:, TARGET] = 0
    assert float(shares.nan_to_num(0).max()) == 0
    (artifact,) = report.finding.artifacts
    assert (artifact.kind, artifact.label, artifact.tensor.shape) == ("triggered sample", TARGET, SHAPE)
    clf = mmbd.Classifier(Toy("all sources"), input_shape=SHAPE)
    assert clf(artifact.tensor[None]).argmax(1).tolist() == [TARGET]


def test_a_trigger_for_one_source_is_one_cell():
    report = scanned("one source")
    assert (report.verdict, report.targets) == ("backdoored", (TARGET,))
    assert report.finding.decided_by == "added, one source"
    shares = matrix(report, "added, one source").nan_to_num(0)
    assert float(shares[SOURCE, TARGET]) == 1
    assert float(shares.sum()) == 1


def test_without_a_trigger_no_class_leads():
    report = scanned("none", kinds=("sparse", "added"))
    assert report.verdict == "not evaluable"
    assert "second opinion" in report.finding.reason
    assert report.finding.score is not None
    assert report.finding.score < 0.3
    assert report.finding.settings["kinds"] == ["added", "sparse"]


def test_all_kinds_that_the_inputs_can_have_are_tried():
    tests = [test.name for test in scanned("all sources", kinds=None, steps=1).finding.tests]
    kinds = ("added", "sparse", "flow")
    assert tests == [f"{kind}, {scope}" for kind in kinds for scope in ("all sources", "one source")]


def test_the_map_that_decides_names_the_target_though_others_lead_as_far_elsewhere():
    """Class 4's pixel lies beside class 3's: a warp takes it there as wholly as the trigger class 1."""
    report = scanned("one source", kinds=None)
    assert report.finding.decided_by == "added, one source"
    assert report.finding.score == 1
    assert report.targets == report.finding.ranking[:1] == (TARGET,)


def test_the_same_seed_and_other_batches_give_the_same():
    first, second = scanned("all sources", batch=200).finding, scanned("all sources", batch=7).finding
    assert first.columns == second.columns
    assert first.matrices == second.matrices


def test_evaluations_are_the_gradients_that_were_taken():
    found = scanned("none", steps=3).finding
    assert found.facts["evaluations"] == 2 * 3 * 36  # two searches of three steps, all samples each
    assert (found.facts["samples_used"], found.facts["samples_wrong"]) == (36, 0)


def test_shares_are_of_the_samples_of_a_class():
    model = mmbd.Classifier(Toy("none"), input_shape=SHAPE)
    inputs, labels = clean(12)
    inputs[6] *= 0.5  # a weak sample of class 0
    samples = prepare(model, inputs, labels)
    values = torch.zeros(CLASSES, *SHAPE)
    values[2, 0, 0, 2] = 0.7  # enough for the weak one
    targets = torch.arange(CLASSES)
    found = Perturbations("added", model.domain, targets, values, 1.0, torch.zeros(CLASSES))
    shares = shares_of(model, found, samples, batch=5)
    expected = torch.zeros(CLASSES, CLASSES, dtype=torch.float64).fill_diagonal_(math.nan)
    expected[0, 2] = 0.5
    assert torch.equal(shares.nan_to_num(-1), expected.nan_to_num(-1))


def test_leads():
    column = torch.zeros(4, 4).fill_diagonal_(math.nan)
    column[:, 1] = torch.tensor([0.9, math.nan, 0.9, 0.6])
    column[0, 2] = 0.6
    assert leads_of(column, "all sources").tolist() == pytest.approx([-0.8, 0.6, -0.6, -0.8])
    assert leads_of(column, "one source").tolist() == pytest.approx([-0.9, 0.3, -0.3, -0.9])
    equal = torch.full((3, 3), 0.4).fill_diagonal_(math.nan)
    assert leads_of(equal, "all sources").tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ("flows",)}, "did you mean 'flow'"),
        ({"kinds": ()}, "perturbations of the kinds added, sparse, flow"),
        ({"threshold": 2}, "must be shares"),
        ({"enough": 0}, "must be shares"),
        ({"steps": 0}, "must be shares, steps and batch at least 1"),
    ],
)
def test_senseless_options(options, message):
    with pytest.raises(ValueError, match=message):
        scanned("none", **options)


def test_kinds_that_the_inputs_cannot_have_and_too_few_classes():
    vectors = mmbd.Classifier(nn.Linear(12, 3), input_shape=(12,))
    with pytest.raises(ValueError, match="of the kinds added, sparse"):
        mmbd.scan(vectors, detector="source-target-map", samples=torch.rand(9, 12), kinds=("flow",))
    two = mmbd.Classifier(nn.Linear(12, 2), input_shape=(12,))
    report = mmbd.scan(two, detector="source-target-map", samples=torch.rand(9, 12))
    assert "too few" in (report.reason or "")
