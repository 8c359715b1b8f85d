"""From the bytes of an ONNX file to plain data: nodes, their attributes, and tensors.

Nothing is computed here, and nothing that the file names is run. It is parsed by the protobuf classes of
the package `onnx` alone: its loader follows paths, and its checker and converter are further parsers.
"""

from __future__ import annotations

import json
from typing import Any

from mmbd.base.errors import Failed, Refused
from mmbd.base.extras import require
from mmbd.base.text import clean_text, count
from mmbd.formats.advice import broken, excessive
from mmbd.formats.beside import Beside
from mmbd.formats.format import Contents
from mmbd.formats.onnx import wire
from mmbd.formats.onnx.operators import LATEST
from mmbd.formats.onnx.supported import OWN, check, check_statistics
from mmbd.formats.onnx.tensors import OTHERWISE, decimal_kinds, tensor

MOST_PARTS = 100_000  # nodes, tensors and descriptions of values
MOST_NODES = 20_000
MOST_NAMES = 1000  # inputs or outputs of a node
KINDS = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "text",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}
# The kinds of attributes: the number of the kind, and the field that holds the value.
FLOAT, INT, STRING, TENSOR, GRAPH, FLOATS, INTS, STRINGS = range(1, 9)
FIELDS = {FLOAT: "f", INT: "i", STRING: "s", FLOATS: "floats", INTS: "ints", STRINGS: "strings"}


def read(data: bytes | bytearray, beside: Beside) -> Contents:
    """The graph of an ONNX file as plain data, and its tensors on the CPU.

    Raises:
        Refused: operators that are not computed here, all of them by name; branches and loops.
        Failed: broken, cut short, in training mode; sizes that do not add up, or no package `onnx`.
    """
    model = _parsed(data)
    graph = model.graph
    _readable(model)
    check(model)
    check_statistics(graph, _opset(model))
    if not graph.node:
        raise broken("the graph has no nodes")
    kinds = {int(each.data_type) for each in graph.initializer}
    tensors: dict[str, Any] = {}
    for each in graph.initializer:
        if not each.name or each.name in tensors:
            raise broken(f"the graph has two tensors {clean_text(each.name, 60)!r}, or one without a name")
        tensors[each.name] = tensor(each, beside)
    nodes: list[Any] = []
    for node in graph.node:
        if node.op_type == "Constant":
            name, value = _constant(node, beside)
            if name in tensors:
                raise broken(f"the graph has two values {clean_text(name, 60)!r}")
            tensors[name] = value
        else:
            nodes.append(_node(node, beside))
    value: dict[str, Any] = {
        "ir_version": int(model.ir_version),
        "opset": _opset(model),
        "producer": clean_text(model.producer_name, 60),
        "nodes": nodes,
        "inputs": [_described(each) for each in graph.input if each.name not in tensors],
        "outputs": [_described(each) for each in graph.output],
        "tensors": tensors,
        "kinds": decimal_kinds(graph),
        "class_names": _class_names(model),
    }
    lower = sorted(OTHERWISE[kind] for kind in kinds if kind in OTHERWISE)
    notes = (f"its numbers in {' and '.join(lower)} are computed with in float32",) if lower else ()
    return Contents(value, "ONNX", None, notes)


def _parsed(data: bytes | bytearray) -> Any:
    try:
        onnx = require("onnx", extra="onnx")
    except ImportError as error:
        raise Failed(str(error)) from None
    damaged = "the ONNX file is cut short or damaged"
    try:
        if wire.parts(data, MOST_PARTS) > MOST_PARTS:
            raise excessive(f"the ONNX graph has more than {count(MOST_PARTS)} nodes and tensors")
        model = onnx.ModelProto()
        model.ParseFromString(bytes(data) if isinstance(data, bytearray) else data)
    except ValueError as error:
        raise error if isinstance(error, Failed) else broken(damaged) from None
    except MemoryError:
        raise
    except Exception:  # of protobuf, whose errors are in no common class
        raise broken(damaged) from None
    if len(model.graph.node) > MOST_NODES:
        raise excessive(f"the ONNX graph has {count(len(model.graph.node))} nodes")
    return model


def _readable(model: Any) -> None:
    """Failed where a name is no text: protobuf hands out bytes then, which nothing else here expects."""
    graph = model.graph
    names: list[Any] = [model.producer_name]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
        for each in node.attribute:
            names += [each.name, each.ref_attr_name, each.t.name if each.HasField("t") else ""]
    for each in (*model.opset_import, *model.functions):
        names.append(each.domain)
    names += [each.name for each in (*graph.initializer, *graph.input, *graph.output, *model.functions)]
    for each in model.metadata_props:
        names += [each.key, each.value]
    for each in graph.initializer:
        for entry in each.external_data:
            names += [entry.key, entry.value]
    if not all(isinstance(name, str) for name in names):
        raise broken("a name in the ONNX file is no text")


def _opset(model: Any) -> int:
    """The version of ONNX's own operators; 1 where the file does not say, as the first files do not."""
    versions = {int(each.version) for each in model.opset_import if each.domain in OWN}
    if len(versions) > 1:
        raise broken(f"the ONNX file says two versions of its operators, {sorted(versions)}")
    version = versions.pop() if versions else 1
    if version > LATEST:
        raise Refused(
            f"the ONNX file has operators of version {version}, and mmbd knows those up to {LATEST}: export "
            f"it with opset_version={LATEST} or lower"
        )
    return max(1, version)


def _described(value: Any) -> dict[str, Any]:
    """Name, kind of number and shape of an input or output; a length is None where it is left open."""
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        return {"name": value.name, "kind": KINDS.get(int(kind.elem_type), "other"), "shape": None}
    dims = [int(each.dim_value) if each.HasField("dim_value") else None for each in kind.shape.dim]
    shape = [None if each is None or each <= 0 else each for each in dims]
    return {"name": value.name, "kind": KINDS.get(int(kind.elem_type), "other"), "shape": shape}


def _node(node: Any, beside: Beside) -> dict[str, Any]:
    if len(node.input) > MOST_NAMES or len(node.output) > MOST_NAMES:
        raise excessive(f"a node of the ONNX graph has {count(len(node.input))} inputs")
    attributes: dict[str, Any] = {}
    for each in node.attribute:
        if each.name in attributes:
            raise broken(f"{node.op_type} has its attribute {clean_text(each.name, 40)!r} twice")
        attributes[each.name] = _attribute(node, each, beside)
    return {
        "name": node.name,
        "op": node.op_type,
        "inputs": list(node.input),
        "outputs": list(node.output),
        "attributes": attributes,
    }


def _attribute(node: Any, each: Any, beside: Beside) -> Any:
    kind = int(each.type) or _guessed(each)
    if each.ref_attr_name or kind not in (*FIELDS, TENSOR):
        raise Refused(
            f"the ONNX graph has {clean_text(node.op_type, 40)} with an attribute "
            f"{clean_text(each.name, 40)!r} that is no number, text or tensor, which mmbd does not "
            "compute: export it without"
        )
    if kind == TENSOR:
        return tensor(each.t, beside)
    value = getattr(each, FIELDS[kind])
    if kind == STRING:
        return _text(value)
    if kind == STRINGS:
        return [_text(one) for one in value]
    return list(value) if kind in (FLOATS, INTS) else value


def _guessed(each: Any) -> int:
    """The kind of an attribute that does not say it, as in the first version of the format."""
    for kind, name in ((INTS, "ints"), (FLOATS, "floats"), (STRINGS, "strings")):
        if len(getattr(each, name)):
            return kind
    for kind, name in ((FLOAT, "f"), (INT, "i"), (STRING, "s"), (TENSOR, "t"), (GRAPH, "g")):
        if each.HasField(name):
            return kind
    return INTS  # an empty list


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _constant(node: Any, beside: Beside) -> tuple[str, Any]:
    """The name and the tensor of a Constant."""
    import torch

    if len(node.attribute) != 1 or len(node.output) != 1 or node.input:
        raise broken("a Constant of the ONNX graph has not one value")
    (attribute,) = node.attribute
    value = _attribute(node, attribute, beside)
    wanted = {"value", "value_int", "value_ints", "value_float", "value_floats"}
    if attribute.name not in wanted or isinstance(value, str):
        raise Refused(
            f"the ONNX graph has a Constant with {clean_text(attribute.name, 40)!r}, no numbers: export it "
            "with numbers alone"
        )
    if not isinstance(value, torch.Tensor):
        dtype = torch.float32 if attribute.name.startswith("value_float") else torch.int64
        value = torch.tensor(value, dtype=dtype)
    return node.output[0], value


def _class_names(model: Any) -> list[str] | None:
    """Class names in the file's metadata, where they are a plain list in JSON."""
    for entry in model.metadata_props:
        if entry.key in ("class_names", "classes", "labels") and len(entry.value) < 1 << 20:
            try:
                names = json.loads(entry.value)
            except (ValueError, RecursionError):
                continue
            if isinstance(names, list) and names and all(isinstance(each, str) for each in names):
                return [clean_text(each, 200) for each in names]
    return None
