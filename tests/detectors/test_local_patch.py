"""Local patches: which inputs leave, where to, and what follows from it."""

from __future__ import annotations

import pytest
import torch

import mmbd
from helpers.all_to_all_networks import PAIRS, turning
from helpers.page_parser import Page
from helpers.patch_networks import CLASSES, PATCH, TARGET, patch_network, patch_prepared
from mmbd.base.errors import NotEvaluable
from mmbd.detectors.local_patch import find, paired, shares_to
from mmbd.model.classifier import Classifier
from mmbd.model.points import Points
from mmbd.render import words
from mmbd.render.report_page import html
from mmbd.results.examples import pairs_of
from mmbd.results.report import Report


def in_corner(image: torch.Tensor) -> bool:
    return float(image[:, *PATCH].mean()) > 0.9


def test_a_patch_to_one_class_is_found_where_it_is():
    finding = find(patch_network())
    assert finding.verdict == "backdoored"
    assert (finding.targets, finding.ranking[0]) == ((TARGET,), TARGET)
    assert finding.facts["window"] == "9, 9"
    shown = finding.shown
    assert (shown.target, shown.moved, shown.tried, shown.places) == (TARGET, 16, 16, 9)
    assert shown.where == "rows 9 to 11, columns 9 to 11"
    assert {after for _, after in shown.examples} == {TARGET}
    pairs = pairs_of(shown, finding.artifacts)
    assert len(pairs) == 3
    for before, after in pairs:
        assert in_corner(after.tensor)
        assert not in_corner(before.tensor)
        differs = (before.tensor != after.tensor).any(0)
        differs[PATCH] = False
        assert not differs.any()
    lifts = finding.columns[0].values
    assert max(x for k, x in enumerate(lifts) if k != TARGET) < 0.2 * lifts[TARGET]


def test_an_all_to_all_attack_shows_its_pairs():
    finding = find(turning())
    assert (finding.verdict, finding.decided_by) == ("backdoored", "a class for each")
    assert finding.targets == tuple(range(CLASSES))
    assert finding.facts["pairs"] == ", ".join(f"{a} -> {b}" for a, b in PAIRS.items())
    assert finding.facts["window"] in ("8, 9", "9, 8", "9, 9")  # two rows of the patch do
    assert (finding.shown.target, finding.shown.moved, finding.shown.tried) == (None, 20, 20)
    assert all(PAIRS[before] == after for before, after in finding.shown.examples)
    (matrix,) = finding.matrices
    assert all(matrix.values[source][target] == 1 for source, target in PAIRS.items())


@pytest.mark.parametrize("clean", [patch_network(0.0), turning(0.0)])
def test_clean_networks_are_not_flagged(clean):
    finding = find(clean)
    assert (finding.verdict, finding.targets) == ("clean", ())
    assert 0 <= finding.score < 1
    assert finding.shown.moved < 0.5 * finding.shown.tried
    assert all(
        clean(torch.stack([before.tensor])).argmax() == before.label
        for before, _ in pairs_of(finding.shown, finding.artifacts)
    )


def test_clean_samples_serve_as_inputs():
    network = patch_network()
    finding = find(network, patch_prepared(network), inputs=12)
    assert (finding.targets, finding.facts["inputs"]) == ((TARGET,), 12)
    made = find(network, inputs=12)
    assert finding.facts["evaluations"] < made.facts["evaluations"]


def test_another_batch_changes_nothing_but_rounding():
    one, other = (find(turning(), batch=batch) for batch in (7, 64))
    assert one.facts["window"] == other.facts["window"]
    assert one.facts["evaluations"] == other.facts["evaluations"]
    assert one.columns[0].values == pytest.approx(other.columns[0].values, rel=1e-4)


def test_shares_leave_the_inputs_of_a_class_itself_out():
    counts = torch.tensor([[1, 3, 0], [0, 2, 0], [0, 1, 3]])
    assert shares_to(counts).tolist() == pytest.approx([0.0, 4 / 8, 0.0])


def test_pairs_have_each_class_once_on_either_side():
    pairs, share = paired(torch.tensor([[0, 4, 0], [0, 1, 2], [1, 2, 0]]))
    assert pairs == {0: 1, 1: 2, 2: 0}
    assert share == pytest.approx(7 / 10)
    one_class, share = paired(torch.tensor([[0, 0, 4], [0, 0, 4], [0, 0, 4]]))
    assert len(one_class) == 1
    assert share == pytest.approx(4 / 12)


def test_two_classes_are_too_few():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
    with pytest.raises(NotEvaluable, match="2 classes"):
        find(Classifier(net, input_shape=(3, 4, 4)))


@pytest.mark.parametrize(
    ("options", "said"), [({"kind": "fog"}, "fog"), ({"inputs": 2}, "inputs"), ({"share": 0.0}, "share")]
)
def test_senseless_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        mmbd.scan(patch_network(), detector="local-patch", **options)


@pytest.mark.parametrize("shape", [(1, 400), (24,), (2, 6, 6, 6), "cloud"])
def test_every_kind_of_input_is_judged(shape):
    torch.manual_seed(0)
    domain = Points(40) if shape == "cloud" else None
    size = torch.Size(domain.shape if domain else shape).numel()
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(size, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)
    )
    network = Classifier(net, domain=domain, input_shape=None if domain else shape)
    report = mmbd.scan(network, detector="local-patch")
    assert report.verdict in ("not evaluable", "backdoored")
    shown, artifacts = report.finding.shown, report.finding.artifacts
    inputs = torch.stack([artifact.tensor for artifact in artifacts])
    assert inputs.shape[1:] == network.domain.shape
    assert network(inputs).argmax(1).tolist() == [label for pair in shown.examples for label in pair]
    old, new = inputs[::2], inputs[1::2]
    differs = (old != new).reshape(len(old), 1 if len(network.domain.shape) == 1 else old.shape[1], -1).any(1)
    assert 0 < differs.sum(1).max() <= shown.places
    assert shown.where
    assert Report.from_json(report.to_json()) == report
    assert words.shown(report) in Page(html(report)).text()
