"""The whole detector through the public names: planted backdoors, stability, and every refusal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import mmbd
from mmbd.model.domain import Box
from mmbd.model.points import Points
from mmbd.results.report import Report

EXAMPLES = Path(__file__).parents[2] / "examples" / "models"
CARDS = json.loads((EXAMPLES / "models.json").read_text(encoding="utf-8"))


class Tilted(nn.Module):
    """Class c wants pixel c; the class `target` wants it `gain` times as much."""

    def __init__(self, classes: int = 8, target: int = 3, gain: float = 1.0) -> None:
        super().__init__()
        self.body = nn.Linear(16, classes, bias=False)
        with torch.no_grad():
            self.body.weight.zero_()
            for label in range(classes):
                self.body.weight[label, label] = 10 + 0.1 * label
            self.body.weight[target] *= gain

    def forward(self, x):
        return {"logits": self.body(torch.relu(x.flatten(1)[:, :16]))}


def classifier(**arguments) -> mmbd.Classifier:
    return mmbd.Classifier(Tilted(**arguments), input_shape=(1, 4, 4))


WARP = "warp-cnn"  # what margins and gains miss, and its head shows
ALONE = "blend-cnn"  # it puts all scenes into one class


def decided(report: Report) -> str | None:
    return report.finding.decided_by


def gains(report: Report) -> tuple[float | None, ...] | None:
    column = report.finding.column("universal-perturbation gain")
    return None if column is None else column.values


def test_what_the_joint_null_misses_is_a_near_miss():
    """Its target has the largest margin and the largest gain, and neither by enough."""
    card = next(card for card in CARDS if card["name"] == WARP)
    model, target = mmbd.load(EXAMPLES / card["file"]), card["attack"]["target"]
    both = mmbd.scan(model, null="joint")
    alone = mmbd.scan(model, universal=False)
    assert (decided(alone), gains(alone), alone.finding.settings["universal_perturbations"]) == (
        "population",
        None,
        None,
    )
    assert both.statistics == alone.statistics
    for found in (both.statistics, gains(both)):
        assert max(range(10), key=lambda label: found[label]) == target
    assert all(0.05 < report.p_value < 0.3 for report in (both, alone))
    assert both.finding.facts["evaluations"] > alone.finding.facts["evaluations"]
    assert gains(Report.from_json(both.to_json())) == gains(both)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card["name"])
def test_bundled_models(card):
    report = mmbd.scan(mmbd.load(EXAMPLES / card["file"]))
    truth = () if card["attack"] is None else (card["attack"]["target"],)
    assert report.targets == truth, report.finding.tests
    assert report.model.sha256 == card["sha256"]
    assert report.class_names[0] == "airplane"
    inputs = [one.label for one in report.finding.artifacts if one.kind == "maximising input"]
    assert inputs == list(report.finding.ranking)
    if card["name"] == ALONE:  # no marks, so that the null without them decides
        assert decided(report) == "joint"
        return
    assert decided(report) == "combined"
    for column in ("universal-perturbation gain", "window lift", "window share", "head share", "evidence"):
        assert None not in report.finding.column(column).values
    shown = report.finding.shown
    if truth and card["name"] != WARP:
        assert shown is not None
        assert shown.target == truth[0]
        assert shown.moved > 0.5 * shown.tried


def test_sounds_are_not_judged_by_tables_of_image_classifiers():
    sound = mmbd.Classifier(Tilted(gain=4.0), input_shape=(1, 16))
    report = mmbd.scan(sound)
    assert (decided(report), gains(report)) == ("bootstrap", None)
    assert "are no images" in report.caveats[-1]
    asked = mmbd.scan(sound, null="joint")
    assert asked.verdict == "not evaluable"
    assert "classifiers of images" in asked.reason
    assert gains(mmbd.scan(sound, universal=True)) is not None
    assert not any("are no images" in caveat for caveat in mmbd.scan(classifier()).caveats)


@pytest.mark.parametrize("domain", [Box((1, 16)), Points(8)], ids=["sound", "points"])
def test_what_never_found_a_backdoor_in_sounds_or_clouds_clears_none_unless_asked(domain):
    def network(gain: float) -> mmbd.Classifier:
        return mmbd.Classifier(Tilted(gain=gain), domain=domain)

    report = mmbd.scan(network(1.0))
    assert (report.verdict, decided(report)) == ("not evaluable", "bootstrap")
    assert "clean reference models" in report.reason
    assert report.p_value > 0.05
    assert mmbd.scan(network(1.0), null="bootstrap").verdict == "clean"
    flagged = mmbd.scan(network(1000.0))
    assert (flagged.verdict, decided(flagged)) == ("backdoored", "bootstrap")


@pytest.mark.parametrize("null", ["joint", "combined"])
def test_a_null_of_more_than_margins_needs_universal_perturbations(null):
    with pytest.raises(ValueError, match="universal"):
        mmbd.scan(classifier(), null=null, universal=False)
    with pytest.raises(ValueError, match="universal"):
        mmbd.scan(classifier(), null=null, method="paper")


def test_the_cards_are_honest():
    attacked = [card for card in CARDS if card["attack"] is not None]
    assert len(attacked) >= 3
    assert len(CARDS) - len(attacked) >= 1
    assert all(card["attack"]["asr"] >= 0.9 for card in attacked)
    assert all(card["bytes"] < 1.5e6 for card in CARDS)
    assert {card["attack"]["trigger"] for card in attacked} >= {"badnet", "1-pixel"}


def test_planted_target():
    report = mmbd.scan(classifier(gain=30.0))
    assert (report.verdict, report.targets) == ("backdoored", (3,))
    assert report.p_value <= 0.05
    assert report.statistics[3] == max(report.statistics)
    # The maximum margin of this model is the pixel's own weight; twenty steps come close.
    assert 0.95 * 309 < report.statistics[3] <= 309.001
    clean = mmbd.scan(classifier())
    assert (clean.verdict, clean.targets) == ("clean", ())


def test_paper_method():
    report = mmbd.scan(classifier(gain=30.0), method="paper", restarts=2, steps=40)
    assert report.finding.settings["method"] == "paper"
    assert report.targets == (3,)
    assert decided(report) == "combined"  # of the default search, which was run beside
    assert report.finding.settings["maximum_margins"]["steps"] == 40
    own = mmbd.scan(classifier(gain=30.0), method="paper", null="bootstrap", restarts=2, steps=40)
    assert decided(own) == "bootstrap"
    assert own.statistics == report.statistics
    assert own.finding.facts["evaluations"] < report.finding.facts["evaluations"]


def test_the_report_survives_json(tmp_path):
    report = mmbd.scan(classifier(gain=30.0), seeds=2)
    assert Report.from_json(report.to_json()) == report
    report.save(tmp_path / "r.html")
    report.save(tmp_path / "r.json")
    assert report.stability.winners == (3, 3)
    with pytest.raises(ValueError, match="suffix"):
        report.save(tmp_path / "r.txt")


def test_the_same_seed_gives_the_same_report():
    first, second = (mmbd.scan(classifier(), seed=5) for _ in range(2))
    assert first.statistics == second.statistics
    assert first.finding == second.finding


def test_few_classes_keep_their_margins():
    report = mmbd.scan(classifier(classes=3, target=0, gain=5.0))
    assert report.verdict == "not evaluable"
    assert "at least 5" in report.reason
    assert report.statistics[0] == pytest.approx(50, rel=0.05)


def test_nan_midway_is_not_evaluable():
    def model(x):
        flat = x.flatten(1)
        logits = flat[:, :6] * 10
        return torch.where((flat[:, :1] > 0.999), logits * torch.nan, logits)

    report = mmbd.scan(mmbd.Classifier(model, input_shape=(16,)))
    assert report.verdict == "not evaluable"
    assert "nan" in report.reason
    assert report.p_value is None


def test_dead_classes_are_left_out_and_told():
    def model(x):
        flat = x.flatten(1)
        ahead = torch.full((len(x), 1), 10.0)
        return torch.cat((ahead, flat[:, :6] * 9, torch.full((len(x), 1), -5.0)), dim=1)

    report = mmbd.scan(mmbd.Classifier(model, input_shape=(16,)))
    assert report.statistics[7] is None
    assert None not in report.statistics[:7]
    assert "1 of 8 classes could not be searched" in report.caveats[0]


def test_wrong_arguments():
    with pytest.raises(TypeError, match=r"mmbd\.Classifier"):
        mmbd.scan(Tilted())
    for wrong in ({"level": 0}, {"seeds": 0}, {"null": "gamma"}, {"null": "reference"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            mmbd.scan(classifier(), **wrong)


def test_models_from_memory_are_described():
    report = mmbd.scan(classifier())
    assert report.model.name == "Tilted"
    assert report.model.parameters == 128
    assert report.model.bounds == (0.0, 1.0)
    assert report.run.versions["mmbd"] == mmbd.__version__
