"""Adam for rows that have taken different numbers of steps, against torch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmbd.search.adam import adam_


def gradient_at(values: torch.Tensor, row: int) -> torch.Tensor:
    """Of a hill of a row's own: different in scale by far."""
    return 10.0 ** (row - 1) * (values - 0.3 * row).sin()


def of_torch(start: torch.Tensor, row: int, steps: int, lr: float, betas: tuple[float, float]):
    values = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([values], lr=lr, betas=betas)
    for _ in range(steps):
        values.grad = gradient_at(values.detach(), row)
        optimizer.step()
    return values.detach()


@pytest.mark.parametrize(("lr", "betas"), [(0.1, (0.5, 0.9)), (1e-3, (0.9, 0.999))])
def test_rows_of_different_ages_take_the_steps_that_torch_takes(lr, betas):
    start = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    values, first, second = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    ages, begins = np.zeros(3, np.int64), (0, 3, 40)
    for now in range(60):
        alive = [row for row in range(3) if now >= begins[row]]
        part = [kept[alive] for kept in (values, first, second)]
        gradient = torch.stack([gradient_at(values[row], row) for row in alive])
        adam_(part[0], gradient, part[1], part[2], ages[alive], lr=lr, betas=betas)
        for kept, new in zip((values, first, second), part, strict=True):
            kept[alive] = new
        ages[alive] += 1
    assert ages.tolist() == [60, 57, 20]
    for row in range(3):
        expected = of_torch(start[row], row, int(ages[row]), lr, betas)
        torch.testing.assert_close(values[row], expected, rtol=1e-5, atol=1e-6)


def test_a_gradient_of_zero_moves_nothing():
    values = torch.ones(2, 3)
    adam_(values, torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 3), np.zeros(2, np.int64), lr=0.1)
    assert torch.equal(values, torch.ones(2, 3))
