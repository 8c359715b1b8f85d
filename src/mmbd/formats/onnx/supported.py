"""What an ONNX file must not have: operators that are not computed here, branches, statistics of a batch."""

from __future__ import annotations

from collections import Counter
from typing import Any

from mmbd.base.errors import Failed, Refused
from mmbd.base.text import clean_text, listed
from mmbd.formats.onnx.operators import OPERATORS

OWN = ("", "ai.onnx")  # the names of the domain of ONNX's own operators
CONTROL = {"If": "branches", "Loop": "loops", "Scan": "loops"}
QUANTISED = (
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
)


def check(model: Any) -> None:
    """Refused where there is anything that is not computed here; says all of it."""
    graph = model.graph
    control = [node for node in graph.node if node.domain in OWN and node.op_type in CONTROL]
    if control:
        named = listed(
            (f"{node.op_type} {node.name!r}" if node.name else node.op_type for node in control), 5
        )
        what = sorted({CONTROL[node.op_type] for node in control})
        raise Refused(
            f"the ONNX graph has {' and '.join(what)} ({named}), whose way depends on the input: no gradient "
            "tells what the other way does, and a backdoor can hide there. Export the network without, or "
            "ask whoever made it why it has them"
        )
    own = {(each.domain, each.name) for each in model.functions}
    strange: Counter[str] = Counter()
    for node in graph.node:
        known = node.domain in OWN and (node.op_type in OPERATORS or node.op_type == "Constant")
        if (node.domain, node.op_type) in own:
            strange[f"{node.op_type} (a function of the file's own)"] += 1
        elif not known:
            strange[node.op_type if node.domain in OWN else f"{node.domain}.{node.op_type}"] += 1
    if graph.sparse_initializer:
        strange["sparse tensors"] += len(graph.sparse_initializer)
    if not strange:
        return
    quantised = any(name in QUANTISED or name.split(".")[-1].startswith("QLinear") for name in strange)
    way_out = (
        "It is quantised: export the network in float32, before that, and scan that file"
        if quantised
        else "Export the network with ONNX's own operators in eval mode, or scan the weights that it was "
        "exported from, with --arch"
    )
    names = listed((f"{name} ({times}x)" if times > 1 else name for name, times in strange.items()), 40, 600)
    raise Refused(f"the ONNX graph needs what mmbd does not compute: {names}. {way_out}")


def check_statistics(graph: Any, opset: int) -> None:
    """Failed where BatchNormalization takes statistics of the batch, as its further outputs say it does.

    The file's own outputs count: those that nobody takes are not there later on.
    """
    for node in graph.node:
        if node.op_type != "BatchNormalization" or opset >= 14 or not any(node.output[1:]):
            continue
        tested = any(each.name == "is_test" and each.i for each in node.attribute)
        if opset >= 7 or not tested:
            raise Failed(
                f"BatchNormalization {clean_text(node.name, 60)!r} takes statistics of the batch (it has "
                f"{len(node.output)} outputs): export the network in eval mode"
            )
