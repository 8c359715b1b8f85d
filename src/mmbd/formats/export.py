"""A classifier in forms to deploy: a module of plain PyTorch, a .pt2, ONNX and safetensors files.

The first three need no mmbd where they are used. They run on the CPU until they are moved, take
float32 inputs (batch, *shape) as the classifier takes them, and return logits (batch, classes).
Each is compared with the classifier on random inputs before anybody gets it, and the files are
read back for that.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmbd import nets
from mmbd.base.choose import unknown
from mmbd.base.errors import NotExported
from mmbd.base.extras import require
from mmbd.base.text import clean_text
from mmbd.base.writing import whole
from mmbd.formats import tracing
from mmbd.formats.load import load
from mmbd.formats.loaded import Loaded
from mmbd.formats.spec import Spec, as_bytes
from mmbd.formats.tracing import said, source_of
from mmbd.model.classifier import Classifier

NOISY = ("torch.onnx", "onnxscript", "onnx_ir")


def export(
    model: Classifier | Loaded,
    path: str | Path,
    *,
    normalise: bool = True,
    force: bool = False,
    arch: str | None = None,
    arch_args: Mapping[str, Any] | None = None,
) -> None:
    """Write a classifier in the form that the suffix of `path` names, one of EXPORTS.

    Args:
        model: a classifier, or what `mmbd.load` returned; left as it is.
        path: where to; written whole or not at all.
        normalise: whether normalisation happens inside; otherwise the network there takes
            normalised inputs. A safetensors file always says how its inputs are normalised.
        force: replace a file that is there.
        arch: for .safetensors, the network that the classifier has: a name in
            `mmbd.nets.ARCHITECTURES`. What was loaded knows it.
        arch_args: the arguments of `arch`, beside the shape of inputs and the number of classes.

    Raises:
        ValueError: a suffix that none of the forms has, or arguments that do not go together.
        FileExistsError: there is a file, and no `force`.
        ImportError: a package is missing; says which extra has it.
        NotExported: the network cannot be written in this form, or the file answers otherwise.

    Example:
        >>> net = nets.build("mlp", classes=5, input_shape=(1, 4, 4), hidden=(8,))
        >>> clf = Classifier(net, input_shape=(1, 4, 4))
        >>> export(clf, "net.pt")  # plain PyTorch
        >>> export(clf, "net.safetensors", arch="mlp", arch_args={"hidden": (8,)})
    """
    suffix = Path(path).suffix.lower()
    if suffix not in EXPORTS:
        raise ValueError(f"{clean_text(str(path), 400)}: {unknown('form of a file', suffix, EXPORTS)}")
    classifier = model if isinstance(model, Classifier) else model.classifier
    write = EXPORTS[suffix].write
    if suffix != ".safetensors":
        write(classifier, Path(path), normalise=normalise, force=force)
    elif not normalise:
        raise ValueError("normalise=False is for .pt2, .onnx and .pt: mmbd does what the file says")
    elif arch is not None:
        write(classifier, path, Spec.of(classifier, arch, arch_args), force=force)
    elif isinstance(model, Loaded) and model.arch:
        write(classifier, path, model.spec, force=force)
    else:
        raise ValueError("a safetensors file says which network it is for: give arch= (and arch_args=)")


def plain(classifier: Classifier, *, normalise: bool = True) -> nn.Module:
    """The classifier as a module of nothing but PyTorch, bounds and all, in eval mode.

    pickle and `torch.save` keep it, and whoever loads it needs no mmbd. Where torch.fx can follow
    the network, its layers keep their names, and torch.jit.script takes it; elsewhere it consists
    of the operations that torch.export sees, and torch.jit.trace takes it.

    Args:
        classifier: left as it is; nothing is shared with it.
        normalise: whether normalisation happens inside; otherwise inputs are to be normalised.

    Raises:
        NotExported: neither can follow the network, or the result answers otherwise.
    """
    source = source_of(classifier, normalise)
    failures: list[str] = []
    for make in (tracing.traced, tracing.flattened):
        try:
            module = make(source)
            source.compare(module)
        except Exception as error:  # the model is somebody else's code: anything may come
            failures.append(said(error))
        else:
            return module
    raise NotExported(
        f"the network cannot be followed, neither by torch.fx ({failures[0]}) nor by torch.export "
        f"({failures[1]}). Rewrite its branches on values (with torch.where, say), or save its "
        "weights with mmbd.formats.export.safetensors and use it where mmbd is"
    )


def torch_export(
    classifier: Classifier, path: str | Path, *, normalise: bool = True, force: bool = False
) -> None:
    """Write the classifier as a torch.export archive (.pt2), for batches of any size.

    `torch.export.load(path).module()` is the network again.

    Args:
        classifier: as for `plain`.
        path: where to; written whole or not at all.
        normalise: as for `plain`.
        force: replace a file that is there.

    Raises:
        FileExistsError: there is a file, and no `force`.
        NotExported: torch.export cannot follow the network, or the file answers otherwise.
    """
    with whole(path, force=force) as file:
        source = source_of(classifier, normalise)
        data = io.BytesIO()
        torch.export.save(tracing.program(source), data)
        file.write(data.getvalue())
        data.seek(0)
        source.compare(torch.export.load(data).module())


def onnx(classifier: Classifier, path: str | Path, *, normalise: bool = True, force: bool = False) -> None:
    """Write the classifier as ONNX, from `inputs` to `logits`, for batches of any size.

    Needs the extra `onnx`, with which the file is checked too.

    Args:
        classifier: as for `plain`.
        path: as for `torch_export`.
        normalise: as for `plain`.
        force: as for `torch_export`.

    Raises:
        FileExistsError: there is a file, and no `force`.
        ImportError: without the extra.
        NotExported: as for `torch_export`, or ONNX has no word for something in the network.
    """
    for module in ("onnx", "onnxscript"):
        require(module, extra="onnx")
    runtime = require("onnxruntime", extra="onnx")
    with whole(path, force=force) as file:
        source = source_of(classifier, normalise)
        program = tracing.program(source)
        try:
            with _quiet(), torch.no_grad():
                made: Any = torch.onnx.export(
                    program,
                    input_names=["inputs"],
                    output_names=["logits"],
                    dynamic_shapes=({0: "batch"},),
                    dynamo=True,
                    verbose=False,
                )
            data: bytes = made.model_proto.SerializeToString()
        except Exception as error:
            raise NotExported(f"the network cannot be written as ONNX: {said(error)}") from error
        file.write(data)
        session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])

        def answers(points: Tensor) -> Tensor:
            return torch.from_numpy(session.run(None, {"inputs": points.numpy()})[0])

        source.compare(answers)


def safetensors(classifier: Classifier, path: str | Path, spec: Spec, *, force: bool = False) -> None:
    """Write the classifier as safetensors, bounds included, for `mmbd.load` and `mmbd scan`.

    Args:
        classifier: with a network of the architecture that `spec` names, bounded or not.
        path: as for `torch_export`.
        spec: what the file shall say of itself: `Loaded.spec` of the classifier that was repaired.
            Files of built-in architectures load without flags; others need `--arch`.
        force: as for `torch_export`.

    Raises:
        FileExistsError: there is a file, and no `force`.
        NotExported: the file would not load, or answer otherwise.
    """
    source = source_of(classifier)
    with whole(path, force=force) as file:
        try:
            Spec.from_json(spec.to_json())
            file.write(as_bytes(source.module.network, spec))
            file.flush()
            if spec.arch in nets.ARCHITECTURES:
                source.compare(load(file.name).classifier)
        except (NotExported, OSError):
            raise
        except Exception as error:  # somebody else's network, with anything in its state
            raise NotExported(
                f"the network would not load again as {clean_text(spec.arch, 80)}: {said(error)}"
            ) from error


def _pickled(classifier: Classifier, path: Path, *, normalise: bool, force: bool) -> None:
    with whole(path, force=force) as file:
        torch.save(plain(classifier, normalise=normalise), file)


class Form(NamedTuple):
    """A form to deploy: what it is in a line, and what writes it.

    A safetensors file needs a `Spec` to be written, and mmbd to be used; the others need neither.
    """

    title: str
    write: Callable[..., None]


EXPORTS: dict[str, Form] = {  # by suffix
    ".safetensors": Form("weights, and what mmbd has to know to load them", safetensors),
    ".onnx": Form("an ONNX graph from inputs to logits, for batches of any size", onnx),
    ".pt2": Form("an archive of torch.export, for batches of any size", torch_export),
    ".pt": Form("a pickled module of plain PyTorch", _pickled),
}


def check(classifier: Classifier, suffix: str, spec: Callable[[], Spec]) -> None:
    """Find out early, before a long repair, whether a network can be written in a form at all.

    For .safetensors that takes no time, for the other forms as long as it takes to follow the
    network once: a second or a few. What can still fail afterwards are disks and the comparison.

    Args:
        classifier: the one that is to be repaired; left as it is.
        suffix: .safetensors, .onnx, .pt2 or .pt.
        spec: for .safetensors, makes what the file is to say: `lambda: loaded.spec`.

    Raises:
        ImportError: a package is missing; says which extra has it.
        NotExported: it cannot be written so, why, and what to do instead.
    """
    if suffix == ".safetensors":
        try:
            Spec.from_json(spec().to_json())
        except (ValueError, TypeError) as error:
            raise NotExported(
                f"a safetensors file has no words for this network: {said(error)}; write .pt2 or .onnx"
            ) from error
        source_of(classifier)
    elif suffix == ".pt":
        plain(classifier)
    else:
        for module in ("onnx", "onnxscript", "onnxruntime") if suffix == ".onnx" else ():
            require(module, extra="onnx")
        tracing.program(source_of(classifier))


@contextmanager
def _quiet() -> Generator[None]:
    """Without what the exporter says about itself."""
    loggers = [logging.getLogger(name) for name in NOISY]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
