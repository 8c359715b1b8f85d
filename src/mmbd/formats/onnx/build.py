"""From the description of a graph to a network in torch, for inputs as a classifier takes them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmbd.base.errors import Failed, MmbdError, NotEvaluable
from mmbd.base.seeds import generator_for
from mmbd.base.text import clean_text
from mmbd.formats.advice import INPUT, broken
from mmbd.formats.format import Contents, Graph
from mmbd.formats.onnx import branches, ends
from mmbd.formats.onnx.budget import ALL, Budget
from mmbd.formats.onnx.graph import Given, Plan, plan
from mmbd.formats.onnx.network import Network
from mmbd.formats.onnx.node import Impossible, Node, Value
from mmbd.formats.onnx.rows import Shell, arranged
from mmbd.formats.steepness import spread_of

if TYPE_CHECKING:
    from mmbd.formats.options import LoadOptions

DECIMAL = {"float32", "float16", "float64", "bfloat16"}
IMAGE_CHANNELS = (1, 3, 4)
# Before the transpose that puts channels first, there may be arithmetic.
BEFORE = {"Cast", "Identity", "Add", "Sub", "Mul", "Div", "Neg", "Clip", "Dropout"}
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "Linear", "MatMul", "LSTM", "GRU", "RNN", "Attention", "Einsum")


def build(contents: Contents, options: LoadOptions) -> Graph:
    """The network in an ONNX file.

    Args:
        contents: what `reading.read` gave; it is checked again.
        options: `input_shape` where the file leaves sizes open, and `output`.

    Raises:
        Failed: the graph is broken, does not take such inputs, or would need gigabytes.
        NotEvaluable: several inputs, or inputs that are no numbers with gradients.
    """
    try:
        return _built(contents, options)
    except Impossible as error:  # in what depends on no inputs
        raise broken(f"the ONNX graph cannot be computed ({error})") from None
    except (MmbdError, MemoryError):
        raise
    except Exception as error:  # of torch, on a graph of anybody's
        said = clean_text(f"{type(error).__name__}: {error}", 200)
        raise broken(f"the ONNX graph cannot be computed ({said})") from None


def _built(contents: Contents, options: LoadOptions) -> Graph:
    graph = plan(contents.value, options.output)
    last = _channels_last(graph.nodes, graph.given)
    known = _shape(graph.given, last)
    name = _name(graph.nodes)
    notes: list[str] = []
    bounds = None
    if graph.given.kind == "uint8":
        bounds = (0.0, 255.0)
        notes.append("it takes whole numbers from 0 to 255, which are floating-point numbers here")
    elif graph.given.kind not in DECIMAL:
        raise NotEvaluable(
            f"the ONNX graph takes {graph.given.kind} ({clean_text(graph.given.name, 40)}): no gradient "
            "reaches such inputs. Export the network from where its inputs are floating-point numbers"
        )
    if last:
        notes.append("the file has channels last; here its inputs have them first (channels, height, width)")
    shape = options.input_shape or known
    if shape is None:
        return Graph(Shell(_network(graph), last), name, None, notes=tuple(notes))
    shapes, spread = _measured(graph, shape, last, name)
    decimals = {*spread} - {graph.given.name}
    if options.output is None:
        outputs = ends.likely(graph, shapes, decimals)
        if len(outputs) < len(graph.outputs):
            notes.append(f"of its {len(graph.outputs)} outputs, {clean_text(outputs[0], 60)!r} may be logits")
        graph = graph.reduced(outputs)
    end = ends.End(graph)
    if len(graph.outputs) == 1 and options.ends_in is None:
        end = ends.without(graph, shapes)
    wanted = None if options.output is None else str(options.output)
    module, note, doubt = arranged(
        end.plan, shape, lambda network, rows: Shell(network, last, end.single, rows, wanted)
    )
    notes += [each for each in (end.note, note) if each]
    names = _names(contents.value, module, shape)
    doubts = branches.doubts(end.plan, _kinds(contents.value.get("kinds"), end.plan), shapes, spread)
    doubts = (doubt, *doubts) if doubt else doubts
    return Graph(module, name, known, bounds, class_names=names, notes=tuple(notes), doubts=doubts)


def _kinds(value: Any, graph: Plan) -> dict[str, int]:
    """The kinds of numbers of the tensors, of those that the graph takes."""
    if not isinstance(value, dict) or not all(isinstance(each, int) for each in value.values()):
        raise broken("the description of the ONNX graph is damaged")
    return {name: kind for name, kind in value.items() if name in graph.constants}


def _network(graph: Plan) -> Network:
    return Network(graph.nodes, graph.constants, graph.given.name, graph.outputs).eval()


def _name(nodes: Sequence[Node]) -> str:
    counts = Counter(node.op for node in nodes if node.op in WEIGHTED)
    said = ", ".join(f"{times} {op}" for op, times in counts.most_common(4)) or f"{len(nodes)} nodes"
    return f"ONNX graph ({said})"


def _channels_last(nodes: Sequence[Node], given: Given) -> bool:
    """Whether the graph takes images (n, height, width, channels)."""
    shape = given.shape
    if shape is None or len(shape) != 4:
        return False
    height, width, channels = shape[1:]
    if (
        channels in IMAGE_CHANNELS
        and all(side is None or side not in IMAGE_CHANNELS for side in (height, width))
        and (height is not None and width is not None)
    ):
        return True
    reached = {given.name}
    for node in nodes:
        if reached.isdisjoint(node.inputs):
            continue
        if node.op == "Transpose" and node.attributes.get("perm") == [0, 3, 1, 2]:
            return channels is None or channels in IMAGE_CHANNELS
        if node.op in BEFORE:
            reached.update(node.outputs)
    return False


def _shape(given: Given, last: bool) -> tuple[int, ...] | None:
    """The shape of one input as the classifier takes it; None where the file leaves any of it open."""
    if given.shape is None or len(given.shape) < 2:
        return None
    rest = given.shape[1:]
    if last:
        rest = (rest[2], rest[0], rest[1])
    return None if None in rest else tuple(int(each or 0) for each in rest)


def _measured(
    graph: Plan, shape: tuple[int, ...], last: bool, name: str
) -> tuple[dict[str, tuple[int, ...]], dict[str, float]]:
    """The shapes of all values for one input, within the budget, and how far floating-point ones spread."""
    if math.prod(shape) > ALL >> 4:
        raise Failed(f"inputs of shape {shape} need gigabytes in {name}: not loaded. {INPUT}")
    batch = graph.given.shape[0] if graph.given.shape else None
    if batch is not None and batch > 1:
        raise Failed(
            f"the ONNX graph takes {batch} inputs at a time and no other number: export it with a batch of "
            "1, or with one that is left open"
        )
    shapes: dict[str, tuple[int, ...]] = {}
    spread: dict[str, float] = {}

    def seen(value: str, found: Value) -> None:
        shapes[value] = tuple(found.shape)
        if isinstance(found, Tensor) and found.dtype.is_floating_point:
            spread[value] = spread_of(found)

    point = torch.rand(1, *shape, generator=generator_for("an ONNX graph"))
    if last:
        point = point.permute(0, 2, 3, 1)
    seen(graph.given.name, point)
    try:
        with torch.no_grad():
            _network(graph).follow(point, Budget(), seen)
    except Failed as error:
        raise Failed(f"{name} does not take inputs of {shape}: {error}. {INPUT}") from None
    return shapes, spread


def _names(value: Any, module: Shell, shape: tuple[int, ...]) -> tuple[str, ...] | None:
    """The class names in the file's metadata, where they are as many as the logits."""
    names = value.get("class_names")
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        return None
    with torch.no_grad():
        found = module(torch.zeros(1, *shape))
    if module.name is not None:
        found = found[module.name]
    return tuple(names) if isinstance(found, Tensor) and found.numel() == len(names) else None
