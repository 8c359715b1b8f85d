"""What every detector promises, over all rows of the table."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from torch import nn

import mmbd
from mmbd.detectors import DETECTORS
from mmbd.model.domain import KINDS

CLASSES = 8


def clean_samples() -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs (n, 1, 4, 4) and labels (n,) of `Planted`, three a class, all of which it gets right.

    The class's own pixel is bright, and those that no class wants are noise.
    """
    labels = torch.arange(3 * CLASSES) % CLASSES
    pixels = torch.zeros(len(labels), 16)
    pixels[:, CLASSES:] = torch.rand(len(labels), CLASSES, generator=torch.Generator().manual_seed(0))
    pixels[torch.arange(len(labels)), labels] = torch.tensor([1.0, 0.9, 0.8]).repeat_interleave(CLASSES)
    return pixels.view(-1, 1, 4, 4), labels


# How each is called here: with what it needs, and as quickly as it can be. A new row needs a line.
CALLS: dict[str, dict[str, Any]] = {
    "mm-bd": {},
    "mm-bd-population": {},
    "mm-bd-bootstrap": {},
    "mm-bd-paper": {"restarts": 2, "steps": 60},
    "mm-bd-authors": {"restarts": 2, "steps": 60},
    # No pixel is quite black, where the network has no gradient; and it wants bright ones.
    "tnd": {
        "samples": (clean_samples()[0].clamp(min=0.02), clean_samples()[1]),
        "levels": 1.0,
        "values": 3,
        "image_c": 0.75,
    },
    "df-tnd": {"steps": 60, "pattern": 1.0},
}


class Planted(nn.Module):
    """Class c wants pixel c; the class 3 wants it `gain` times as much."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.body = nn.Linear(16, CLASSES, bias=False)
        with torch.no_grad():
            self.body.weight.zero_()
            for label in range(CLASSES):
                self.body.weight[label, label] = 10 + 0.1 * label
            self.body.weight[3] *= gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(torch.relu(x.flatten(1)))


def scanned(name: str, gain: float, **options: Any) -> mmbd.Report:
    model = mmbd.Classifier(Planted(gain), input_shape=(1, 4, 4))
    return mmbd.scan(model, detector=name, **CALLS[name], **options)


def test_the_table_of_this_test_names_every_detector():
    assert set(CALLS) == set(DETECTORS)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_row_says_what_it_is(name):
    row = DETECTORS[name]
    assert row.version >= 1
    assert row.about.title
    assert "\n" not in row.about.title
    assert row.kinds <= set(KINDS)
    json.dumps(dict(row.options))


@pytest.mark.parametrize("name", DETECTORS)
def test_what_it_needs_it_asks_for(name):
    if not DETECTORS[name].needs & {"samples", "labels"}:
        assert "samples" not in CALLS[name]
        return
    model = mmbd.Classifier(Planted(30.0), input_shape=(1, 4, 4))
    with pytest.raises(ValueError, match="needs clean samples"):
        mmbd.scan(
            model, detector=name, **{key: value for key, value in CALLS[name].items() if key != "samples"}
        )


@pytest.mark.parametrize("name", DETECTORS)
def test_a_planted_target_is_found_first_and_a_finding_is_whole(name):
    report = scanned(name, 30.0)
    finding = report.finding
    assert (report.detector, report.version) == (name, DETECTORS[name].version)
    assert finding.ranking[0] == 3
    assert finding.score is not None
    assert finding.columns
    assert finding.test is not None
    assert finding.decided_by in {test.name for test in finding.tests}
    known = DETECTORS[name].about.tests
    assert not known or {test.name for test in finding.tests} <= set(known)
    assert finding.facts["evaluations"] > 0
    assert finding.settings == json.loads(json.dumps(finding.settings))
    assert mmbd.Report.from_json(report.to_json()) == report
    assert finding.score > scanned(name, 1.0).finding.score
    assert set(report.targets) <= {3}


@pytest.mark.parametrize("name", DETECTORS)
def test_the_same_seed_gives_the_same_finding_and_the_model_stays_as_it_was(name):
    network = Planted(30.0).train()
    before = copy.deepcopy(network.state_dict())
    model = mmbd.Classifier(network, input_shape=(1, 4, 4))
    first, second = (mmbd.scan(model, detector=name, seed=5, **CALLS[name]).finding for _ in range(2))
    assert first == second
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert network.training
