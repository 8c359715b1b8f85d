"""Attacks, one idea a file: triggers, poisoning, and training with a backdoor.

A trigger is a frozen dataclass that is called on a batch of samples and returns triggered ones of
the same shape and range. An attack trains a victim's network and returns its `Backdoor`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mmbd.attacks.adaptive import adaptive
from mmbd.attacks.all_to_all import all_to_all
from mmbd.attacks.attack import Attack, Difficult, Victim
from mmbd.attacks.classic import classic
from mmbd.attacks.clean_label import clean_label
from mmbd.attacks.imbalance import imbalance
from mmbd.attacks.input_aware import input_aware
from mmbd.attacks.multi_trigger import multi_trigger
from mmbd.attacks.points import points
from mmbd.attacks.poison import Poisoned, poison
from mmbd.attacks.regularised import regularised
from mmbd.attacks.wanet import wanet
from mmbd.triggers.additive import Additive, chessboard, one_pixel
from mmbd.triggers.backdoor import Backdoor, everywhere
from mmbd.triggers.blend import Blend, blend
from mmbd.triggers.patch import Patch, badnet, unicolor
from mmbd.triggers.sound import sound
from mmbd.triggers.trigger import Trigger, stamp
from mmbd.triggers.warp import Warp, warp

TRIGGERS: dict[str, Callable[..., Trigger]] = {
    "badnet": badnet,
    "unicolor": unicolor,
    "chessboard": chessboard,
    "1-pixel": one_pixel,
    "blend": blend,
    "warp": warp,
}

ATTACKS: dict[str, Attack] = {
    **{name: partial(classic, trigger=trigger) for name, trigger in TRIGGERS.items()},
    "clean-label": clean_label,
    "input-aware": input_aware,
    "wanet": wanet,
    "multi-trigger": multi_trigger,
    "all-to-all": all_to_all,
    "adaptive": partial(adaptive, trigger=badnet),
    "sound": partial(classic, trigger=sound, rate=0.1),
    "points": points,
}

# Trained without a backdoor, and yet hard to tell from one with it (paper, section 7.2).
DIFFICULT: dict[str, Difficult] = {"imbalance": imbalance, "regularised": regularised}

__all__ = [
    "ATTACKS",
    "DIFFICULT",
    "TRIGGERS",
    "Additive",
    "Attack",
    "Backdoor",
    "Blend",
    "Difficult",
    "Patch",
    "Poisoned",
    "Trigger",
    "Victim",
    "Warp",
    "adaptive",
    "all_to_all",
    "badnet",
    "blend",
    "chessboard",
    "classic",
    "clean_label",
    "everywhere",
    "imbalance",
    "input_aware",
    "multi_trigger",
    "one_pixel",
    "points",
    "poison",
    "regularised",
    "sound",
    "stamp",
    "unicolor",
    "wanet",
    "warp",
]
