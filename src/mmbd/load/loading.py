"""The steps of `mmbd.load`: read, find the state dict, build the network, fill it, wrap it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mmbd import nets
from mmbd.classifier import Classifier
from mmbd.domain import Bound
from mmbd.errors import Failed, NotEvaluable, Refused
from mmbd.load import Loaded, architecture, claims, envelopes, files, limits, selection
from mmbd.load.checkpoints import contents
from mmbd.load.envelopes import StateDict
from mmbd.load.spec import Spec
from mmbd.load.text import listed, shown
from mmbd.points import domain_for
from mmbd.report import Model

THREE_WAYS = (
    "the file does not say which network it is for. Give --arch with a built-in architecture "
    f"({', '.join(nets.ARCHITECTURES)}), with package.module:factory, or with "
    "path/to/file.py:factory, and --input, for example 3x32x32. Files that mmbd saved need neither"
)


@dataclass(frozen=True)
class Request:
    """What the user said, each None where nothing was said; see `mmbd.load.load`."""

    arch: str | Callable[..., nn.Module] | None
    arch_args: dict[str, Any]
    input_shape: tuple[int, ...] | None
    bounds: tuple[Bound, Bound] | None
    mean: Bound | None
    std: Bound | None
    class_names: Sequence[str] | None
    device: torch.device | str
    classes: int | None
    entry: str | None
    output: int | str | None = None
    ends_in: str | None = None
    as_claimed: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])  # the file's, not the user's


def load_request(path: Path, request: Request, max_bytes: int) -> Loaded:
    """`mmbd.load.load`, with its arguments in a `Request`."""
    file = files.read(path, max_bytes)
    held, size = contents(file.data, file.kind), len(file.data)
    file = replace(file, data=b"")  # the tensors keep what they need of it, which may be gigabytes
    request = replace(request, aliases=held.aliases)
    spec = None if held.metadata is None else _spec(held.metadata)
    if spec is not None:
        claims.check_agreement(request, spec)
    bounds, value = limits.split(held.value)
    found = envelopes.candidates(value)
    network, name, notes = _network(found, request, spec)
    shape = request.input_shape or (spec.input_shape if spec else None)
    if shape is None:
        raise Failed("the file does not say what inputs it takes: give --input, such as 3x32x32")
    if request.input_shape is None:  # the file's choice, not the user's
        architecture.check_activations(network, shape, name)
    notes = (*file.notes, *held.notes, *notes, *_overridden(request, spec))
    bare = classifier = _classifier(network, shape, request, spec)
    described = spec.limits if spec else ()
    classifier = limits.restored(classifier, described, bounds)
    if described:
        notes = (*notes, f"activations with bounds: {listed(entry.name for entry in described)}")
    if request.classes not in (None, classifier.classes):
        raise Failed(f"{name} has {classifier.classes} classes, not {request.classes}")
    model = Model(
        name=path.name or path.resolve().name,
        file=str(file.path),
        sha256=file.sha256,
        bytes=size,
        format=held.format,
        architecture=name,
        parameters=classifier.parameter_count,
        domain=repr(classifier.domain),
        input_shape=classifier.domain.shape,
        bounds=classifier.domain.bounds,
        mean=classifier.mean,
        std=classifier.std,
        claimed=claims.taken(request, spec),
    )
    low, high = classifier.domain.bounds or (0.0, 1.0)
    return Loaded(
        classifier, model, notes, *_identity(request, spec),
        doubts=claims.doubts(request, spec, network, high - low),
        bare=bare if described and not request.as_claimed else None,
    )  # fmt: skip


def _spec(text: str) -> Spec:
    try:
        return Spec.from_json(text)
    except Exception as error:  # written by whoever wrote the file
        raise Failed(f"the file's mmbd metadata is broken: {shown(str(error), 200)}") from None


def _identity(request: Request, spec: Spec | None) -> tuple[str, dict[str, Any]]:
    """The architecture that the request or else the file names, and its arguments."""
    arch = request.arch or (spec.arch if spec else "")
    name = arch if isinstance(arch, str) else architecture.label(arch, {})
    known = spec.arguments if spec and spec.arch == name else {}
    return name, {**known, **request.arch_args}


def _network(
    found: list[StateDict], request: Request, spec: Spec | None
) -> tuple[nn.Module, str, tuple[str, ...]]:
    """The network that the request or else the file asks for, with the weights in it."""
    arch, arguments = request.arch, request.arch_args
    if spec is not None and spec.arch in nets.ARCHITECTURES and arch in (None, spec.arch):
        return _described(found, request, spec)
    if arch is None and spec is not None:
        raise Failed(
            f"the file says it is {shown(spec.arch)!r}, which is not a built-in network: give "
            "--arch, if you know it"
        )
    if arch is None:
        raise Failed(THREE_WAYS)
    name = architecture.label(arch, arguments)
    if isinstance(arch, str) and ":" not in arch:
        return _built_in(found, request, arch, spec)
    make = architecture.factory(arch) if isinstance(arch, str) else arch
    network = architecture.build(partial(make, **arguments), name)
    chosen = selection.choose(found, _state(network, name), request.entry, request.aliases)
    return network, name, (*chosen.notes, *_fill(network, chosen, name))


def _described(
    found: list[StateDict], request: Request, spec: Spec
) -> tuple[nn.Module, str, tuple[str, ...]]:
    """The network that the file's own metadata describes, within the means of the file."""
    arguments = {**spec.arguments, **request.arch_args}
    name = architecture.label(spec.arch, arguments)
    shape = request.input_shape or spec.input_shape
    sizes: dict[str, Any] = {"classes": request.classes or spec.classes, "input_shape": shape}
    make = partial(nets.build, spec.arch, **{**sizes, **arguments})
    network = architecture.build(make, name, within=found[0].tensors)
    chosen = selection.choose(found, _state(network, name), request.entry, request.aliases)
    return network, name, (*chosen.notes, *_fill(network, chosen, name))


def _built_in(
    found: list[StateDict], request: Request, arch: str, spec: Spec | None
) -> tuple[nn.Module, str, tuple[str, ...]]:
    name = architecture.label(arch, request.arch_args)
    shape = request.input_shape or (spec.input_shape if spec else None)
    if shape is None and arch in nets.ARCHITECTURES:
        raise Failed(f"the architecture {name} needs to know its inputs: give --input")
    arguments = dict(request.arch_args)
    classes = arguments.pop("classes", request.classes)

    def make(classes: int) -> nn.Module:
        sizes: dict[str, Any] = {"classes": classes, "input_shape": shape or ()}
        return nets.build(arch, **{**sizes, **arguments})

    def bare(classes: int) -> nn.Module:
        with torch.device("meta"):  # names and shapes, without time and memory
            return make(classes)

    network = architecture.build(partial(bare, classes or 2), name)
    chosen = selection.choose(found, network.state_dict(), request.entry, request.aliases)
    notes = chosen.notes
    if classes is None:
        classes = architecture.classes_in(network, chosen.tensors)
        notes = (*notes, f"{classes} classes, as the shape of the last layer says")
        network = architecture.build(partial(bare, classes), name)
    _compare(network.state_dict(), chosen.tensors, name)
    network = architecture.build(partial(make, classes), name)
    return network, name, (*notes, *_fill(network, chosen, name))


def _state(network: nn.Module, name: str) -> dict[str, Tensor]:
    try:
        state = network.state_dict()
        return {key: value for key, value in state.items() if isinstance(value, Tensor)}
    except Exception as error:  # somebody's own module
        raise Failed(f"{name} has no usable state_dict(): {shown(str(error), 300)}") from error


def _compare(expected: dict[str, Tensor], given: envelopes.Tensors, name: str) -> None:
    """Raise Failed that lists the first missing, unexpected and mismatched names, if any."""
    faults: list[str] = []
    missing = [key for key in expected if key not in given]
    missing = [key for key in missing if key.rpartition(".")[2] != envelopes.OPTIONAL]
    if missing:
        faults.append(f"missing: {listed(missing)}")
    if unexpected := [key for key in given if key not in expected]:
        faults.append(f"unexpected: {listed(unexpected)}")
    both = [key for key in expected if key in given and not is_lazy(expected[key])]
    if shapes := [
        f"{key} is {tuple(given[key].shape)} in the file, not {tuple(expected[key].shape)}"
        for key in both
        if given[key].shape != expected[key].shape
    ]:
        faults.append(f"of another shape: {listed(shapes, most=3)}")
    elif kinds := [
        f"{key} is {given[key].dtype} in the file, not {expected[key].dtype}"
        for key in both
        if given[key].dtype.is_floating_point != expected[key].dtype.is_floating_point
    ]:
        faults.append(f"of another kind of number: {listed(kinds, most=3)}")
    if faults:
        raise Failed(f"the weights do not fit the architecture {name}; {'; '.join(faults)}")


def _fill(network: nn.Module, chosen: StateDict, name: str) -> tuple[str, ...]:
    """Load strictly; returns notes. torch decides, `_compare` explains."""
    expected = _state(network, name)
    # A mapping of our own, without the version metadata that came with the file.
    given = {key: tensor.detach() for key, tensor in chosen.tensors.items()}
    if set(given) <= set(expected):
        _compare(expected, given, name)
    try:
        network.load_state_dict(given, strict=True)
    except Exception as error:  # also whatever hooks a module of the user's has
        _compare(expected, given, name)
        raise Failed(f"the weights do not load into {name}: {shown(str(error), 300)}") from error
    network.eval()
    notes: list[str] = []
    if any(key not in given for key in expected):
        notes.append(f"the file lacks {envelopes.OPTIONAL}, which inference does not use")
    kinds = {
        (str(given[key].dtype), str(value.dtype))
        for key, value in expected.items()
        if key in given and given[key].dtype != value.dtype
    }
    notes += [f"weights kept as {held} are used as {used}" for held, used in sorted(kinds)]
    # Eight-bit floats know no isfinite.
    wide = [value for value in given.values() if value.is_floating_point() and value.itemsize > 1]
    if not all(bool(torch.isfinite(value).all()) for value in wide):
        notes.append("some weights are NaN or infinite")
    return tuple(notes)


def _classifier(
    network: nn.Module, shape: tuple[int, ...], request: Request, spec: Spec | None
) -> Classifier:
    bounds = request.bounds or (spec.bounds if spec else (0.0, 1.0))
    mean = request.mean if request.mean is not None or spec is None else spec.mean
    std = request.std if request.std is not None or spec is None else spec.std
    try:
        return Classifier(
            network.to(request.device),
            domain=domain_for(spec.domain if spec else "box", shape, bounds),
            mean=mean,
            std=std,
            class_names=request.class_names or (spec.class_names if spec else None),
            device=request.device,
            output=request.output,
            ends_in=request.ends_in,
            classes=request.classes or (spec.classes if spec else None),
        )
    except (Refused, Failed, NotEvaluable):
        raise
    except Exception as error:  # arguments that do not fit, from the user or from the file
        raise Failed(f"the inputs described do not fit: {shown(str(error), 300)}") from error


def _overridden(request: Request, spec: Spec | None) -> tuple[str, ...]:
    if spec is None:
        return ()
    names = ("arch", "arch_args", "input_shape", "bounds", "mean", "std", "class_names", "classes")
    given = [name for name in names if getattr(request, name) not in (None, {})]
    return (f"given here and not taken from the file: {', '.join(given)}",) if given else ()
