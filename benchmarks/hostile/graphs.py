"""ONNX graphs that reach for other files, claim terabytes, or hide what they compute."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hostile import valid
from benchmarks.hostile.case import BROKEN, READ, REFUSED, STOPPED, Case
from benchmarks.hostile.payload import EXPRESSION, pickled

FAMILY = "ONNX"


def cases() -> list[Case]:
    return [*_external(), *_bombs(), *_operators(), *_damage()]


def _case(name: str, content: Any, expected: str = STOPPED) -> Case:
    return Case(FAMILY, name, content, expected, ".onnx", "onnx_load")


def _folder(data: bytes, beside: Callable[[Path], object] | None = None) -> Callable[[Path], None]:
    """A folder with the graph as `m.onnx`, and what `beside` puts there."""

    def make(path: Path) -> None:
        path.mkdir()
        (path / "m.onnx").write_bytes(data)
        if beside is not None:
            beside(path)

    return make


def _named(location: str, offset: str = "0", length: str = "80") -> bytes:
    model = valid.onnx_model("m.data")
    for entry in model.graph.initializer[0].external_data:
        entry.value = {"location": location, "offset": offset, "length": length}[entry.key]
    return model.SerializeToString()


def _external() -> list[Case]:
    numbers = valid.state()["1.weight"].numpy().tobytes()

    def link(path: Path) -> None:
        (path / "m.data").symlink_to("/etc/passwd")

    def hard(path: Path) -> None:
        (path / "other").write_bytes(numbers)
        os.link(path / "other", path / "m.data")

    def linked_folder(path: Path) -> None:
        (path / "sub").symlink_to("/etc")

    def plain(path: Path) -> None:
        (path / "m.data").write_bytes(numbers)

    places = {
        "absolute": "/etc/passwd",
        "above": "../../../../../../etc/passwd",
        "above, by a folder": "sub/../../../etc/passwd",
        "of Windows": "C:\\Windows\\win.ini",
        "above, of Windows": "..\\..\\secret",
        "a URL": "file:///etc/passwd",
        "a share": "//evil/share/x",
        "a device": "/dev/zero",
        "a process's memory": "/proc/self/mem",
        "cut at NUL": "m.data\0x",
        "empty": "",
        "the folder": ".",
        "the graph itself": "m.onnx",
        "named as an option": "--x",
        "of a stream": "m.data:stream",
        "a name of a megabyte": "x" * (1 << 20),
    }
    found = [(f"data {name}", _folder(_named(place), plain)) for name, place in places.items()]
    found += [
        ("data by a link", _folder(_named("m.data"), link)),
        ("data in a linked folder", _folder(_named("sub/passwd"), linked_folder)),
        ("data that is a FIFO", _folder(_named("m.data"), lambda path: os.mkfifo(path / "m.data"))),
        ("data that is a folder", _folder(_named("m.data"), lambda path: (path / "m.data").mkdir())),
        ("data that is not there", _folder(_named("m.data"))),
        ("data before its beginning", _folder(_named("m.data", offset="-8"), plain)),
        ("data beyond its end", _folder(_named("m.data", offset="8"), plain)),
        ("data of exabytes", _folder(_named("m.data", length=str(1 << 62)), plain)),
        ("data at a number that is none", _folder(_named("m.data", offset="0x0"), plain)),
        ("data at a number of 5,000 digits", _folder(_named("m.data", offset="9" * 5000), plain)),
    ]
    cases_ = [
        Case(FAMILY, name, make, READ if "itself" in name else STOPPED, "", "onnx_load", "m.onnx")
        for name, make in found
    ]
    cases_.append(
        Case(
            FAMILY,
            "data by a second name (hard link)",
            _folder(_named("m.data"), hard),
            READ,
            "",
            "onnx_load",
            "m.onnx",
        )
    )
    return cases_


def _graph(nodes: list[Any], tensors: dict[str, Any] | None = None, **more: Any) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (tensors or {}).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], **more)
    made.ir_version = 8
    return made.SerializeToString()


def _node(op: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def _bombs() -> list[Case]:
    long = np.int64
    doublings = [
        _node("Concat", f"{'x' if not n else f'h{n}'} {'x' if not n else f'h{n}'}", f"h{n + 1}", axis=1)
        for n in range(45)
    ]
    sums = [_node("Add", f"{'x' if not n else f'h{n}'} x", f"h{n + 1}") for n in range(30_000)]
    claim = valid.onnx_model()
    claim.graph.initializer[0].dims[:] = [1 << 40, 1 << 20]
    below = valid.onnx_model()
    below.graph.initializer[0].dims[:] = [-5, -4]
    found = {
        "a tensor that claims exabytes": claim.SerializeToString(),
        "a tensor of sizes below nothing": below.SerializeToString(),
        "doubled forty-five times": _graph([*doublings, _node("Identity", "h45", "y")]),
        "thirty thousand nodes": _graph([*sums, _node("Identity", "h30000", "y")]),
        "a constant of a terabyte": _graph(
            [_node("ConstantOfShape", "s", "h"), _node("Add", "x h", "y")], {"s": long([1 << 40])}
        ),
        "a range without end": _graph(
            [_node("Range", "a b c", "h"), _node("Add", "x h", "y")],
            {"a": long(0), "b": long(1 << 50), "c": long(1)},
        ),
        "tiles": _graph([_node("Tile", "x s", "y")], {"s": long([1 << 20, 1 << 20])}),
        "expanded": _graph([_node("Expand", "x s", "y")], {"s": long([1 << 30, 1 << 20, 1, 4])}),
        "padded by a trillion": _graph([_node("Pad", "x s", "y")], {"s": long([0, 1 << 40, 0, 1 << 40])}),
        "one-hot of a billion": _graph(
            [_node("OneHot", "i d v", "y")], {"i": long([1]), "d": long(1 << 33), "v": np.float32([0, 1])}
        ),
        "a window of a million": _graph(
            [
                _node("Unsqueeze", "x a", "h"),
                _node("MaxPool", "h", "y", kernel_shape=[1_000_000], pads=[999_999, 999_999]),
            ],
            {"a": long([1])},
        ),
        "a dilation of a trillion": _graph(
            [_node("Unsqueeze", "x a", "h"), _node("Conv", "h w", "y", dilations=[1 << 40])],
            {"a": long([1]), "w": np.ones((1, 1, 2), np.float32)},
        ),
        "a circle": _graph([_node("Add", "x b", "a"), _node("Add", "a x", "b"), _node("Identity", "a", "y")]),
        "itself": _graph([_node("Add", "y x", "y")]),
        "strides of nothing": _graph(
            [_node("Unsqueeze", "x a", "h"), _node("MaxPool", "h", "y", kernel_shape=[2], strides=[0])],
            {"a": long([1])},
        ),
        "indices beyond": _graph([_node("Gather", "x i", "y", axis=1)], {"i": long([1 << 40])}),
        "a division by nothing": _graph(
            [_node("Div", "a b", "h"), _node("Add", "x h", "y")], {"a": long([1]), "b": long([0])}
        ),
    }
    return [_case(name, data) for name, data in found.items()]


def _operators() -> list[Case]:
    from onnx import TensorProto, helper

    gemm = {"w": np.ones((4, 3), np.float32)}
    inside = helper.make_graph(
        [_node("MatMul", "x w", "z")],
        "inside",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    deep: Any = inside
    for _ in range(20):
        deep = helper.make_graph(
            [helper.make_node("If", ["c"], ["z"], then_branch=deep, else_branch=inside)],
            "deep",
            [],
            [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        )
    condition = {**gemm, "c": np.array(True)}
    branch = helper.make_node("If", ["c"], ["y"], then_branch=inside, else_branch=inside)
    loop = helper.make_node("Loop", ["", "c"], ["y"], body=inside)
    text = helper.make_tensor("t", TensorProto.STRING, [1], [EXPRESSION.encode()])
    sparse = valid.onnx_model()
    sparse.graph.sparse_initializer.add().dims.extend([4, 3])
    function = valid.onnx_model()
    made = function.functions.add()
    made.name, made.domain = "Gemm", ""
    trained = valid.onnx_model()
    trained.training_info.add()
    foreign = [_node("PyOp", "x", "y", module="os", class_name="system", domain="ai.onnx.contrib")]
    found = {
        "Python in an operator (PyOp)": (_graph(foreign), REFUSED),
        "an operator with a library's path": (
            _graph([_node("Custom", "x", "y", library="/tmp/evil.so", domain="evil")]),
            REFUSED,
        ),
        "an operator of onnxruntime's": (
            _graph([_node("ATen", "x", "y", operator="os.system", domain="org.pytorch.aten")]),
            REFUSED,
        ),
        "PythonOp": (
            _graph(
                [_node("PythonOp", "x", "y", name=EXPRESSION, pyobject=pickled(), domain="com.microsoft")]
            ),
            REFUSED,
        ),
        "EPContext with a library": (
            _graph([_node("EPContext", "x", "y", ep_cache_context="../evil.so", domain="com.microsoft")]),
            REFUSED,
        ),
        "branches": (_graph([branch], condition), REFUSED),
        "twenty branches in branches": (
            _graph([helper.make_node("If", ["c"], ["y"], then_branch=deep, else_branch=inside)], condition),
            STOPPED,
        ),
        "a loop without end": (_graph([loop], condition), REFUSED),
        "texts": (
            _graph(
                [helper.make_node("Constant", [], ["t"], value=text), _node("StringNormalizer", "t", "y")]
            ),
            STOPPED,
        ),
        "a tensor that is sparse": (sparse.SerializeToString(), STOPPED),
        "Gemm anew, as a function of the model": (function.SerializeToString(), REFUSED),
        "a graph for training": (trained.SerializeToString(), READ),
        "quantised": (_graph([_node("DynamicQuantizeLinear", "x", "y s z")]), REFUSED),
        "code as metadata": (_with_metadata({"class_names": f'["{EXPRESSION}"]', "code": EXPRESSION}), READ),
        "random numbers": (_graph([_node("RandomNormalLike", "x", "y")]), STOPPED),
        "an operator that is called with escapes": (_graph([_node("\x1b[2J\u202eGemm", "x", "y")]), STOPPED),
    }
    return [_case(name, data, expected) for name, (data, expected) in found.items()]


def _with_metadata(entries: dict[str, str]) -> bytes:
    from onnx import helper

    model = valid.onnx_model()
    helper.set_model_props(model, entries)
    return model.SerializeToString()


def _damage() -> list[Case]:
    data = valid.onnx_model().SerializeToString()
    again = valid.onnx_model()
    again.graph.initializer.append(again.graph.initializer[0])
    versions = valid.onnx_model()
    versions.opset_import.add().version = 7
    future = valid.onnx_model()
    future.opset_import[0].version = 9999
    found = {
        "cut in the middle": data[: len(data) // 2],
        "a tensor twice": again.SerializeToString(),
        "two versions of its operators": versions.SerializeToString(),
        "operators of version 9999": future.SerializeToString(),
        "a length of exabytes": data + b"\x3a" + b"\xff" * 9 + b"\x01",
        "groups of protobuf without end": data + b"\x0b" * 100_000,
        "a pickle as its weights": data.replace(
            valid.state()["1.weight"].numpy().tobytes(), pickled().ljust(80, b"\0")[:80]
        ),
    }
    expected = {"a pickle as its weights": READ}
    return [
        _case(name, content, expected.get(name, BROKEN if name != "operators of version 9999" else REFUSED))
        for name, content in found.items()
    ]
