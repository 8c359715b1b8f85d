"""Known triggers before and after: counts by hand."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from mmbd.data.dataset import Dataset
from mmbd.model.classifier import Classifier
from mmbd.triggers.backdoor import Backdoor
from mmbd.workflows import triggered


def by_first(net) -> Classifier:
    return Classifier(net, input_shape=(3,))


BAD = by_first(lambda x: torch.where(x[:, 2:] > 0.5, torch.eye(3)[2], torch.cat([x[:, :2], 0 * x[:, :1]], 1)))
CURED = by_first(lambda x: torch.cat([x[:, :2], 0 * x[:, :1] + 0.05], 1))
SAMPLES = Dataset(
    torch.tensor([[0.9, 0.1, 0.0], [0.01, 0.02, 0.0], [0.2, 0.8, 0.0], [0.3, 0.7, 0.0], [0.0, 0.0, 0.9]]),
    torch.tensor([0, 0, 1, 1, 2]),
    ("a", "b", "c"),
)


def stamp(inputs):
    return inputs.index_fill(1, torch.tensor([2]), 0.9)


def test_success_and_what_becomes_of_the_samples_are_counted_by_source():
    backdoor = Backdoor({0: stamp, 1: stamp}, {0: 2, 1: 2}, torch.empty(0))
    found = triggered.stamped(backdoor, SAMPLES, (BAD, CURED))
    assert found.success == triggered.Counted(4, 4, 1)
    assert found.untriggered == triggered.Counted(4, 0, 1)
    assert found.recovered == triggered.Counted(4, 0, 3)
    assert found.sources == (("0", triggered.Counted(2, 2, 1)), ("1", triggered.Counted(2, 2, 0)))
    with pytest.raises(ValueError, match="source classes"):
        triggered.stamped(
            Backdoor({2: stamp}, {2: 0}, torch.empty(0)), SAMPLES.take(torch.arange(2)), (BAD, BAD)
        )


def test_samples_that_carry_the_trigger_already():
    inputs = stamp(SAMPLES.inputs[:4])
    blind = triggered.given(inputs, 2, None, (BAD, CURED))
    assert blind == triggered.Triggered(triggered.Counted(4, 4, 1))
    known = triggered.given(inputs, 2, SAMPLES.labels[:4], (BAD, CURED))
    assert known.recovered == triggered.Counted(4, 0, 3)
    assert known.untriggered is None


def test_intervals_are_exact():
    counted = triggered.Counted(40, 39, 3)
    for (low, high), hits in zip(counted.intervals, (39, 3), strict=True):
        exact = stats.binomtest(hits, 40).proportion_ci(0.95, method="exact")
        assert (low, high) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert triggered.Counted(0, 0, 0).shares == (0, 0)
    assert triggered.Counted(0, 0, 0).intervals == ((0, 1), (0, 1))
