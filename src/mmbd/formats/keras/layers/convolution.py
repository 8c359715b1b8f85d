"""Convolutions in one, two and three dimensions: full, depthwise, separable and transposed.

Kernels are turned once from Keras' order (*places, inputs, outputs) into torch's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from mmbd.formats.keras.layers.activations import ALONG, after, along_channels
from mmbd.formats.keras.layers.making import Making, Row, limited
from mmbd.formats.keras.layers.padding import around, padded
from mmbd.formats.keras.settings import Settings
from mmbd.formats.keras.values import Layer, Layout

CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {
    1: functional.conv1d,
    2: functional.conv2d,
    3: functional.conv3d,
}
TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def layout(settings: Settings) -> Layout:
    """How a layer with places takes its inputs: always with the channels on axis 1."""
    return "kept" if settings.channels_first else "moved"


def _end(making: Making) -> str:
    """The name of the function at the end, which is along the channels if along anything."""
    name = after(making)
    if name in ALONG and making.settings.channels_first:
        raise making.settings.refused(f"takes a {name} along the last of its places")
    return name


def _windows(settings: Settings, dims: int) -> dict[str, Any]:
    """The windows of a layer: their steps, how wide they are, and what goes around."""
    choices = ("valid", "same", "causal") if dims == 1 else ("valid", "same")
    return {
        "steps": settings.sizes("strides", dims, 1),
        "dilation": settings.sizes("dilation_rate", dims, 1),
        "padding": settings.word("padding", choices, "valid"),
    }


def _convolved(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    steps: tuple[int, ...],
    dilation: tuple[int, ...],
    padding: str,
    groups: int,
) -> Tensor:
    pads = around(x, kernel.shape[2:], steps, dilation, padding)
    wide = prod(length + sum(pad) for length, pad in zip(x.shape[2:], pads, strict=True))
    limited(x.shape[1] * wide, "a convolution")
    even = all(before == behind for before, behind in pads)
    if not even:
        x = padded(x, pads)
    inside = tuple(before for before, _ in pads) if even else (0,) * len(steps)
    count = len(kernel)
    for length, size, step, apart, pad in zip(
        x.shape[2:], kernel.shape[2:], steps, dilation, inside, strict=True
    ):
        count *= max(0, (length + 2 * pad - (size - 1) * apart - 1) // step + 1)
    limited(count, "a convolution")
    return CONVOLUTIONS[len(steps)](x, kernel, bias, steps, inside, dilation, groups)


def _full(
    x: Tensor, kernel: Tensor, bias: Tensor | None, end: str, groups: int, windows: dict[str, Any]
) -> Tensor:
    return along_channels(_convolved(x, kernel, bias, groups=groups, **windows), end, True)


def convolution(making: Making, dims: int) -> nn.Module:
    """`Conv1D`, `Conv2D`, `Conv3D`, in groups too."""
    settings, weights = making.settings, making.weights
    filters, sizes = settings.whole("filters"), settings.sizes("kernel_size", dims)
    groups = settings.whole("groups", 1)
    kernel = weights.take("kernel", (*sizes, None, filters)).movedim((-1, -2), (0, 1)).contiguous()
    bias = weights.take("bias", (filters,)) if settings.flag("use_bias", True) else None
    run = partial(_full, end=_end(making), groups=groups, windows=_windows(settings, dims))
    return Layer(run, layout(settings), {"kernel": kernel, "bias": bias}, channels=filters)


def _depthwise(x: Tensor, kernel: Tensor, bias: Tensor | None, end: str, windows: dict[str, Any]) -> Tensor:
    return along_channels(_convolved(x, kernel, bias, groups=x.shape[1], **windows), end, True)


def _each(making: Making, dims: int, name: str) -> Tensor:
    """The kernel of a depthwise convolution (*places, inputs, multiplier) as torch has it."""
    settings = making.settings
    sizes, times = settings.sizes("kernel_size", dims), settings.whole("depth_multiplier", 1)
    kernel = making.weights.take(name, (*sizes, None, times))
    return kernel.movedim((-2, -1), (0, 1)).reshape(-1, 1, *sizes).contiguous()


def depthwise(making: Making, dims: int) -> nn.Module:
    """`DepthwiseConv1D`, `DepthwiseConv2D`: each channel by itself."""
    settings = making.settings
    names = ("kernel", "depthwise_kernel")
    kernel = _either(making, dims, names)
    bias = making.weights.take("bias", (len(kernel),)) if settings.flag("use_bias", True) else None
    run = partial(_depthwise, end=_end(making), windows=_windows(settings, dims))
    return Layer(run, layout(settings), {"kernel": kernel, "bias": bias}, channels=len(kernel))


def _either(making: Making, dims: int, names: tuple[str, ...]) -> Tensor:
    """By whichever name the file has it: Keras 2 and 3 call it differently."""
    here = " ".join(making.weights.left())
    return _each(making, dims, names[1] if names[1] in here else names[0])


def _separable(
    x: Tensor, depth: Tensor, point: Tensor, bias: Tensor | None, end: str, windows: dict[str, Any]
) -> Tensor:
    x = _convolved(x, depth, None, groups=x.shape[1], **windows)
    return along_channels(CONVOLUTIONS[x.dim() - 2](x, point, bias), end, True)


def separable(making: Making, dims: int) -> nn.Module:
    """`SeparableConv1D`, `SeparableConv2D`: depthwise, then from all channels at each place."""
    settings, weights = making.settings, making.weights
    filters = settings.whole("filters")
    depth = _each(making, dims, "depthwise_kernel")
    point = weights.take("pointwise_kernel", (*(1,) * dims, len(depth), filters))
    point = point.movedim((-1, -2), (0, 1)).contiguous()
    bias = weights.take("bias", (filters,)) if settings.flag("use_bias", True) else None
    run = partial(_separable, end=_end(making), windows=_windows(settings, dims))
    kernels = {"depth": depth, "point": point, "bias": bias}
    return Layer(run, layout(settings), kernels, channels=filters)


def _transposed(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    steps: tuple[int, ...],
    dilation: tuple[int, ...],
    padding: str,
    more: tuple[int, ...] | None,
    end: str,
) -> Tensor:
    """The gradient of a convolution: all of it, then cut as TensorFlow cuts it."""
    cuts: list[tuple[int, int]] = []
    count = kernel.shape[1]
    for axis, (length, size, step, wide) in enumerate(
        zip(x.shape[2:], kernel.shape[2:], steps, dilation, strict=True)
    ):
        reach = (size - 1) * wide + 1
        whole = (length - 1) * step + reach
        if more is not None:
            wanted = whole - (2 * (reach // 2) if padding == "same" else 0) + more[axis]
        else:
            wanted = length * step if padding == "same" else length * step + max(reach - step, 0)
        before = max(whole - wanted, 0) // 2 if padding == "same" else 0
        cuts.append((-before, wanted - whole + before))
        count *= max(whole, wanted)
    limited(count, "a transposed convolution")
    x = TRANSPOSED[len(steps)](x, kernel, None, steps, 0, 0, 1, dilation)
    x = functional.pad(x, [each for cut in reversed(cuts) for each in cut])
    if bias is not None:
        x = x + bias.reshape(-1, *[1] * len(steps))
    return along_channels(x, end, True)


def transposed(making: Making, dims: int) -> nn.Module:
    """`Conv1DTranspose`, `Conv2DTranspose`, `Conv3DTranspose`."""
    settings, weights = making.settings, making.weights
    filters, sizes = settings.whole("filters"), settings.sizes("kernel_size", dims)
    kernel = weights.take("kernel", (*sizes, filters, None)).movedim((-1, -2), (0, 1)).contiguous()
    bias = weights.take("bias", (filters,)) if settings.flag("use_bias", True) else None
    more = settings.sizes("output_padding", dims, low=0) if settings.has("output_padding") else None
    run = partial(_transposed, end=_end(making), more=more, **_windows(settings, dims))
    return Layer(run, layout(settings), {"kernel": kernel, "bias": bias}, channels=filters)


def _rows(kind: str, make: Callable[..., nn.Module], most: int) -> dict[str, Row]:
    return {kind.format(dims): partial(make, dims=dims) for dims in range(1, most + 1)}


ROWS: dict[str, Row] = {
    **_rows("Conv{}D", convolution, 3),
    **_rows("Convolution{}D", convolution, 3),
    **_rows("DepthwiseConv{}D", depthwise, 2),
    **_rows("SeparableConv{}D", separable, 2),
    **_rows("SeparableConvolution{}D", separable, 2),
    **_rows("Conv{}DTranspose", transposed, 3),
}
