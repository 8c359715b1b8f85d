"""Whether rows together answer as they do alone, also where answers are no finite numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbd.formats.rows import Single, any_batch


class Odd(nn.Module):
    """Its first answer is `first`, whatever the input; `apart`: the others depend on the batch."""

    def __init__(self, first: float, apart: bool) -> None:
        super().__init__()
        self.first, self.apart = first, apart

    def forward(self, x: Tensor) -> Tensor:
        answers = x + (len(x) if self.apart else 1)
        return torch.cat([torch.full_like(answers[:, :1], self.first), answers[:, 1:]], 1)


def test_an_answer_that_is_not_finite_hides_no_difference() -> None:
    for first in (float("nan"), float("inf"), -float("inf")):
        network, note = any_batch(Odd(first, apart=False), (4,))
        assert (type(network), note) == (Odd, "")
        network, note = any_batch(Odd(first, apart=True), (4,))
        assert isinstance(network, Single)
        assert "in turn" in note
