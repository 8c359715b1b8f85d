"""Scans that a copy in bfloat16 leads: the same verdict, said so; and the network itself where it errs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import mmbd
from mmbd.detectors.mm_bd import mm_bd
from mmbd.model.classifier import Classifier
from mmbd.search.precision import Guide

BLEND = Path(__file__).parents[3] / "examples" / "models" / "blend-cnn.safetensors"
TARGET = 3


def toy(seed: int) -> Classifier:
    torch.manual_seed(seed)
    layers = (nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 6))
    return Classifier(nn.Sequential(*layers), input_shape=(1, 6, 6))


def test_the_same_target_is_found_and_the_report_says_how():
    report = mmbd.scan(mmbd.load(BLEND), precision="bfloat16")
    assert (report.verdict, report.targets) == ("backdoored", (TARGET,))
    assert report.finding.settings["precision"] == "bfloat16, numbers in float32"


def test_light_networks_stay_bit_for_bit_what_they_were():
    usual, plain = mmbd.scan(toy(0), precision="auto"), mmbd.scan(toy(0))
    assert usual.finding.columns == plain.finding.columns
    assert usual.finding.settings == plain.finding.settings
    assert "precision" not in usual.finding.settings


def test_a_guide_that_errs_is_given_up_and_that_is_said(monkeypatch):
    plain = mmbd.scan(toy(0))
    monkeypatch.setattr(mm_bd, "guide_of", lambda *_: Guide(toy(1)))
    report = mmbd.scan(toy(0))
    assert report.finding.columns == plain.finding.columns
    assert "precision" not in report.finding.settings
    assert any("went astray" in caveat for caveat in report.caveats)


def test_what_cannot_be_is_said():
    weight = torch.randn(36, 6, generator=torch.Generator().manual_seed(0))
    clf = Classifier(lambda x: x.flatten(1) @ weight, input_shape=(1, 6, 6))
    report = mmbd.scan(clf, precision="bfloat16")
    assert any("in float32: the network is no module" in caveat for caveat in report.caveats)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"precision": "float16"}, "precision"),
        ({"precision": "bfloat16", "method": "paper"}, "fast method"),
        ({"precision": 16}, "precision"),
    ],
)
def test_a_precision_that_makes_no_sense_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        mmbd.scan(toy(0), **options)


def test_the_papers_procedure_is_never_led(monkeypatch):
    monkeypatch.setattr(mm_bd, "guide_of", lambda *_: pytest.fail("asked for a guide"))
    mmbd.scan(toy(0), method="paper", restarts=1, steps=2)
