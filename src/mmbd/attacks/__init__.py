"""Attacks, one idea a file: triggers, poisoning, and training with a backdoor.

A trigger is a frozen dataclass that is called on a batch of samples and returns triggered ones of
the same shape and range. An attack trains a victim's network and returns its `Backdoor`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from mmbd.attacks.adaptive import adaptive
from mmbd.attacks.adaptive_blend import adaptive_blend
from mmbd.attacks.adaptive_patch import adaptive_patch
from mmbd.attacks.all_to_all import all_to_all
from mmbd.attacks.attack import Attack, HardClean, Victim
from mmbd.attacks.bpp import bpp
from mmbd.attacks.classic import classic
from mmbd.attacks.clean_label import clean_label
from mmbd.attacks.imbalance import imbalance
from mmbd.attacks.input_aware import input_aware
from mmbd.attacks.jumbo import jumbo
from mmbd.attacks.lira import lira
from mmbd.attacks.multi_trigger import multi_trigger
from mmbd.attacks.points import points
from mmbd.attacks.poison import poison
from mmbd.attacks.regularised import regularised
from mmbd.attacks.sig import sig
from mmbd.attacks.wanet import wanet
from mmbd.triggers import Make
from mmbd.triggers.additive import Additive, chessboard, one_pixel, sine
from mmbd.triggers.backdoor import Backdoor, everywhere
from mmbd.triggers.blend import Blend, blend, mosaic
from mmbd.triggers.patch import Patch, badnet, corner, unicolor
from mmbd.triggers.sound import sound
from mmbd.triggers.trigger import Trigger, stamp
from mmbd.triggers.warp import Warp, warp


def _classic(trigger: Make, title: str, **options: Any) -> Attack:
    return Attack(partial(classic, trigger=trigger, **options), title, poisons_first=True)


ATTACKS: dict[str, Attack] = {
    "badnet": _classic(badnet, "a small square of noise overwrites pixels (Gu et al. 2017)"),
    "unicolor": _classic(unicolor, "a small square of one colour overwrites pixels"),
    "corner": _classic(corner, "bright pixels in a corner overwrite what is there (Gu et al. 2017)"),
    "chessboard": _classic(chessboard, "a faint chessboard is added to the image (Xiang et al. 2020)"),
    "1-pixel": _classic(one_pixel, "one pixel is brightened (Tran et al. 2018)"),
    "blend": _classic(blend, "a noise patch is mixed in (Chen et al. 2017)"),
    "sine": _classic(sine, "upright stripes are added to the image (Barni et al. 2019, labels changed)"),
    "warp": _classic(warp, "the image is bent by a smooth field, as in WaNet"),
    "clean-label": Attack(
        clean_label, "perturbed images of the target class, labels unchanged (Turner et al. 2019)"
    ),
    "sig": Attack(sig, "upright stripes on images of the target class, labels unchanged (Barni et al. 2019)"),
    "input-aware": Attack(
        input_aware, "a network paints a trigger of its own for every image (Nguyen and Tran 2020)"
    ),
    "wanet": Attack(wanet, "warping with a noise mode, batch by batch (Nguyen and Tran 2021)"),
    "bpp": Attack(bpp, "few levels and dithering, batch by batch (BppAttack, Wang et al. 2022)"),
    "lira": Attack(lira, "a network learns a faint trigger with the classifier (Doan et al. 2021)"),
    "adaptive-blend": Attack(
        adaptive_blend, "pieces of a blended picture, with covers (Adap-Blend, Qi et al. 2023)"
    ),
    "adaptive-patch": Attack(
        adaptive_patch, "one of four faint patches, with covers (Adap-Patch, Qi et al. 2023)"
    ),
    "multi-trigger": Attack(
        multi_trigger, "several weak triggers that work together (Peng et al. 2022, reconstructed)"
    ),
    "all-to-all": Attack(all_to_all, "every class is taken to another one (Gu et al. 2017)"),
    "adaptive": Attack(
        partial(adaptive, trigger=badnet), "fine-tuned against MM-BD after the attack (paper, section 6.6)"
    ),
    "sound": _classic(sound, "a burst of noise in a sound", rate=0.1),
    "jumbo": Attack(jumbo, "a patch or pattern drawn from a wide distribution (META, Xu et al. 2021)"),
    "points": Attack(points, "a small sphere is put into a point cloud (PCBA, Xiang et al. 2021)"),
}

# Trained without a backdoor, and yet hard to tell from one with it (paper, section 7.2).
HARD_CLEAN: dict[str, HardClean] = {
    "imbalance": HardClean(imbalance, "one class has more training samples than the others"),
    "regularised": HardClean(regularised, "one class's maximum margin is rewarded in training"),
}

__all__ = [
    "ATTACKS",
    "HARD_CLEAN",
    "Additive",
    "Attack",
    "Backdoor",
    "Blend",
    "HardClean",
    "Patch",
    "Trigger",
    "Victim",
    "Warp",
    "adaptive",
    "adaptive_blend",
    "adaptive_patch",
    "all_to_all",
    "badnet",
    "blend",
    "bpp",
    "chessboard",
    "classic",
    "clean_label",
    "corner",
    "everywhere",
    "imbalance",
    "input_aware",
    "jumbo",
    "lira",
    "mosaic",
    "multi_trigger",
    "one_pixel",
    "points",
    "poison",
    "regularised",
    "sig",
    "sine",
    "sound",
    "stamp",
    "unicolor",
    "wanet",
    "warp",
]
