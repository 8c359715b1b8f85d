"""The race: who goes on, what comes together, and that the classes that lead are as without it."""

from __future__ import annotations

import pytest
import torch

import mmbd
from mmbd.model.classifier import Classifier
from mmbd.search.maximum_margins import maximum_margins
from mmbd.search.race import Race, ahead, foremost, gains_together, margins_together, unknown
from mmbd.search.universal_data_free import universal_gains

CLASSES, SHAPE = 40, (3, 8, 8)
QUICK = {"attempts": 1, "inputs": 3, "steps": 1}


def network(strength: float = 0.0, target: int = 7, dead: int | None = None) -> Classifier:
    """Every class has a picture of its own that it wins; one may have a patch, and one no gradient."""
    weights = torch.randn(CLASSES, 192, generator=torch.Generator().manual_seed(0))
    weights[[20, 27, 36]] *= torch.tensor([[1.5], [1.4], [1.3]])
    own = torch.arange(CLASSES)

    def answer(x: torch.Tensor) -> torch.Tensor:
        logits = (x - 0.5).flatten(1) @ weights.T
        bonus = strength * (x[:, :, :3, :3] - 0.6).clamp_min(0).mean((1, 2, 3))
        logits = logits + bonus[:, None] * (own == target)
        if dead is None:
            return logits
        behind = (x.amax((1, 2, 3)) - 2).relu()[:, None] - 9
        return torch.where(own == dead, behind, logits)

    return Classifier(answer, input_shape=SHAPE)


@pytest.fixture(scope="module")
def searches():
    clf = network(30.0)
    quick, few = maximum_margins(clf, restarts=1, steps=8), universal_gains(clf, **QUICK)
    return clf, quick, few, maximum_margins(clf), universal_gains(clf)


def test_a_class_goes_on_for_its_margin_or_its_evidence(searches):
    _, quick, few, _, _ = searches
    most = 6
    chosen = ahead(quick, few, most)
    assert len(chosen) == most
    assert 7 in chosen
    margins = quick.statistics.argsort(descending=True).tolist()
    evidence = (quick.statistics * few.gains).argsort(descending=True).tolist()
    assert set(margins[:2]) | set(evidence[:2]) <= set(chosen)
    assert set(chosen) <= set(margins[:most]) | set(evidence[:most])
    assert foremost(quick, few, 3) == tuple(sorted(evidence[:3]))


def test_classes_that_the_quick_look_says_too_little_of_go_on_or_are_looked_at_again(searches):
    _, quick, few, _, _ = searches
    statistics, valid = quick.statistics.clone(), quick.valid.clone()
    statistics[3], valid[5] = -0.1, False
    changed = type(quick)(**{**vars(quick), "statistics": statistics, "valid": valid})
    chosen = ahead(changed, few, 6)
    assert 5 in chosen
    assert len(chosen) == 7
    assert unknown(changed) == (3,)


def test_leading_classes_are_as_without_a_race_and_others_as_the_quick_look_left_them(searches):
    clf, quick, few, whole, all_gains = searches
    chosen = ahead(quick, few, 10)
    margins = margins_together(quick, maximum_margins(clf, classes=chosen))
    gains = gains_together(few, universal_gains(clf, classes=chosen))
    ahead_of = torch.tensor([label in chosen for label in range(CLASSES)])
    assert torch.equal(margins.statistics[ahead_of], whole.statistics[ahead_of])
    assert torch.equal(margins.statistics[~ahead_of], quick.statistics[~ahead_of])
    assert bool((margins.statistics <= whole.statistics).all())
    torch.testing.assert_close(gains.added[ahead_of], all_gains.added[ahead_of])
    assert torch.equal(gains.sparse[~ahead_of], few.sparse[~ahead_of])
    assert set(margins.inputs) == set(margins.curves) == set(range(CLASSES))
    for label in range(CLASSES):
        source = whole if label in chosen else quick
        assert torch.equal(margins.inputs[label], source.inputs[label])
        assert margins.curves[label] == source.curves[label]
        assert int((~margins.margins[label].isnan()).sum()) == (4 if label in chosen else 1)
        assert int(margins.steps[label].sum()) == int(source.steps[label].sum())


@pytest.mark.parametrize("strength", [0.0, 30.0])
def test_a_scan_says_the_same_with_a_race_and_takes_less(strength):
    raced, whole = mmbd.scan(network(strength)), mmbd.scan(network(strength), race=False)
    assert (raced.verdict, raced.targets, raced.p_value) == (whole.verdict, whole.targets, whole.p_value)
    assert raced.finding.ranking[:3] == whole.finding.ranking[:3]
    facts, all_of_it = raced.finding.facts, whole.finding.facts
    assert facts["classes_searched_to_the_end"] == Race().margins
    assert facts["evaluations"] < 0.8 * all_of_it["evaluations"]
    assert "classes_searched_to_the_end" not in all_of_it
    assert any("fell behind" in caveat for caveat in raced.finding.caveats)
    tests = {test.name: test for test in raced.finding.tests}
    assert not tests["bootstrap"].answered
    assert not tests["paper"].answered
    assert "race=false" in tests["paper"].reason
    assert {test.name: test for test in whole.finding.tests}["paper"].answered


def test_the_batch_does_not_matter():
    one, other = mmbd.scan(network(30.0)), mmbd.scan(network(30.0), batch=7)
    for first, second in zip(one.finding.columns, other.finding.columns, strict=True):
        assert [value is None for value in first.values] == [value is None for value in second.values]
        known = [
            (value or 0.0, other or 0.0) for value, other in zip(first.values, second.values, strict=True)
        ]
        assert [value for value, _ in known] == pytest.approx([other for _, other in known], rel=1e-3)


def test_a_class_that_never_wins_is_looked_at_again_and_does_not_lead():
    report = mmbd.scan(network(dead=11))
    assert report.finding.facts["classes_searched_to_the_end"] == Race().margins
    assert report.finding.facts["evaluations"] > mmbd.scan(network()).finding.facts["evaluations"] + 12
    assert 11 not in report.finding.ranking[:20]


def test_few_classes_and_other_nulls_need_no_race():
    clf = network()
    assert mmbd.scan(clf, null="bootstrap").finding.facts["searches"] == 4 * CLASSES
    few = Classifier(lambda x: x.flatten(1)[:, :12] * 1.0, input_shape=SHAPE)
    assert "classes_searched_to_the_end" not in mmbd.scan(few).finding.facts


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"race": 3}, "race must be true or false"),
        ({"race": True, "null": "bootstrap"}, "race=True is for images"),
        ({"race": True, "restarts": 9}, "race=True is for images"),
    ],
)
def test_races_that_make_no_sense(options, words):
    with pytest.raises(ValueError, match=words):
        mmbd.scan(network(), **options)


def test_raced_statistics_are_no_references():
    report = mmbd.scan(network())
    assert report.finding.settings["maximum_margins"]["raced"] is True
    whole = mmbd.scan(network(), race=False)
    assert "raced" not in whole.finding.settings["maximum_margins"]


@pytest.mark.parametrize("settings", [{"steps": 0}, {"margins": 3, "gains": 4}])
def test_senseless_races(settings):
    with pytest.raises(ValueError, match="a race needs"):
        Race(**settings)
