"""Layers that only move, repeat or leave out numbers."""

from __future__ import annotations

from functools import partial
from math import prod

from torch import Tensor, nn
from torch.nn import functional

from mmbd.base.errors import Failed
from mmbd.formats.keras.layers.convolution import layout
from mmbd.formats.keras.layers.making import Making, Row, limited
from mmbd.formats.keras.layers.padding import padded
from mmbd.formats.keras.values import Layer


def _same(x: Tensor, moved: bool) -> Tensor:
    return x


def identity(making: Making) -> nn.Module:
    """What does nothing outside training: dropout, noise, augmentation."""
    return Layer(_same)


def _flat(x: Tensor, first: bool, moved: bool) -> Tensor:
    several = x.shape[2:].numel() > 1  # of one place alone the order is the same
    if x.dim() > 2 and (first or (moved and several)):
        x = x.movedim(1, -1)
    return x.reshape(x.shape[0], -1)


def flatten(making: Making) -> nn.Module:
    """`Flatten`, in the order that Keras has: the channels go fastest."""
    return Layer(partial(_flat, first=making.settings.channels_first))


def _shaped(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return x.reshape(x.shape[0], *shape)


def reshape(making: Making) -> nn.Module:
    """`Reshape`; -1 is whatever is left."""
    shape = making.settings.wholes("target_shape", low=-1)
    return Layer(partial(_shaped, shape=shape), "kept")


def _permuted(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return x.permute(0, *dims)


def permute(making: Making) -> nn.Module:
    """`Permute`: the axes counted from 1."""
    dims = making.settings.wholes("dims", low=1)
    if sorted(dims) != list(range(1, len(dims) + 1)):
        raise making.settings.failed("has dims that are no permutation")
    return Layer(partial(_permuted, dims=dims), "kept")


def _repeated(x: Tensor, count: int) -> Tensor:
    limited(x.shape[1:].numel() * count, "RepeatVector")
    return x[:, None].expand(-1, count, *x.shape[1:])


def repeat(making: Making) -> nn.Module:
    """`RepeatVector`."""
    return Layer(partial(_repeated, count=making.settings.whole("n")), "kept")


def zero_padding(making: Making, dims: int) -> nn.Module:
    """`ZeroPadding1D`, `2D`, `3D`."""
    pads = making.settings.pairs("padding", dims, 1)
    return Layer(partial(padded, pads=pads), layout(making.settings))


def _cropped(x: Tensor, cuts: tuple[tuple[int, int], ...]) -> Tensor:
    if any(sum(cut) >= length for cut, length in zip(cuts, x.shape[2:], strict=True)):
        raise Failed(f"a layer cuts {cuts} off {tuple(x.shape[2:])} places, which leaves none")
    for axis, (before, behind) in enumerate(cuts, 2):
        x = x.narrow(axis, before, x.shape[axis] - before - behind)
    return x


def cropping(making: Making, dims: int) -> nn.Module:
    """`Cropping1D`, `2D`, `3D`."""
    return Layer(partial(_cropped, cuts=making.settings.pairs("cropping", dims, 1)), layout(making.settings))


def _enlarged(x: Tensor, sizes: tuple[int, ...], kind: str) -> Tensor:
    lengths = [length * size for length, size in zip(x.shape[2:], sizes, strict=True)]
    limited(x.shape[1] * prod(lengths), "UpSampling")
    if kind == "bilinear":
        return functional.interpolate(x, lengths, mode="bilinear", align_corners=False)
    for axis, size in enumerate(sizes, 2):
        x = x.repeat_interleave(size, axis) if size > 1 else x
    return x


def upsampling(making: Making, dims: int) -> nn.Module:
    """`UpSampling1D`, `2D`, `3D`: every place several times, or between them."""
    settings = making.settings
    sizes = settings.sizes("size", dims, 2)
    kind = "nearest"
    if dims == 2 and settings.has("interpolation"):
        kind = str(settings.values["interpolation"])
    if kind not in ("nearest", "bilinear"):
        raise settings.refused("enlarges by another interpolation than nearest or bilinear")
    return Layer(partial(_enlarged, sizes=sizes, kind=kind), layout(settings))


IDLE = (
    "InputLayer",
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "AlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
    "ActivityRegularization",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "RandomContrast",
    "RandomBrightness",
    "RandomHue",
    "RandomSaturation",
    "RandomSharpness",
    "RandomColorJitter",
    "RandomColorDegeneration",
    "RandomGrayscale",
    "RandomInvert",
    "RandomPosterization",
    "RandomErasing",
    "RandomGaussianBlur",
    "RandomPerspective",
    "RandomElasticTransform",
    "RandomShear",
    "RandomHeight",
    "RandomWidth",
    "Identity",
    "StochasticDepth",
)
ROWS: dict[str, Row] = {
    **dict.fromkeys(IDLE, identity),
    "Flatten": flatten,
    "Reshape": reshape,
    "Permute": permute,
    "RepeatVector": repeat,
    **{
        f"{name}{dims}D": partial(make, dims=dims)
        for name, make in (("ZeroPadding", zero_padding), ("Cropping", cropping), ("UpSampling", upsampling))
        for dims in (1, 2, 3)
    },
}
