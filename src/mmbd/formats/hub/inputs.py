"""What `preprocessor_config.json` says of an image classifier's inputs, in the terms of `mmbd.load`.

Its entries are those of the image processors of transformers: images are resized and cropped (`size`,
`crop_size`), brought from 0..255 to another range (`do_rescale`, `rescale_factor`), and normalised
(`do_normalize`, `image_mean`, `image_std`). What it leaves out is assumed, and said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mmbd.base.errors import Failed
from mmbd.base.text import clean_text, listed
from mmbd.formats.advice import AGAIN
from mmbd.formats.hub.documents import numbers, whole

FILE = "preprocessor_config.json"
MAX_SIDE = 4096
UNIT = 1 / 255


@dataclass(frozen=True)
class Inputs:
    """What is known of the inputs, as in `Graph`, and sentences that start with "assumed: " on the rest."""

    shape: tuple[int, ...] | None = None
    bounds: tuple[float, float] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    notes: tuple[str, ...] = field(default=())


def images(said: Mapping[str, Any] | None, config: Mapping[str, Any]) -> Inputs:
    """The images that a network takes.

    Args:
        said: `preprocessor_config.json`; None where there is none.
        config: `image_size` and `num_channels` of `config.json`, where that has them.

    Raises:
        Failed: entries that are of no use, such as a mean that is no number.
    """
    channels = whole(config.get("num_channels", 3))
    own = _sides(config.get("image_size"))
    if channels is None or channels > MAX_SIDE:
        raise Failed(
            f"config.json has num_channels {clean_text(config.get('num_channels'))}, which is no number of "
            f"channels: {AGAIN}"
        )
    if said is None:
        sides, note = own, f"assumed: inputs from 0 to 1 that are not normalised, as there is no {FILE}"
        if own is not None:
            note += f", of {own[0]}x{own[1]}, as the network is made for"
        return Inputs(
            _shape(channels, sides), notes=(f"{note}. {_give('--input, --bounds, --mean, --std')}",)
        )
    notes: list[str] = []
    sides = _wanted(said) or own
    if sides is not None and _wanted(said) is None:
        notes.append(
            f"assumed: images of {sides[0]}x{sides[1]}, as config.json has it: {FILE} does not say. "
            f"{_give('--input')}"
        )
    bounds = _range(said)
    mean, std = (_values(said, key, channels) for key in ("image_mean", "image_std"))
    if said.get("do_normalize", True) is False:
        mean = std = None
    elif mean is None or std is None:
        mean = std = None
        given = _give("--mean, --std")
        notes.append(f"assumed: no normalisation: {FILE} has no image_mean and image_std. {given}")
    if said.get("do_flip_channel_order") is True:
        notes.append("the channels are those of BGR images (do_flip_channel_order)")
    return Inputs(_shape(channels, sides), bounds, mean, std, tuple(notes))


def _give(flags: str) -> str:
    return f"Give {flags} if the network was trained otherwise"


def _shape(channels: int, sides: tuple[int, int] | None) -> tuple[int, ...] | None:
    return None if sides is None else (channels, *sides)


def _wanted(said: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width of images once they are resized and cropped."""
    if said.get("do_center_crop", "crop_size" in said) is True and (sides := _sides(said.get("crop_size"))):
        return sides
    return _sides(said.get("size"))


def _sides(value: Any) -> tuple[int, int] | None:
    """Height and width in a number, a pair, {height, width} or {shortest_edge}; None where there are none."""
    if isinstance(value, Mapping):
        edge = value.get("shortest_edge")
        value = [value.get("height", edge), value.get("width", edge)]
    pair = value if isinstance(value, list) else [value, value]
    lengths = [whole(each) for each in pair]
    if len(lengths) != 2 or None in lengths:
        return None
    height, width = (each or 0 for each in lengths)
    if max(height, width) > MAX_SIDE:
        raise Failed(f"images of {height}x{width} are larger than any classifier takes: give --input")
    return height, width


def _range(said: Mapping[str, Any]) -> tuple[float, float]:
    """The lowest and the highest value of a pixel before it is normalised."""
    if said.get("do_rescale", True) is False:
        return (0.0, 255.0)
    factor = numbers(said.get("rescale_factor", UNIT))
    if factor is None or len(factor) != 1 or not factor[0] > 0:
        raise Failed(f"{FILE} has a rescale_factor that is none: give --bounds, --mean and --std")
    high = 1.0 if abs(255 * factor[0] - 1) < 1e-3 else 255 * factor[0]
    if said.get("rescale_offset") is True:  # EfficientNet's: to -1..1
        return (-1.0, high - 1 if abs(high - 2) > 1e-3 else 1.0)
    return (0.0, high)


def _values(said: Mapping[str, Any], key: str, channels: int) -> tuple[float, ...] | None:
    if said.get(key) is None:
        return None
    values = numbers(said[key])
    if values is None or len(values) not in (1, channels) or (key == "image_std" and min(values) <= 0):
        raise Failed(
            f"{FILE} has {key} {listed([str(said[key])])}, expected {channels} numbers, one a channel"
            f"{' and above 0' if key == 'image_std' else ''}: mend it, or scan the weights with --arch"
        )
    return values
