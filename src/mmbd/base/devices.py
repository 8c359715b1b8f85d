"""The device that somebody asked for, checked before anything long begins."""

from __future__ import annotations

import torch


def usable(device: torch.device | str) -> torch.device:
    """The device of this name.

    Raises:
        ValueError: there is no such device, or nothing can be put on it here.
    """
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except Exception as error:  # torch has an exception of its own for every kind of device
        words = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"device {str(device)!r} cannot be used: {words[:120]}") from error
    return found
