"""The steps of loading a file: read, find the state dict, build the network, fill it, wrap it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from mmbd.base.devices import usable
from mmbd.base.errors import Failed, NotEvaluable, Refused
from mmbd.base.text import clean_text, listed
from mmbd.formats import activation_bounds, files, permitted
from mmbd.formats.advice import WORDS
from mmbd.formats.format import Contents, Graph
from mmbd.formats.loaded import Loaded
from mmbd.formats.networks import architecture, claims, envelopes
from mmbd.formats.networks.network import network_for
from mmbd.formats.options import LoadOptions
from mmbd.formats.sandbox.reading import contents
from mmbd.formats.spec import Spec
from mmbd.formats.table import FORMATS
from mmbd.model.classifier import Classifier
from mmbd.model.info import describe
from mmbd.model.points import domain_for

DESCRIBE = (
    "Give them as the network takes them: --input, --bounds, --mean, --std, --class-names (in "
    "Python input_shape=, bounds=, mean=, std=, class_names=)"
)


def load_file(path: str | Path, options: LoadOptions) -> Loaded:
    """`mmbd.load` with its arguments in a `LoadOptions`; raises what that raises, naming the file."""
    named = clean_text(str(path), 400)
    try:
        device = usable(options.device)
    except ValueError as error:
        raise Failed(f"{named}: {error}") from error
    try:
        return _load(Path(path), replace(options, device=device))
    except (Refused, Failed, NotEvaluable) as error:
        raise type(error)(f"{named}: {error}") from error


def _load(path: Path, request: LoadOptions) -> Loaded:
    file = files.read(path, request.max_bytes, alone=request.arch is not None)
    permitted.of_kind(file.kind, request.formats)
    held, size = contents(file, request.sandbox), len(file.data)
    permitted.beside(file.beside.digests, request.formats)
    file = replace(file, data=b"")  # the tensors keep what they need of it, which may be gigabytes
    build = FORMATS[file.kind].build
    if build is not None:
        return whole(path, file, size, held, build(held, request), request)
    spec = None if held.metadata is None else _spec(held.metadata)
    bounds, value = activation_bounds.split(held.value)
    found = envelopes.candidates(value, request.entry)
    built = network_for(found, request, spec, held.aliases)
    network, name, notes = built.module, built.name, built.notes
    request = request.filled(**built.assumed)
    shape = request.input_shape or (spec.input_shape if spec else None)
    if shape is None:
        raise Failed("the file does not say what inputs it takes: give --input, such as 3x32x32")
    if request.input_shape is None:  # the file's choice, not the user's
        architecture.check_activations(network, shape, name)
    notes = (*file.notes, *held.notes, *notes, *_overridden(request, spec))
    bare = classifier = _classifier(network, shape, request, spec)
    described = spec.activation_bounds if spec else ()
    classifier = activation_bounds.restored(classifier, described, bounds)
    if described:
        notes = (*notes, f"activations with bounds: {listed(entry.name for entry in described)}")
    if request.classes not in (None, classifier.classes):
        raise Failed(
            f"{name} has {classifier.classes} classes, not {request.classes}: leave --classes out, "
            "or give the network that has so many"
        )
    model = describe(
        classifier,
        name=path.name or path.resolve().name,
        file=str(file.path),
        sha256=file.sha256,
        bytes=size,
        format=held.format,
        architecture=name,
        beside=dict(file.beside.digests),
    )
    low, high = classifier.domain.bounds or (0.0, 1.0)
    arch, arguments = _identity(request, spec)
    return Loaded(
        classifier,
        model,
        notes,
        arch,
        {**arguments, **built.implied},
        claimed=claims.taken(request, spec),
        doubts=claims.doubts(request, spec, network, high - low),
        bare=bare if described and not request.as_claimed else None,
        assumed=() if spec is not None or built.assumed else claims.assumed(request.given),
    )


def whole(
    path: Path, file: files.File, size: int, held: Contents, graph: Graph, request: LoadOptions
) -> Loaded:
    """The classifier in a file that describes its network, too; what the user says goes before that."""
    if (request.arch is not None and not graph.from_arch) or request.entry is not None:
        flag = "--entry" if request.arch is None else "--arch"
        raise Failed(f"{held.format} describes its network itself: leave {flag} out")
    shape = request.input_shape or graph.input_shape
    if shape is None:
        raise Failed("the file leaves the size of its inputs open: give --input, such as 3x32x32")
    if request.input_shape is None:  # the file's choice, not the user's
        architecture.check_activations(graph.module, shape, graph.name)
    known = {name: getattr(graph, name) for name in ("bounds", "mean", "std")}
    known = {name: value for name, value in known.items() if value is not None}
    classifier = _classifier(graph.module, shape, request.filled(**known), None, graph.class_names)
    if request.classes not in (None, classifier.classes):
        raise Failed(
            f"the network has {classifier.classes} classes, not {request.classes}: leave --classes out"
        )
    model = describe(
        classifier,
        name=path.name or path.resolve().name,
        file=str(file.path),
        sha256=file.sha256,
        bytes=size,
        format=held.format,
        architecture=graph.name,
        beside=dict(file.beside.digests),
    )
    beside = file.beside.digests.items()
    others = (f"also read: {clean_text(name, 80)}, SHA-256 {digest}" for name, digest in beside)
    low, high = classifier.domain.bounds or (0.0, 1.0)
    claimed = tuple(sorted(name for name in known if getattr(request, name) is None))
    names = ("class names",) if graph.class_names and request.class_names is None else ()
    notes = (*file.notes, *held.notes, *graph.notes, *others)
    doubts: tuple[str, ...] = ()
    if not request.as_claimed:
        doubts = (*claims.unusual(request, graph.bounds, graph.std, high - low), *graph.doubts)
    told = any(note.startswith(claims.ASSUMED) for note in graph.notes)
    assumed = () if told else claims.assumed({*request.given, *known})
    return Loaded(classifier, model, notes, claimed=(*claimed, *names), doubts=doubts, assumed=assumed)


def _spec(text: str) -> Spec:
    try:
        return Spec.from_json(text)
    except Exception as error:  # written by whoever wrote the file
        raise Failed(f"the file's mmbd metadata is broken: {clean_text(str(error), 200)}. {WORDS}") from None


def _identity(request: LoadOptions, spec: Spec | None) -> tuple[str, dict[str, Any]]:
    """The architecture that the request or else the file names, and its arguments."""
    arch = request.arch or (spec.arch if spec else "")
    name = arch if isinstance(arch, str) else architecture.label(arch, {})
    known = spec.arguments if spec and spec.arch == name else {}
    return name, {**known, **request.arch_args}


def _classifier(
    network: nn.Module,
    shape: tuple[int, ...],
    request: LoadOptions,
    spec: Spec | None,
    names: tuple[str, ...] | None = None,
) -> Classifier:
    """The network as a classifier; `names` are those of its classes that the file tells."""
    bounds = request.bounds or (spec.bounds if spec else (0.0, 1.0))
    mean = request.mean if request.mean is not None or spec is None else spec.mean
    std = request.std if request.std is not None or spec is None else spec.std
    # The user's class names may tell which of several outputs are the logits, the file's may not.
    names = spec.class_names if spec else names
    named = names if request.class_names is None else None
    try:
        classifier = Classifier(
            network.to(request.device),
            domain=domain_for(spec.domain if spec else "box", shape, bounds),
            mean=mean,
            std=std,
            class_names=request.class_names,
            device=request.device,
            output=request.output,
            ends_in=request.ends_in,
            classes=request.classes,
        )
        if named is not None and len(named) != classifier.classes:
            raise ValueError(f"{len(named)} class names for {classifier.classes} classes")
    except (Refused, Failed, NotEvaluable):
        raise
    except Exception as error:  # arguments that do not fit, from the user or from the file
        raise Failed(f"the inputs described do not fit: {clean_text(str(error), 300)}. {DESCRIBE}") from error
    classifier.class_names = named or classifier.class_names
    return classifier


def _overridden(request: LoadOptions, spec: Spec | None) -> tuple[str, ...]:
    if spec is None:
        return ()
    names = ("arch", "arch_args", "input_shape", "bounds", "mean", "std", "class_names", "classes")
    given = [name for name in names if getattr(request, name) not in (None, {})]
    return (f"given here and not taken from the file: {', '.join(given)}",) if given else ()
