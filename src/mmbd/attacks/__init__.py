"""Attacks, one idea a file: triggers, poisoning, and training with a backdoor.

A trigger is a frozen dataclass that is called on a batch of samples and returns triggered ones of
the same shape and range. An attack trains a victim's network and returns its `Backdoor`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mmbd.attacks.additive import Additive, chessboard, one_pixel
from mmbd.attacks.attack import Attack, Backdoor, Victim, everywhere
from mmbd.attacks.blend import Blend, blend
from mmbd.attacks.classic import classic
from mmbd.attacks.patch import Patch, badnet, unicolor
from mmbd.attacks.poison import Poisoned, Trigger, poison, stamp
from mmbd.attacks.warp import Warp, warp

TRIGGERS: dict[str, Callable[..., Trigger]] = {
    "badnet": badnet,
    "unicolor": unicolor,
    "chessboard": chessboard,
    "1-pixel": one_pixel,
    "blend": blend,
    "warp": warp,
}

ATTACKS: dict[str, Attack] = {
    name: partial(classic, trigger=trigger) for name, trigger in TRIGGERS.items()
}

__all__ = [
    "ATTACKS", "TRIGGERS", "Additive", "Attack", "Backdoor", "Blend", "Patch", "Poisoned",
    "Trigger", "Victim", "Warp", "badnet", "blend", "chessboard", "classic", "everywhere",
    "one_pixel", "poison", "stamp", "unicolor", "warp",
]  # fmt: skip
