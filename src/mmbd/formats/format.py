"""The types of a row of the table of formats, and of what it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmbd.formats.beside import Beside

if TYPE_CHECKING:
    from torch import nn

    from mmbd.formats.options import LoadOptions


@dataclass(frozen=True)
class Contents:
    """What a file holds: a mapping of tensors or an envelope around it, and `mmbd` metadata.

    Where the format describes the network, too (`Format.build`), the mapping holds that description
    beside the tensors: texts, numbers, truth values, None, lists and mappings by text, as in JSON, and
    nothing that could run. `aliases` are names of tensors that the file leaves out, as they are others:
    name -> that one.
    """

    value: Any
    format: str
    metadata: str | None
    notes: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Graph:
    """A network that its file describes, how it computes as well as its weights.

    Args:
        module: takes batches of inputs (n, *input_shape) and returns logits, with gradients. All of its
            code is the project's own or of a library that the user has installed.
        name: the architecture in words, such as "ONNX graph (21 Conv, 1 Gemm)".
        input_shape: of one input; None where the file leaves it open.
        bounds, mean, std, class_names: as `mmbd.load` takes them; None where the file does not say.
        notes: sentences on what had to be assumed or left out.
        doubts: what in the network may hide a backdoor from a search, such as a branch on its data, or
            answers that depend on how many inputs come together; no verdict of clean may rest on it.
        from_arch: whether the user's `arch` described it, for a file of weights alone.
    """

    module: nn.Module
    name: str
    input_shape: tuple[int, ...] | None = None
    bounds: tuple[float, float] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    from_arch: bool = False


@dataclass(frozen=True)
class Format:
    """A format for weights, or for whole networks.

    Args:
        title: what a file of it is, as in "the file is {title}".
        suffixes: of the names that such files have, in lower case.
        recognise: whether a file is of the format, by its first megabyte (or all of it), of which
            there are 16 bytes at least.
        read: the tensors in a whole file, all on the CPU; it gets the file's bytes, and the files beside
            it. It runs nothing, and raises `Refused` or `Failed` for everything that is not as the
            format has it.
        build: the network that the contents describe, for formats that describe one; it trusts nothing
            in them, and raises as `read` does. None for formats of weights alone.
        neighbours: whether files of it may name others beside them.
    """

    title: str
    suffixes: tuple[str, ...]
    recognise: Callable[[bytes], bool]
    read: Callable[[bytes | bytearray, Beside], Contents]
    build: Callable[[Contents, LoadOptions], Graph] | None = None
    neighbours: bool = False
