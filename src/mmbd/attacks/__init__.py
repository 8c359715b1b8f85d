"""Attacks: triggers, one idea a file, and the poisoning of a training set with one of them.

A trigger is a frozen dataclass that is called on images (n, channels, height, width) in [0, 1]
and returns triggered images of the same shape and range.
"""

from __future__ import annotations

from collections.abc import Callable

from mmbd.attacks.additive import Additive, chessboard, one_pixel
from mmbd.attacks.blend import Blend, blend
from mmbd.attacks.patch import Patch, badnet, unicolor
from mmbd.attacks.poison import Poisoned, Trigger, apply_8bit, poison
from mmbd.attacks.warp import Warp, warp

TRIGGERS: dict[str, Callable[..., Trigger]] = {
    "badnet": badnet,
    "unicolor": unicolor,
    "chessboard": chessboard,
    "1-pixel": one_pixel,
    "blend": blend,
    "warp": warp,
}

__all__ = [
    "TRIGGERS", "Additive", "Blend", "Patch", "Poisoned", "Trigger", "Warp", "apply_8bit",
    "badnet", "blend", "chessboard", "one_pixel", "poison", "unicolor", "warp",
]  # fmt: skip
