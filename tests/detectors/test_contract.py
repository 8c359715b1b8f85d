"""What every detector promises, over all rows of the table."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch

import mmbd
from helpers import tiny_shadows
from helpers.planted import ADDED, DARK_PATCH, NEURON, PATCH, PIXELS, Planted
from mmbd.detectors import DETECTORS
from mmbd.model.domain import KINDS

# What each is tried on, and how it is called: with what it needs, and as quickly as it can be. A new row
# needs a line.
CALLS: dict[str, tuple[Planted, dict[str, Any]]] = {
    "mm-bd": (PIXELS, {}),
    "mm-bd-population": (PIXELS, {}),
    "mm-bd-bootstrap": (PIXELS, {}),
    "mm-bd-paper": (PIXELS, {"restarts": 2, "steps": 60}),
    "mm-bd-authors": (PIXELS, {"restarts": 2, "steps": 60}),
    "neural-cleanse": (PATCH, {"steps": 250, "batch": 24}),
    "tabor": (PATCH, {"steps": 250, "batch": 24}),
    "abs": (NEURON, {"steps": 150, "size": 9, "filters": False}),
    "meta": (PIXELS, {"shadow_models": tiny_shadows.handmade((1, 4, 4), 8, 3, threshold=2.0)}),
    "tnd": (DARK_PATCH, {"values": 4}),
    "df-tnd": (DARK_PATCH, {"steps": 60, "threshold": 5.0}),
    "pt-red": (ADDED, {}),
    "pt-red-reduced": (ADDED, {}),
    "pt-red-abs": (NEURON, {"steps": 150, "size": 9, "filters": False}),
    "head": (PIXELS, {}),
    "source-target-map": (PIXELS, {}),
    "latent-shift": (PIXELS, {}),
    "local-patch": (PATCH, {}),
}
OF_THE_WHOLE_MODEL = {"meta"}  # they name no class
CLOSED_FORM = {"head", "latent-shift"}  # these take no gradients


def needs_samples(name: str) -> bool:
    return bool(DETECTORS[name].needs & {"samples", "labels"})


def scanned(name: str, model: mmbd.Classifier, **options: Any) -> mmbd.Report:
    planted, own = CALLS[name]
    samples = planted.samples() if needs_samples(name) else None
    return mmbd.scan(model, detector=name, samples=samples, **own, **options)


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


@pytest.mark.parametrize("name", [name for name in DETECTORS if needs_samples(name)])
def test_what_it_needs_it_asks_for(name):
    planted, options = CALLS[name]
    with pytest.raises(ValueError, match="needs clean samples"):
        mmbd.scan(planted.backdoored(), detector=name, **options)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_planted_target_is_found_first_and_a_finding_is_whole(name):
    planted = CALLS[name][0]
    report = scanned(name, planted.backdoored())
    finding = report.finding
    assert (report.detector, report.version) == (name, DETECTORS[name].version)
    if name not in OF_THE_WHOLE_MODEL:
        assert finding.ranking[0] == planted.target
        assert finding.columns
    assert finding.score is not None
    assert finding.test is not None
    assert finding.decided_by in {test.name for test in finding.tests}
    known = DETECTORS[name].about.tests
    assert not known or {test.name for test in finding.tests} <= set(known)
    assert finding.facts["evaluations"] > 0 or name in CLOSED_FORM
    assert finding.facts.get("samples_used", 0) > 0 or not needs_samples(name)
    assert finding.settings == json.loads(json.dumps(finding.settings))
    assert mmbd.Report.from_json(report.to_json()) == report
    assert finding.score > (scanned(name, planted.clean()).finding.score or 0.0)
    assert set(report.targets) <= {planted.target}


@pytest.mark.parametrize("name", DETECTORS)
def test_the_same_seed_gives_the_same_finding_and_the_model_stays_as_it_was(name):
    model = CALLS[name][0].backdoored()
    network = model.model.train()
    before = copy.deepcopy(network.state_dict())
    first, second = (scanned(name, model, seed=5).finding for _ in range(2))
    assert first == second
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert network.training
