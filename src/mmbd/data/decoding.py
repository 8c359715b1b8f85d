"""One image or one sound from a file or from bytes, whatever these claim to be.

Pillow chooses a decoder by content and not by name, and some of its decoders start programs. Only
the few named here are ever tried.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mmbd.base.errors import Failed
from mmbd.base.extras import require
from mmbd.base.reading import named
from mmbd.base.text import clean_text

T = TypeVar("T")
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp"}
DECODERS = ("PNG", "JPEG", "BMP", "PPM", "WEBP")
MAX_PIXELS = 64_000_000
MAX_CHANNELS = 64  # of a sound


def decode(read: Callable[[], T], what: str) -> T:
    """Call `read`; where it fails, raise Failed with the name of what cannot be decoded."""
    try:
        return read()
    except (Failed, ImportError, FileNotFoundError) as error:
        if isinstance(error, Failed) and what not in str(error):
            raise Failed(f"{what}: {error}") from error
        raise
    except Exception as error:  # hostile bytes in somebody else's decoder: anything may come
        raise Failed(
            f"{what} cannot be decoded ({type(error).__name__}): replace it, or take it out"
        ) from error


@contextmanager
def about(path: Path) -> Generator[None]:
    """Whatever goes wrong inside becomes an error that names this file."""
    try:
        yield
    except (FileNotFoundError, ImportError):
        raise
    except MemoryError as error:
        raise Failed(f"{named(path)}: there is not enough memory for these samples") from error
    except Exception as error:  # hostile bytes in somebody else's parser: anything may come
        if isinstance(error, Failed) and named(path) in str(error):
            raise
        kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
        raise Failed(f"{named(path)}: {kind}{clean_text(str(error), 500)}") from error


def image(source: BinaryIO, size: tuple[int, int] | None, grey: bool, crop: float) -> np.ndarray[Any, Any]:
    """An image as uint8 (channels, height, width), cropped and resized as `data.load` says.

    Raises:
        Failed: of more than MAX_PIXELS, by its header, before anything is decoded.
        OSError, ...: whatever Pillow says of broken images.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            found = Image.open(source, formats=DECODERS)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise _too_large("") from None
    with found:
        if found.width * found.height > MAX_PIXELS:
            raise _too_large(f"{found.width} x {found.height}, ")
        made = found.convert("L" if grey else "RGB")
    if crop < 1.0:
        dx, dy = made.width * (1 - crop) / 2, made.height * (1 - crop) / 2
        made = made.crop((round(dx), round(dy), round(made.width - dx), round(made.height - dy)))
    if size is not None:
        made = made.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    array = np.array(made)  # a copy: torch wants to be able to write
    return array[None] if grey else array.transpose(2, 0, 1)


def _too_large(shape: str) -> Failed:
    return Failed(f"the image is too large: {shape}expected at most {MAX_PIXELS:,} pixels; make it smaller")


def sound(blob: bytes, samples: int) -> Tensor:
    """A sound as float32 (1, samples): the mean of its channels, cut or padded with zeros.

    No more is decoded than is needed.

    Raises:
        Failed: of more than MAX_CHANNELS channels.
        RuntimeError, ...: whatever libsndfile says of broken sounds.
    """
    soundfile = require("soundfile", extra="audio")
    with soundfile.SoundFile(io.BytesIO(blob)) as file:
        if file.channels > MAX_CHANNELS:
            raise Failed(f"{file.channels} channels, expected at most {MAX_CHANNELS}")
        wave = file.read(min(samples, file.frames), dtype="float32", always_2d=True)
    mono = torch.from_numpy(wave.mean(axis=1))[:samples]
    return torch.nn.functional.pad(mono, (0, samples - len(mono)))[None]
