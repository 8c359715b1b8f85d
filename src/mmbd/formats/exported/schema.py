"""The JSON of an exported program -> checked plain data: which operations, on which values, in which order.

torch writes a value as an object with one key that says of what kind it is, such as {"as_ints": [1, 1]}.
Here it becomes what it means: numbers, texts, lists and None stay themselves, and what names something is
a mapping of one key: `tensor` and `size` (a value of the graph), `dtype`, `memory_format`, `graph` (of an
operation that runs one). Guards, expressions of sizes, sample inputs and the rest are never looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmbd.base.errors import Refused
from mmbd.base.text import clean_text
from mmbd.formats.advice import broken, excessive

MAJOR = 8  # of the schema that is read
MAX_NODES = 100_000
MAX_DEPTH = 4  # of graphs within graphs
MAX_ITEMS = 10_000  # of one list
MAX_TEXT = 400
LARGEST = 1 << 63

DTYPES: dict[int, str] = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    12: "bool",
    13: "bfloat16",
}
MEMORY_FORMATS = {1: "contiguous_format", 2: "channels_last", 3: "channels_last_3d", 4: "preserve_format"}
STRIDED = 7
# As JSON has no numbers for these.
FLOATS = {"Infinity": float("inf"), "-Infinity": float("-inf"), "NaN": float("nan")}


def program(raw: Any) -> dict[str, Any]:
    """The checked program: `nodes`, `inputs`, `outputs`, what each input is, and the sizes of the user's.

    Returns:
        inputs: a list of mappings {"name", "kind"} with `target`, the weight's name, for the kinds
            "parameter", "buffer" and "constant", and `sizes` for "user": whole numbers, None where open.
        nodes: as `graph` has them.
        outputs: the values that the user gets.

    Raises:
        Refused: another version of the schema, or objects that are code.
        Failed: not as the schema has it.
    """
    whole = _mapping(raw, "the program")
    version = _mapping(whole.get("schema_version"), "schema_version").get("major")
    if version != MAJOR:
        raise Refused(
            f"the exported program is of schema {clean_text(str(version), 20)}, and {MAJOR} is read. Write "
            f"it anew with torch.export.save of a torch from 2.6 on, or save the weights alone"
        )
    module = _mapping(whole.get("graph_module"), "graph_module")
    drawn = _mapping(module.get("graph"), "graph")
    signature = _mapping(module.get("signature"), "signature")
    tensors = _mapping(drawn.get("tensor_values"), "tensor_values")
    made = graph(drawn)
    inputs = [_input(spec, tensors) for spec in _items(signature.get("input_specs"), "input_specs")]
    if [one["name"] for one in inputs] != made["inputs"]:
        raise broken("the exported program's signature does not fit its graph")
    outputs: list[Any] = []
    for spec in _items(signature.get("output_specs"), "output_specs"):
        kind, value = _only(spec, "an output")
        if kind != "user_output":
            continue  # what a training step changes; a classifier that is asked for answers does not
        outputs.append(argument(_mapping(value, "an output").get("arg")))
    return {**made, "inputs": inputs, "outputs": outputs}


def _input(spec: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
    kind, value = _only(spec, "an input")
    value = _mapping(value, "an input")
    if kind in ("custom_obj", "token"):
        raise Refused(
            f"the exported program takes an object of code as an input ({kind}). It was not loaded. Save the "
            "network's weights alone, where you trust this file, and scan those"
        )
    if kind == "user_input":
        found = argument(value.get("arg"))
        name = found.get("tensor") if isinstance(found, dict) else None
        if name is None:
            raise broken("the exported program takes an input that is no tensor")
        meta = _mapping(tensors.get(name), "an input's tensor")
        sizes = [_size(item) for item in _items(meta.get("sizes"), "sizes")]
        return {"kind": "user", "name": name, "sizes": sizes}
    if kind == "constant_input":
        _, constant = _only(value.get("value"), "a constant input")
        return {"kind": "fixed", "name": _text(value.get("name")), "value": constant}
    targets = {
        "parameter": "parameter_name",
        "buffer": "buffer_name",
        "tensor_constant": "tensor_constant_name",
    }
    if kind not in targets:
        raise broken(f"the exported program has an input of the kind {clean_text(kind, 40)}")
    name = _text(_mapping(value.get("arg"), "an input").get("name"))
    return {"kind": kind.removeprefix("tensor_"), "name": name, "target": _text(value.get(targets[kind]))}


def _size(item: Any) -> int | None:
    kind, value = _only(item, "a size")
    return whole_number(value) if kind == "as_int" else None


def graph(raw: Any, depth: int = 0) -> dict[str, Any]:
    """A graph: `inputs` (names), `nodes` ({"target", "inputs": {name: value}, "outputs"}) and `outputs`."""
    if depth > MAX_DEPTH:
        raise excessive(f"the exported program has graphs within graphs more than {MAX_DEPTH} deep")
    drawn = _mapping(raw, "graph")
    inputs, nodes = (_items(drawn.get(key), key, MAX_NODES) for key in ("inputs", "nodes"))
    return {
        "inputs": [_named(argument(each, depth)) for each in inputs],
        "nodes": [_node(each, depth) for each in nodes],
        "outputs": [argument(each, depth) for each in _items(drawn.get("outputs"), "outputs")],
    }


def _node(raw: Any, depth: int) -> dict[str, Any]:
    node = _mapping(raw, "a node")
    inputs: dict[str, Any] = {}
    for number, item in enumerate(_items(node.get("inputs"), "a node's inputs")):
        given = _mapping(item, "a node's input")
        # Those of graphs that a node runs have no name.
        name = _text(given.get("name")) or str(number)
        if name in inputs:
            raise broken(f"a node of the exported program has two inputs {clean_text(name, 40)!r}")
        inputs[name] = argument(given.get("arg"), depth)
    outputs = [argument(each, depth) for each in _items(node.get("outputs"), "a node's outputs")]
    return {"target": _text(node.get("target")), "inputs": inputs, "outputs": outputs}


def argument(raw: Any, depth: int = 0) -> Any:
    """What a value with its kind means; see the top of the file."""
    kind, value = _only(raw, "a value")
    if kind == "as_none":
        return None
    if kind in ("as_tensor", "as_optional_tensor"):
        if kind == "as_optional_tensor":
            return argument(value, depth)
        return {"tensor": _text(_mapping(value, "a tensor").get("name"))}
    if kind in ("as_sym_int", "as_sym_bool", "as_sym_float"):
        inner, what = _only(value, "a size")
        return {"size": _text(what)} if inner == "as_name" else _plain(what)
    if kind in ("as_int", "as_bool", "as_string"):
        return _plain(value)
    if kind == "as_float":
        return _plain(FLOATS.get(value, value) if isinstance(value, str) else value)
    if kind == "as_floats":
        return [argument({"as_float": each}) for each in _items(value, "a list")]
    if kind in ("as_tensors", "as_optional_tensors", "as_sym_ints", "as_sym_bools", "as_sym_floats"):
        single = {"as_tensors": "as_tensor", "as_optional_tensors": "as_optional_tensor"}.get(kind, kind[:-1])
        return [argument({single: each}, depth) for each in _items(value, "a list")]
    if kind in ("as_ints", "as_bools", "as_strings"):
        return [_plain(each) for each in _items(value, "a list")]
    if kind in ("as_int_lists", "as_float_lists"):
        return [[_plain(each) for each in _items(part, "a list")] for part in _items(value, "a list")]
    if kind == "as_scalar_type" and value in DTYPES:
        return {"dtype": DTYPES[value]}
    if kind == "as_memory_format" and value in MEMORY_FORMATS:
        return {"memory_format": MEMORY_FORMATS[value]}
    if kind == "as_layout" and value == STRIDED:
        return None
    if kind == "as_device":
        return {"device": "the input's"}
    if kind == "as_graph":
        return {"graph": graph(_mapping(value, "a graph").get("graph"), depth + 1)}
    raise Refused(
        f"the exported program has a value of a kind that is not read, {clean_text(kind, 40)}. It was not "
        "loaded. Save the network's weights alone, where you trust this file, and scan those"
    )


def whole_number(value: Any) -> int:
    """A whole number of at most 63 bits; Failed for anything else."""
    if type(value) is not int or abs(value) > LARGEST:
        raise broken("the exported program has a number that is none")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, str) and len(value) <= MAX_TEXT:
        return value
    if isinstance(value, bool | float):
        return value
    return whole_number(value)


def _named(value: Any) -> str:
    """The name of a graph's input."""
    if not isinstance(value, dict) or not {"tensor", "size"} & value.keys():
        return ""
    return next(iter(value.values()))


def _only(raw: Any, what: str) -> tuple[str, Any]:
    found = _mapping(raw, what)
    if len(found) != 1:
        raise broken(f"the exported program has {what} with {len(found)} kinds")
    return next(iter(found.items()))


def _mapping(raw: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        raise broken(f"the exported program's {what} is not as torch writes it")
    return raw


def _items(raw: Any, what: str, most: int = MAX_ITEMS) -> list[Any]:
    if not isinstance(raw, list):
        raise broken(f"the exported program's {what} are not as torch writes them")
    if len(raw) > most:
        raise excessive(f"the exported program has {len(raw):,} {what}, expected at most {most:,}")
    return raw


def _text(raw: Any) -> str:
    if not isinstance(raw, str) or len(raw) > MAX_TEXT:
        raise broken("the exported program has a name that is none")
    return raw
