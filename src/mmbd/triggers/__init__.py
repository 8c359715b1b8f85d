"""What a trigger is, the known ones, and how they are kept on disk.

A trigger is a frozen dataclass that is called on a batch of samples and returns triggered ones of
the same shape and range. A new one is its file and a row of `TRIGGERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmbd.triggers.additive import Additive, chessboard, one_pixel, sine
from mmbd.triggers.blend import Blend, blend, mosaic
from mmbd.triggers.generated import Generated
from mmbd.triggers.insertion import insertion
from mmbd.triggers.painted import Painted
from mmbd.triggers.patch import Patch, badnet, corner, unicolor
from mmbd.triggers.quantised import Quantised, quantised
from mmbd.triggers.sequence import TriggerSequence
from mmbd.triggers.sound import sound
from mmbd.triggers.trigger import Trigger
from mmbd.triggers.warp import Warp, warp

Make = Callable[..., Trigger]


@dataclass(frozen=True)
class TriggerKind:
    """A row of `TRIGGERS`.

    Args:
        form: the dataclass, which checks its fields itself; these are tensors, numbers, trigger
            networks or other triggers, so that `packing` can write and read them.
        makers: functions that make such a trigger of the shape of an input and a seed, by name.
    """

    form: type[Any]
    makers: Mapping[str, Make] = field(default_factory=dict[str, Make])


# By the word that stands for the class in files.
TRIGGERS: dict[str, TriggerKind] = {
    "additive": TriggerKind(Additive, {"chessboard": chessboard, "1-pixel": one_pixel, "sine": sine}),
    "patch": TriggerKind(
        Patch,
        {"badnet": badnet, "unicolor": unicolor, "corner": corner, "sound": sound, "insertion": insertion},
    ),
    "blend": TriggerKind(Blend, {"blend": blend, "mosaic": mosaic}),
    "warp": TriggerKind(Warp, {"warp": warp}),
    "quantised": TriggerKind(Quantised, {"quantised": quantised}),
    "input-aware": TriggerKind(Generated),
    "painted": TriggerKind(Painted),
    "together": TriggerKind(TriggerSequence),
}

MAKERS: dict[str, Make] = {name: make for kind in TRIGGERS.values() for name, make in kind.makers.items()}
