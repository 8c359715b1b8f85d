"""Sounds to listen to: WAV files as data URIs."""

from __future__ import annotations

import base64
import io
import wave
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a report without artifacts is rendered without torch
    from torch import Tensor

RATE = 8000  # samples a second, where nobody says how many
LONGEST = 1 << 18  # samples of a sound in a page, 33 seconds at this rate


def wav(sound: Tensor, bounds: tuple[float, float], rate: int = RATE) -> bytes:
    """A sound as a WAV file of one channel and 16 bits.

    Args:
        sound: (1, n) or (n,) samples; those that are not finite are silent.
        bounds: the values that are as loud as possible; values outside are cut off.
        rate: samples a second.
    """
    import numpy as np

    low, high = bounds
    middle, reach = (low + high) / 2, (high - low) / 2 or 1.0
    scaled = (sound.detach().cpu().float().reshape(-1).numpy() - middle) / reach
    samples = (np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0).clip(-1, 1) * 32767).round()
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(rate)
        written.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def uri(sound: Tensor, bounds: tuple[float, float], rate: int = RATE) -> str:
    """The same, for a page that needs no other files; empty for a sound longer than `LONGEST` samples."""
    if sound.numel() > LONGEST:
        return ""
    return "data:audio/wav;base64," + base64.b64encode(wav(sound, bounds, rate)).decode("ascii")
