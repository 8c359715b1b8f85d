"""How much work an operation is, by sizes alone, and that files that ask for hours are errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.onnx_files import built, model, node
from mmbd.base.errors import Failed
from mmbd.formats.onnx import budget
from mmbd.formats.products import SLOW, products


def test_a_window_counts_with_all_its_places() -> None:
    made = torch.empty(2, 3, 5, 5, device="meta")
    assert products("max_pool2d", {0: made, 1: (4, 2)}, (made,)) == SLOW * 150 * 8
    assert products("avg_pool2d", {"kernel_size": [3]}, [made]) == SLOW * 150 * 9
    assert products("max_pool1d", {0: made, 1: 7}, [made]) == SLOW * 150 * 7
    assert products("adaptive_avg_pool2d", {0: made, 1: 1}, [made]) == 0
    weight = torch.empty(6, 3, 2, 2, device="meta")
    assert products("conv2d", {0: made, 1: weight}, [made]) == 150 * 12


@pytest.mark.parametrize("length", [1_000_000, 200_000])
def test_windows_that_take_hours_are_said_before_they_are_tried(length: int) -> None:
    pool = node("MaxPool", "h", "y", kernel_shape=[length], pads=[length - 1, length - 1])
    made = model([node("Unsqueeze", "x a", "h"), pool], ["n", 4], {"a": np.int64([1])})
    with pytest.raises(Failed, match=r"MaxPool: it needs hours\. Give"):
        built(made)


def test_work_adds_up_over_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes of which each would be let through."""
    pools = [node("MaxPool", f"h{n}", f"h{n + 1}", kernel_shape=[3], pads=[1, 1]) for n in range(2)]
    made = model(
        [node("Unsqueeze", "x a", "h0"), *pools, node("Flatten", "h2", "y")], ["n", 4], {"a": np.int64([1])}
    )
    monkeypatch.setattr(budget, "MAX_WORK", 2 * SLOW * 4 * 3)
    assert built(made).module(torch.rand(2, 4)).shape == (2, 4)
    monkeypatch.setattr(budget, "MAX_WORK", 2 * SLOW * 4 * 3 - 1)
    with pytest.raises(Failed, match="it needs hours"):
        built(made)
