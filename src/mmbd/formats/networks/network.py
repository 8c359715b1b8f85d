"""The network for the tensors of a file: built as the request or the file says, and filled."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mmbd import nets
from mmbd.base.errors import Failed
from mmbd.base.text import clean_text, listed
from mmbd.formats.advice import FITTING
from mmbd.formats.networks import architecture, libraries, nearest
from mmbd.formats.networks.envelopes import StateDict
from mmbd.formats.networks.readings import OPTIONAL, Wanted, alike
from mmbd.formats.networks.selection import choose
from mmbd.formats.networks.taking import Chosen
from mmbd.formats.spec import Spec

if TYPE_CHECKING:
    from mmbd.formats.options import LoadOptions

THREE_WAYS = (
    "the file does not say which network it is for. Give --arch with a built-in architecture "
    f"({', '.join(nets.ARCHITECTURES)}), with package.module:factory, or with "
    "path/to/file.py:factory, and --input, for example 3x32x32. Files that mmbd saved need neither"
)


@dataclass(frozen=True)
class Network:
    """A network with its weights, what it is called, and what had to be done.

    `implied` are arguments of a network that nobody gave, but that the weights tell; `assumed` are the
    `input_shape`, `mean` and `std` that its library has for it, where nobody gave any.
    """

    module: nn.Module
    name: str
    notes: tuple[str, ...]
    implied: Mapping[str, Any] = field(default_factory=dict[str, Any])
    assumed: Mapping[str, Any] = field(default_factory=dict[str, Any])


def network_for(
    found: list[StateDict], request: LoadOptions, spec: Spec | None, aliases: Mapping[str, str]
) -> Network:
    """The network that the request or else the file asks for, with the weights in it.

    `aliases` are the names that the file leaves out, as for `Contents`.
    """
    arch, arguments = request.arch, request.arch_args
    if spec is not None and spec.arch in nets.ARCHITECTURES and arch in (None, spec.arch):
        return _described(found, request, spec, aliases)
    if arch is None and spec is not None:
        raise Failed(
            f"the file says it is {clean_text(spec.arch)!r}, which is not a built-in network: give "
            "--arch, if you know it"
        )
    if arch is None:
        raise Failed(THREE_WAYS + nearest.hint(found, "; its names look like "))
    name = architecture.label(arch, arguments)
    if isinstance(arch, str) and ":" not in arch:
        return _built_in(found, request, arch, spec, aliases)
    if isinstance(arch, str) and (known := libraries.named(arch)) is not None:
        return _of_library(found, request, arch, known, spec, aliases)
    make = architecture.factory(arch) if isinstance(arch, str) else arch
    sizes = architecture.sizes(make, request.classes, request.input_shape)
    network = architecture.build(partial(make, **{**sizes, **arguments}), name)
    chosen = choose(found, Wanted(_state(network, name)), request.entry, aliases)
    return Network(network, name, (*chosen.notes, *_fill(network, chosen, name, found)))


def _described(
    found: list[StateDict], request: LoadOptions, spec: Spec, aliases: Mapping[str, str]
) -> Network:
    """The network that the file's own metadata describes, within the means of the file."""
    arguments = {**spec.arguments, **request.arch_args}
    name = architecture.label(spec.arch, arguments)
    shape = request.input_shape or spec.input_shape
    sizes: dict[str, Any] = {"classes": request.classes or spec.classes, "input_shape": shape}
    make = partial(nets.build, spec.arch, **{**sizes, **arguments})
    return within_file(make, name, found, request.entry, aliases)


def within_file(
    make: Callable[[], nn.Module],
    name: str,
    found: list[StateDict],
    entry: str | None = None,
    aliases: Mapping[str, str] | None = None,
) -> Network:
    """A network that a file describes, within the means of its tensors, and with them in it.

    Raises:
        Failed: it cannot be built, asks for more than the file holds, or the tensors are not its own.
    """
    network = architecture.build(make, name, within=found[0].tensors)
    chosen = choose(found, Wanted(_state(network, name)), entry, aliases or {})
    return Network(network, name, (*chosen.notes, *_fill(network, chosen, name, found)))


def _built_in(
    found: list[StateDict], request: LoadOptions, arch: str, spec: Spec | None, aliases: Mapping[str, str]
) -> Network:
    name = architecture.label(arch, request.arch_args)
    shape = request.input_shape or (spec.input_shape if spec else None)
    if shape is None and arch in nets.ARCHITECTURES:
        raise Failed(f"the architecture {name} needs to know its inputs: give --input")
    arguments = dict(request.arch_args)
    classes = arguments.pop("classes", request.classes)

    def make(classes: int, **implied: Any) -> nn.Module:
        sizes: dict[str, Any] = {"classes": classes, "input_shape": shape or ()}
        return nets.build(arch, **{**sizes, **arguments, **implied})

    others = tuple(nets.alternatives(arch, arguments))
    return _fitted(found, request, arch, libraries.Named(make, others=others), classes, aliases)


def _of_library(
    found: list[StateDict],
    request: LoadOptions,
    arch: str,
    known: libraries.Named,
    spec: Spec | None,
    aliases: Mapping[str, str],
) -> Network:
    arguments = dict(request.arch_args)
    classes = arguments.pop("num_classes", request.classes)
    made = replace(known, make=partial(known.make, **arguments))
    network = _fitted(found, request, arch, made, classes, aliases)
    scaled = {"mean", "std", "bounds"} & {*request.given}
    assumed = {
        key: value
        for key, value in libraries.fitting(known.inputs, arguments).items()
        if spec is None and key not in request.given and not (scaled and key in ("mean", "std"))
    }
    notes = (libraries.words(assumed, arch),) if assumed else ()
    return replace(network, assumed=assumed, notes=(*notes, *network.notes))


def _fitted(
    found: list[StateDict],
    request: LoadOptions,
    arch: str,
    known: libraries.Named,
    classes: int | None,
    aliases: Mapping[str, str],
) -> Network:
    """A network by name, for as many classes as the weights have, and with arguments that fit them."""
    name = architecture.label(arch, request.arch_args)

    def wanted(classes: int | None, implied: Mapping[str, Any]) -> Wanted:
        make = partial(known.make, classes or 2, **implied)
        try:
            with torch.device("meta"):  # names and shapes, without time and memory
                network = architecture.build(make, name)
        except Failed:  # some look at numbers while they are built
            network = architecture.build(make, name)
        return Wanted(network.state_dict(), free=classes is None)

    chosen, implied = choose(found, wanted(classes, {}), request.entry, aliases), {}
    for other in () if chosen.fits else known.others:
        taken = choose(found, wanted(classes, other), request.entry, aliases)
        if taken.fits:
            words = ", ".join(f"{key}={value!r}" for key, value in other.items())
            chosen = replace(taken, notes=(*taken.notes, f"{words}, as the names in the file say"))
            implied = other
            break
    notes = chosen.notes
    if classes is None:
        classes = architecture.classes_in(wanted(2, implied).tensors, chosen.tensors)
        notes = (*notes, f"{classes} classes, as the shape of the last layer says")
    _compare(wanted(classes, implied), chosen, name, found)
    network = architecture.build(partial(known.make, classes, **implied), name)
    name = architecture.label(arch, {**request.arch_args, **implied})
    return Network(network, name, (*notes, *_fill(network, chosen, name, found)), implied)


def _state(network: nn.Module, name: str) -> dict[str, Tensor]:
    try:
        state = network.state_dict()
        return {key: value for key, value in state.items() if isinstance(value, Tensor)}
    except Exception as error:  # somebody's own module
        raise Failed(
            f"{name} has no usable state_dict(): {clean_text(str(error), 300)}. Mend the network's code"
        ) from error


def _compare(wanted: Wanted, chosen: Chosen, name: str, found: list[StateDict]) -> None:
    """Raise Failed that lists the first missing, unexpected and mismatched names, if any."""
    faults: list[str] = []
    expected, given = wanted.tensors, chosen.tensors
    if missing := wanted.missing(given):
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
    if advised := bool(chosen.advice and unexpected):
        faults.append(chosen.advice)
    if faults:
        what = f"the weights do not fit the architecture {name}; {'; '.join(faults)}"
        hint = nearest.hint(found, ". The names look like ", name)
        raise Failed(what + (hint or ("" if advised else f". {FITTING}")))


def _fill(network: nn.Module, chosen: Chosen, name: str, found: list[StateDict]) -> tuple[str, ...]:
    """Load strictly; returns notes. torch decides, `_compare` explains."""
    wanted = Wanted(_state(network, name))
    expected = wanted.tensors
    notes: list[str] = []
    # A mapping of our own, without the version metadata that came with the file.
    given = {key: tensor.detach() for key, tensor in chosen.tensors.items()}
    if set(given) <= set(expected):
        _compare(wanted, chosen, name, found)
    for key, others in wanted.twins.items():
        held = [other for other in others if other in chosen.tensors]
        if key in chosen.tensors:
            if strange := [other for other in held if not alike(given[key], given[other])]:
                raise Failed(
                    f"{clean_text(key)} and {listed(strange)} are one tensor in {name}, but they "
                    f"differ in the file: it is not of this network. {FITTING}"
                )
        elif held:
            given[key] = given[held[0]]
            notes.append(f"{clean_text(key)} is not in the file: in the network it is {clean_text(held[0])}")
    try:
        _load(network, given)
    except Exception as error:  # also whatever hooks a module of the user's has
        _compare(wanted, chosen, name, found)
        raise Failed(
            f"the weights do not load into {name}: {clean_text(str(error), 300)}. {FITTING}"
        ) from error
    if chosen.doubt:
        raise Failed(f"the checkpoint holds several state dicts that fit: {chosen.doubt}")
    network.eval()
    if any(key not in given for key in expected):
        notes.append(f"the file lacks {OPTIONAL}, which inference does not use")
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


def _load(network: nn.Module, given: dict[str, Tensor]) -> None:
    """The weights into the network, strictly; with the versions that its modules have now where they ask."""
    try:
        network.load_state_dict(given, strict=True)
    except ValueError:  # of torchvision's MNASNet, for weights of no version, which safetensors has none of
        versioned = OrderedDict(given)
        versioned._metadata = network.state_dict()._metadata  # pyright: ignore
        network.load_state_dict(versioned, strict=True)
