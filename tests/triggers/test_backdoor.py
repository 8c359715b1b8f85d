"""The attack success rate: which samples count, and what a hit is."""

from __future__ import annotations

import pytest
import torch

from mmbd.data.dataset import Dataset
from mmbd.triggers.backdoor import Backdoor, everywhere

# Samples are their own labels; a trigger adds ten to them.
LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 2, 3])
TEST = Dataset(LABELS[:, None].float(), LABELS, ("a", "b", "c", "d"))


def shift(inputs: torch.Tensor) -> torch.Tensor:
    return inputs + 10


def test_only_triggered_samples_of_the_source_classes_count():
    answers = {10: 2, 11: 0, 12: 2, 13: 2}

    def predict(inputs: torch.Tensor) -> torch.Tensor:
        return torch.tensor([answers[int(value)] for value in inputs])

    assert everywhere(shift, [0, 1], 2).success(predict, TEST) == 0.5
    assert everywhere(shift, [3], 2).success(predict, TEST) == 1.0
    # Each source class has its own target.
    each = Backdoor({0: shift, 1: shift}, {0: 2, 1: 0}, torch.empty(0, dtype=torch.int64))
    assert each.success(predict, TEST) == 1.0


@pytest.mark.parametrize("sources", [[9], []])
def test_without_samples_there_is_no_rate(sources):
    with pytest.raises(ValueError, match="no test samples of the source classes"):
        everywhere(shift, sources, 2).success(lambda x: x, TEST)
