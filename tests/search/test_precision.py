"""Searches that a copy in bfloat16 leads: when they are, and that every number is the network's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmbd.model.bfloat16 import in_bfloat16
from mmbd.model.classifier import Classifier
from mmbd.search import pool, precision
from mmbd.search.made_up import made_up
from mmbd.search.marks import marks
from mmbd.search.maximum_margins import maximum_margins
from mmbd.search.precision import Astray, guide_of, trusted
from mmbd.search.universal_data_free import universal_gains
from mmbd.search.windows import Round, race

SHAPE, CLASSES = (3, 8, 8), 6


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(144, CLASSES),
    )


def cancelling() -> nn.Module:
    """Logits are small differences of large numbers."""
    torch.manual_seed(0)
    first, last = nn.Linear(192, 12), nn.Linear(12, CLASSES)
    first.weight.data += 3.0
    last.weight.data = torch.eye(CLASSES).repeat(1, 2) * torch.tensor([1.0, -1.0]).repeat_interleave(CLASSES)
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), last)


@pytest.fixture(scope="module")
def clf() -> Classifier:
    return Classifier(network(), input_shape=SHAPE)


@pytest.fixture(scope="module")
def guide(clf: Classifier) -> Classifier:
    copy = in_bfloat16(clf)
    assert isinstance(copy, Classifier)
    return copy


@pytest.mark.parametrize(
    ("heavy", "fast", "guided"), [(1, True, True), (1, False, False), (10**9, True, False)]
)
def test_by_default_it_takes_a_heavy_network_and_a_processor_that_is_fast(
    monkeypatch, clf, heavy, fast, guided
):
    monkeypatch.setattr(precision, "HEAVY", heavy)
    monkeypatch.setattr(precision, "fast_in_bfloat16", lambda device: fast)
    assert (guide_of(clf).classifier is not None) == guided
    assert guide_of(clf, "float32").classifier is None
    assert guide_of(clf, "bfloat16").classifier is not None


def test_a_network_with_other_answers_in_bfloat16_leads_itself():
    found = guide_of(Classifier(cancelling(), input_shape=SHAPE), "bfloat16")
    assert found.classifier is None
    assert found.why_not is not None
    assert "are off by" in found.why_not


def test_an_unknown_precision_is_refused(clf):
    with pytest.raises(ValueError, match="bfloat16"):
        guide_of(clf, "float16")  # pyright: ignore[reportArgumentType]


def test_margins_are_the_networks_own_and_as_large(clf, guide):
    own = maximum_margins(clf)
    led = maximum_margins(clf, guide=guide)
    labels = torch.arange(CLASSES)
    with torch.no_grad():
        there = pool.margins(clf(torch.stack([led.inputs[label] for label in labels.tolist()])), labels)
    assert torch.allclose(led.statistics.float(), there, atol=1e-5)
    assert torch.allclose(led.statistics, own.statistics, rtol=0.03)
    assert led.ascent == own.ascent
    assert led.evaluations == own.evaluations
    assert led.valid.all()


def test_margins_do_not_depend_on_the_batch(clf, guide):
    few, many = (maximum_margins(clf, guide=guide, batch=size) for size in (5, 24))
    assert torch.allclose(few.statistics, many.statistics, rtol=0.01)
    assert (few.margins.isnan() == many.margins.isnan()).all()


def test_a_guide_of_another_network_is_noticed(clf):
    with pytest.raises(Astray):
        maximum_margins(clf, guide=Classifier(network(1), input_shape=SHAPE))
    trusted(torch.tensor([10.0, 5.0, 1.0]), torch.tensor([10.1, 5.1, 3.0]))
    with pytest.raises(Astray):
        trusted(torch.tensor([10.0, 5.0]), torch.tensor([float("nan"), 5.0]))


def test_gains_are_the_networks_own(clf, guide):
    own, led = universal_gains(clf, seed=0), universal_gains(clf, seed=0, guide=guide)
    assert torch.allclose(own.gains, led.gains, rtol=0.1)
    assert (led.added >= 0).all()
    assert (led.sparse >= 0).all()
    exact = universal_gains(clf, seed=0, guide=clf)  # a guide without an error
    assert torch.allclose(own.added, exact.added, rtol=1e-4)
    assert torch.allclose(own.sparse, exact.sparse, rtol=1e-4)
    assert torch.equal(own.moved, exact.moved)


def test_windows_are_stated_as_the_network_sees_them(clf, guide):
    rounds, aims = (Round(2, 1, rows=0.3, aims=0.5), Round(4, 2)), list(range(CLASSES))
    with clf.frozen():
        inputs = made_up("firm", clf, 12, seed=0).samples
        own, led, exact = (
            race(clf, inputs, aims=aims, seed=0, rounds=rounds, leading=2, guide=by)
            for by in (None, guide, Classifier(clf.model, input_shape=SHAPE))
        )
    for aim in aims:
        assert led.found[aim].lift == pytest.approx(own.found[aim].lift, rel=0.2, abs=0.02)
        assert exact.found[aim].lift == pytest.approx(own.found[aim].lift, rel=1e-4)
    for aim in led.leading:
        logits = led.found[aim].logits
        assert logits is not None
        assert torch.allclose(clf(led.stamped(aim, led.samples.inputs)), logits, atol=1e-5)


def test_marks_pass_the_guide_on(clf, guide):
    with clf.frozen():
        found = marks(clf, seed=0, guide=guide)
    assert torch.allclose(clf(found.inputs.inputs), found.inputs.logits, atol=1e-5)
    assert torch.equal(found.inputs.labels, found.inputs.logits.argmax(1))
