"""PT-RED on networks with planted additive triggers, and against a plain loop."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from torch import nn

import mmbd
from helpers.additive_backdoors import CLASSES, SHAPE, TARGET, TRIGGER, images, planted
from mmbd.base.seeds import generator_for
from mmbd.results.finding import Finding


def found(classifier: mmbd.Classifier, samples=None, *, detector: str = "pt-red", **options) -> Finding:
    samples = images() if samples is None else samples
    return mmbd.scan(classifier, detector=detector, samples=samples, **options).finding


@cache
def backdoored() -> Finding:
    """What is found in a network whose trigger works from all classes."""
    return found(planted(30.0))


def table(finding: Finding, name: str):
    return next(matrix.values for matrix in finding.matrices if matrix.name == name)


def test_a_trigger_for_all_sources_makes_a_column_small():
    finding = backdoored()
    assert finding.verdict == "backdoored"
    assert finding.targets == (TARGET,)
    assert finding.test.p_value < 1e-2
    assert finding.score == -finding.test.log10
    norms = table(finding, "perturbation norm")
    others = [
        norms[source][target]
        for source in range(CLASSES)
        for target in range(CLASSES)
        if source != target and TARGET not in (source, target)
    ]
    assert max(row[TARGET] for label, row in enumerate(norms) if label != TARGET) < min(others) / 2
    assert all(norms[label][label] is None for label in range(CLASSES))
    success = [value for row in table(finding, "success") for value in row if value is not None]
    assert len(success) == CLASSES * (CLASSES - 1)
    assert min(success) >= 0.8
    assert finding.column("p-value").values[TARGET] < min(
        value for label, value in enumerate(finding.column("p-value").values) if label != TARGET
    )


def test_a_trigger_for_one_source_makes_one_cell_small():
    finding = found(planted(60.0, source=4))
    assert finding.targets == (TARGET,)
    norms = table(finding, "perturbation norm")
    cells = {
        (source, target): value
        for source, row in enumerate(norms)
        for target, value in enumerate(row)
        if value is not None
    }
    assert min(cells, key=cells.get) == (4, TARGET)
    assert cells[4, TARGET] < min(value for cell, value in cells.items() if cell != (4, TARGET)) / 2
    assert finding.column("largest 1 / norm").values[TARGET] == pytest.approx(1 / cells[4, TARGET])


def test_a_clean_network_is_not_flagged():
    assert found(planted(0.0)).verdict == "clean"


def test_the_pictures_are_the_change_around_the_middle_and_a_sample_of_the_source():
    classifier = planted(60.0, source=4)
    finding = found(classifier)
    pictures = {one.kind: one.tensor for one in finding.artifacts}
    assert {one.label for one in finding.artifacts} == {TARGET}
    change = pictures["trigger pattern"] - 0.5
    assert float(change[0, -1] @ TRIGGER / change.norm()) > 0.9
    inputs, labels = images()
    first = inputs[(labels == 4).nonzero()[0, 0]]
    expected = (first + change).clamp(0, 1)
    assert torch.allclose(pictures["triggered sample"], expected, atol=1e-6)
    moved = classifier(inputs[labels == 4] + change).argmax(1) == TARGET
    assert float(moved.double().mean()) == pytest.approx(table(finding, "success")[4][TARGET])


def test_one_pair_is_what_a_plain_loop_comes_to():
    """The script's loop: count, draw 20 images, step, with the smaller rate in 51 steps."""
    inputs, labels = images()
    classifier = planted(0.0)
    source, target = 1, 3
    own = inputs[labels == source]
    order = generator_for("PT-RED", 0, source, target)
    change, steps = torch.zeros(SHAPE), 0
    with classifier.frozen():
        while (classifier(own + change).argmax(1) == target).double().mean() < 0.8:
            drawn = own[torch.randperm(len(own), generator=order)[:20]]
            moving = change.clone().requires_grad_()
            wanted = torch.full((20,), target)
            nn.functional.cross_entropy(classifier(drawn + moving), wanted).backward()
            change = change - (1e-3 if steps <= 50 else 1e-2) * moving.grad
            steps += 1
    assert steps > 51
    finding = found(classifier, (inputs, labels))
    assert table(finding, "perturbation norm")[source][target] == pytest.approx(
        float(change.norm()), rel=1e-4
    )


@pytest.mark.parametrize(("detector", "rows"), [("pt-red", 7), ("pt-red-reduced", 1)])
def test_the_number_of_rows_changes_nothing_but_rounding(detector, rows):
    samples = images(24 if detector == "pt-red" else 2)
    many = backdoored() if detector == "pt-red" else found(planted(30.0), samples, detector=detector)
    few = found(planted(30.0), samples, detector=detector, rows=rows)
    assert few.ranking == many.ranking
    assert few.facts["evaluations"] == many.facts["evaluations"]
    for one, other in zip(few.columns, many.columns, strict=True):
        assert one.values == pytest.approx(other.values, rel=1e-3)


def test_the_same_seed_gives_the_same_finding_and_another_one_other_minibatches():
    assert found(planted(30.0)) == backdoored()
    assert table(found(planted(30.0), seed=1), "perturbation norm") != table(
        backdoored(), "perturbation norm"
    )


def test_inputs_of_another_range_give_the_same_norms():
    small = backdoored()
    large = found(planted(30.0, high=255.0), images(high=255.0))
    assert large.column("largest 1 / norm").values == pytest.approx(
        small.column("largest 1 / norm").values, rel=1e-3
    )


def test_perturbations_that_do_not_get_there_never_speak_for_their_class():
    classifier = planted(30.0)
    finding = found(classifier, steps=30, unreached="leave out")
    norms, success = table(finding, "perturbation norm"), table(finding, "success")
    there = [
        (source, target)
        for source in range(CLASSES)
        for target in range(CLASSES)
        if source != target and success[source][target] >= 0.8
    ]
    assert there == [(source, TARGET) for source in range(CLASSES) if source != TARGET]
    assert [
        (source, target) for source, row in enumerate(norms) for target, value in enumerate(row) if value
    ] == there
    assert finding.facts["reached"] == len(there)
    # No pair of another target is left to compare these with.
    assert finding.verdict == "not evaluable"
    assert "at least 9" in finding.reason
    assert any("left out" in caveat for caveat in finding.caveats)
    bound = found(classifier, steps=30)
    assert table(bound, "perturbation norm") == norms
    assert [value is not None for value in bound.column("p-value").values] == [
        label == TARGET for label in range(CLASSES)
    ]
    assert bound.ranking[0] == TARGET
    assert any("only count among those" in caveat for caveat in bound.caveats)
    kept = found(classifier, steps=30, unreached="compare")
    assert None not in kept.column("p-value").values
    assert kept.column("p-value").values[TARGET] == bound.column("p-value").values[TARGET]
    assert any("as in the author's script" in caveat for caveat in kept.caveats)


def test_a_class_that_is_taken_for_another_as_it_is_has_no_norm():
    inputs, labels = images()
    mistaken = labels.clone()
    mistaken[labels == 0], mistaken[labels == 1] = 1, 0  # as the network sees them
    finding = found(planted(30.0), (inputs, mistaken))
    assert table(finding, "perturbation norm")[0][1] is None
    assert table(finding, "success")[0][1] >= 0.8
    assert any("without any change: 1 to 0; 0 to 1" in caveat for caveat in finding.caveats)
    assert finding.ranking[0] == TARGET


def test_the_reduced_form_has_one_perturbation_a_target():
    finding = found(planted(30.0), images(2), detector="pt-red-reduced")
    assert finding.targets == (TARGET,)
    assert finding.ranking[0] == TARGET
    assert not finding.matrices
    assert finding.facts["pairs"] == CLASSES
    assert [one.name for one in finding.columns] == ["1 / norm", "success"]
    assert finding.test.parameters["loc"] == 0
    free = found(planted(30.0), images(2), detector="pt-red-reduced", null="authors")
    assert free.test.parameters["exponent"] == CLASSES
    assert free.column("1 / norm") == finding.column("1 / norm")


def test_perturbations_of_the_reduced_form_that_do_not_get_there_are_no_statistics():
    options = {"detector": "pt-red-reduced", "steps": 30}
    assert found(planted(30.0), images(2), **options).ranking[0] == TARGET
    finding = found(planted(30.0), images(2), **options, unreached="leave out")
    values = finding.column("1 / norm").values
    assert [label for label, value in enumerate(values) if value is not None] == [TARGET]
    assert finding.verdict == "not evaluable"
    assert "1 perturbations got there, and 5 have to be compared" in finding.reason


def test_clipping_keeps_changed_inputs_in_the_domain():
    """Here the way to the target leads out of the domain, where only the free search goes."""

    class Beyond(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = planted(0.0).model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            pull = 20 * (x[:, 0, CLASSES, 0] - 0.99).relu()
            return self.inner(x) + pull[:, None] * nn.functional.one_hot(torch.tensor(TARGET), CLASSES)

    inputs, labels = images(12)
    inputs[:, 0, CLASSES, 0] = 1.0
    classifier = mmbd.Classifier(Beyond(), input_shape=SHAPE)
    free = found(classifier, (inputs, labels))
    clipped = found(classifier, (inputs, labels), clip=True)
    assert free.targets == (TARGET,)
    assert free.column("largest 1 / norm").values[TARGET] > 2 * (
        clipped.column("largest 1 / norm").values[TARGET] or 0.0
    )


def test_what_cannot_be_judged_is_said():
    few = mmbd.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), input_shape=SHAPE)
    inputs = torch.rand(30, *SHAPE)
    report = mmbd.scan(few, detector="pt-red", samples=(inputs, few(inputs).argmax(1)))
    assert report.verdict == "not evaluable"
    assert report.finding.reason
    inputs, labels = images()
    missing = labels != 1
    report = mmbd.scan(planted(30.0), detector="pt-red", samples=(inputs[missing], labels[missing]))
    assert report.verdict == "not evaluable"
    assert "1" in report.finding.reason
    own = mmbd.scan(planted(30.0), detector="pt-red", samples=inputs[missing]).finding
    assert own.targets == (TARGET,)  # the model's own answers have no class 1: it is no source
    assert all(value is None for value in table(own, "success")[1])


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"batch": 1.5}, {"lr": 0}, {"goal": 0}, {"goal": 1.2}, {"early": -1}, {"null": "none"}],
)
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        found(planted(30.0), **wrong)


def test_the_model_stays_as_it_was():
    classifier = planted(30.0)
    before = copy.deepcopy(classifier.model.state_dict())
    found(classifier, steps=5)
    assert all(torch.equal(before[key], value) for key, value in classifier.model.state_dict().items())
    assert all(parameter.requires_grad for parameter in classifier.model.parameters())


def test_few_perturbations_that_got_there_make_no_model_clean():
    """Searches that were ended early have small norms, and these make every p-value large."""
    finding = found(planted(30.0), steps=20)
    assert finding.facts["reached"] < 9
    assert finding.verdict == "not evaluable"
    assert "too few to compare" in finding.reason
