"""How many multiply-adds an operation takes, by sizes alone: a file of some bytes may ask for hours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

# Multiply-adds of one input. A ResNet-50 at 224 x 224 takes 2^32, a vision transformer of size L at 384 x 384
# some 2^37.
MAX_WORK = 1 << 38
SLOW = 8  # multiply-adds to one element of a window of pooling, in time
BY_SIZES = ("einsum", "tensordot", "bilinear", "outer")


def products(name: str, given: Mapping[Any, Any], outputs: Sequence[Any]) -> int:
    """The multiply-adds of an operation, about; 0 for those that take few.

    Args:
        name: of the operation without its overload, such as "conv2d".
        given: its arguments by name, or by number.
        outputs: what it gives.
    """
    made = sum(part.numel() for part in outputs if isinstance(part, Tensor))
    if "pool" in name and "adaptive" not in name and "unpool" not in name:
        window = given.get("kernel_size", given.get(1, 1))
        lengths = list(window) if isinstance(window, list | tuple) else [window]
        dims = next((int(sign) for sign in name if sign in "123"), 1)
        return SLOW * made * math.prod(lengths * (dims if len(lengths) == 1 else 1))
    tensors = [value for value in given.values() if isinstance(value, Tensor)]
    for value in given.values():
        if isinstance(value, list | tuple):
            tensors += [each for each in value if isinstance(each, Tensor)]
    if len(tensors) < 2:
        return 0
    first, second = tensors[0], tensors[1]
    if name.startswith("conv"):
        each = second.numel() // max(1, second.shape[0])
        over = given.get("transposed") is True or "transpose" in name
        return (first.numel() if over else made) * each
    if name in ("linear", "matmul", "mm", "bmm", "mv", "dot"):
        return made * (first.shape[-1] if first.dim() else 1)
    if name in ("addmm", "baddbmm"):
        return made * (second.shape[-1] if second.dim() else 1)
    if name == "scaled_dot_product_attention":
        return 2 * first.numel() * (second.shape[-2] if second.dim() > 1 else 1)
    if name in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        weights = sum(each.numel() for each in tensors if each.dim() == 2)
        return weights * (first.shape[:2].numel() if first.dim() > 2 else 1)
    if name in BY_SIZES:
        sizes = math.prod(each.numel() for each in tensors)
        return math.isqrt(sizes * max(1, made))
    return 0
