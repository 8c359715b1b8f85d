"""What a file says of itself beside its weights, and how far that may decide a verdict.

Whoever wrote the file chose these words: a narrow input range or another activation function can
hide a backdoor that the weights have wherever they are used. So what is taken from the file is
listed as its claim, and no verdict of clean may rest on what is unusual among it, nor on anything
that is not the default where the user describes the network.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mmbd import nets
from mmbd.base.seeds import generator_for
from mmbd.base.text import clean_text
from mmbd.model.domain import broadcastable

if TYPE_CHECKING:
    from mmbd.formats.options import LoadOptions
    from mmbd.formats.spec import Spec

USUAL_BOUNDS = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
# The usual range of the standard deviation as a share of the extent of the inputs. Within it the
# verdicts on the bundled models do not depend on it.
USUAL_STD = (0.01, 1.0)
# Pixels on the shorter side of an image. Networks that average over the places take inputs of any
# size; of 2x2 or 3x3 a backdoor in one for 32x32 is not seen.
USUAL_SIDE = 8
DEFAULTS: Mapping[str, Any] = {"bounds": (0.0, 1.0), "mean": None, "std": None, "domain": "box"}
FLAGS = {"bounds": "--bounds", "mean": "--mean", "std": "--std"}
POINTS = 4
# How sentences begin that say what was taken for granted of the inputs; reports show them first.
ASSUMED = "assumed: "


def assumed(said: Collection[str]) -> tuple[str, ...]:
    """What is taken for granted of the inputs where `said` are the options that somebody has spoken of."""
    parts: list[str] = []
    if "bounds" not in said:
        parts.append("inputs from 0 to 1")
    if not {"mean", "std"} & {*said}:
        parts.append("no normalisation")
    if not parts:
        return ()
    flags = ("--bounds", "--mean", "--std") if len(parts) == 2 else ("--bounds",)
    flags = flags if "inputs from 0 to 1" in parts else ("--mean", "--std")
    return (
        f"{ASSUMED}{' and '.join(parts)}, as neither the file nor an option says. Give {', '.join(flags)} if "
        "the network was trained otherwise",
    )


def _left_to_the_file(request: LoadOptions, spec: Spec) -> tuple[str, ...]:
    """What a user who describes the network has left to the file, where that is not the default."""
    apart = [*_small(request, spec)]
    apart += [
        f"{name} {_brief(getattr(spec, name))} (give {FLAGS.get(name, 'a file without it')})"
        for name, default in DEFAULTS.items()
        if getattr(request, name, None) is None and getattr(spec, name) != default
    ]
    if request.arch in (None, spec.arch):
        left = [key for key in spec.arguments if key not in request.arch_args]
        apart += [
            f"{key}={_brief(value)} (give --arch-arg {key}=...)" for key, value in _unpinned(spec, left)
        ]
    return tuple(apart)


def taken(request: LoadOptions, spec: Spec | None) -> tuple[str, ...]:
    """What is known of the network by the file's own words alone."""
    if spec is None:
        return ()
    given = {
        "architecture": request.arch,
        "input shape": request.input_shape,
        "bounds": request.bounds,
        "mean": request.mean,
        "std": request.std,
        "class names": request.class_names,
    }
    there = {
        "mean": spec.mean is not None,
        "std": spec.std is not None,
        "class names": spec.class_names is not None,
    }
    names = [name for name, value in given.items() if value is None and there.get(name, True)]
    return (*names, *(("bounds on activations",) if spec.activation_bounds else ()))


def doubts(request: LoadOptions, spec: Spec | None, network: nn.Module, extent: float) -> tuple[str, ...]:
    """The file's claims that may not choose a verdict: unusual ones, or beside a user's own words.

    Args:
        request: what the user said; nothing is doubted that was given.
        spec: what the file says; None if nothing.
        network: as the file describes it, with its weights.
        extent: how far inputs range.
    """
    if spec is None or request.as_claimed:
        return ()
    if request.arch is not None or request.input_shape is not None:
        return _left_to_the_file(request, spec)
    found: list[str] = [*_small(request, spec), *unusual(request, spec.bounds, spec.std, extent)]
    for key, value in _unpinned(spec, [key for key in spec.arguments if key not in request.arch_args]):
        if not _same_answers(spec, key, network):
            found.append(f"{key}={_brief(value)}, which the weights do not show (give --arch-arg {key}=...)")
    return tuple(found)


def unusual(
    request: LoadOptions, bounds: tuple[float, float] | None, std: tuple[float, ...] | None, extent: float
) -> Iterator[str]:
    """What a file says of the range and the scale of its inputs that usual networks do not have.

    Args:
        request: what the user said; nothing is doubted that was given.
        bounds: as the file has them; None if it does not say.
        std: as the file has it; None if it does not say.
        extent: how far inputs range.
    """
    if request.bounds is None and bounds is not None and bounds not in USUAL_BOUNDS:
        usual = ", ".join(f"{low:g} to {high:g}" for low, high in USUAL_BOUNDS)
        yield f"inputs from {bounds[0]:g} to {bounds[1]:g} (usual are {usual}; give {FLAGS['bounds']})"
    shares = [value / extent for value in std or ()] if request.std is None else []
    if any(not USUAL_STD[0] <= share <= USUAL_STD[1] for share in shares):
        yield (
            f"a standard deviation of {_brief(std)} for inputs that range over {extent:g} "
            f"(give {FLAGS['std']})"
        )


def _small(request: LoadOptions, spec: Spec) -> Iterator[str]:
    """An image smaller than any usual one, where the weights would fit others as well."""
    shape = spec.input_shape
    if request.input_shape is not None or len(shape) != 3 or min(shape[1:]) >= USUAL_SIDE:
        return
    larger = (shape[0], *(max(side, USUAL_SIDE) for side in shape[1:]))
    own, other = (_shapes(replace(spec, input_shape=one), spec.arguments) for one in (shape, larger))
    if own == other:
        yield (f"inputs of {'x'.join(map(str, shape))}, which the weights do not show (give --input)")


def _unpinned(spec: Spec, keys: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Arguments that could be left out, and the same weights would fit."""
    if spec.arch not in nets.ARCHITECTURES or not keys:
        return
    wanted = _shapes(spec, spec.arguments)
    for key in keys:
        without = {name: value for name, value in spec.arguments.items() if name != key}
        if _shapes(spec, without) == wanted:
            yield key, spec.arguments[key]


def _shapes(spec: Spec, arguments: Mapping[str, Any]) -> dict[str, torch.Size] | None:
    try:
        with torch.device("meta"):
            network = _build(spec, arguments)
        return {name: value.shape for name, value in network.state_dict().items()}
    except Exception:  # arguments of whoever wrote the file
        return None


def _same_answers(spec: Spec, key: str, network: nn.Module) -> bool:
    """Whether the network answers alike with the default of an argument (dropout, say)."""
    without = {name: value for name, value in spec.arguments.items() if name != key}
    low, high = spec.bounds
    points = torch.stack(
        [
            low + (high - low) * torch.rand(spec.input_shape, generator=generator_for("claims", i))
            for i in range(POINTS)
        ]
    )
    for value, apply in ((spec.mean, torch.sub), (spec.std, torch.div)):
        if value is not None:
            points = apply(points, broadcastable(value, spec.input_shape))
    try:
        with torch.random.fork_rng(devices=[]):
            other = _build(spec, without)
        other.load_state_dict(network.state_dict())
        with torch.no_grad():
            pair: list[Tensor] = [one.eval()(points.clone()) for one in (other, network)]
    except Exception:
        return False
    return torch.equal(*pair)


def _build(spec: Spec, arguments: Mapping[str, Any]) -> nn.Module:
    sizes: dict[str, Any] = {"classes": spec.classes, "input_shape": spec.input_shape}
    return partial(nets.build, spec.arch, **{**sizes, **arguments})()


def _brief(value: Any) -> str:
    if isinstance(value, tuple):
        return clean_text(" ".join(_brief(part) for part in value), 60)
    return f"{value:.4g}" if isinstance(value, float) else clean_text(str(value), 40)
