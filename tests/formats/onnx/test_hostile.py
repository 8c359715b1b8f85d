"""Files that whoever made them made to break, to fill memory, or to hide something."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import mmbd
from helpers.onnx_files import built, model, node, values
from mmbd.base.errors import Failed, MmbdError, NotEvaluable, Refused
from mmbd.formats.identify import identify
from mmbd.formats.onnx import budget, wire

LONG = np.int64
W = {"w": values(4, 5)}
HUGE = {
    "ConstantOfShape": ([node("ConstantOfShape", "s", "h"), node("Add", "x h", "y")], {"s": LONG([1 << 40])}),
    "Range": (
        [node("Range", "a b c", "h"), node("Add", "x h", "y")],
        {"a": LONG(0), "b": LONG(1 << 40), "c": LONG(1)},
    ),
    "Tile": ([node("Tile", "x s", "y")], {"s": LONG([1 << 20, 1 << 20])}),
    "Expand": ([node("Expand", "x s", "h"), node("Exp", "h", "y")], {"s": LONG([1 << 20, 1 << 14, 1, 4])}),
    "OneHot": (
        [node("Cast", "x", "i", to=7), node("OneHot", "i d v", "y")],
        {"d": LONG(1 << 30), "v": values(2)},
    ),
    "Pad": ([node("Pad", "x s", "y")], {"s": LONG([0, 0, 0, 1 << 30])}),
    "Resize": ([node("Resize", "x - s", "y")], {"s": np.float32([1, 1e9])}),
    "outer products": (
        [
            node("Reshape", "x s", "a"),
            node("Mul", "a w", "b"),
            node("Reshape", "b s", "c"),
            node("Mul", "c w", "y"),
        ],
        {"s": LONG([-1, 1]), "w": np.zeros((1 << 14,), np.float32)},
    ),
}
HUGE["Gather"] = (
    [
        node("Gather", "x s", "a", axis=1),
        node("Gather", "a s", "b", axis=1),
        node("Reshape", "b to", "q"),
        node("Mul", "b q", "y"),
    ],
    {"s": np.zeros((1 << 14,), LONG), "to": LONG([-1, 1])},
)


@pytest.mark.parametrize("name", HUGE)
def test_gigabytes_are_seen_before_they_are_taken(name: str) -> None:
    nodes, tensors = HUGE[name]
    with pytest.raises(Failed, match=r"gigabytes|shape|pads|scale|expected|numbers|lengths|depth"):
        built(model(nodes, ["n", 4], tensors))


def test_doublings_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "EACH", 1 << 20)
    nodes = [node("Concat", f"v{i} v{i}".replace("v0", "x"), f"v{i + 1}", axis=1) for i in range(40)]
    with pytest.raises(Failed, match="gigabytes"):
        built(model([*nodes, node("Identity", "v40", "y")], ["n", 4]))
    constant = [node("Concat", f"v{i} v{i}", f"v{i + 1}", axis=0) for i in range(40)]
    with pytest.raises(Failed, match="gigabytes"):
        built(model([*constant, node("Add", "x v40", "y")], ["n", 4], {"v0": values(4)}))


IMAGE = ["n", 3, 8, 8]
KERNEL = {"w": values(4, 3, 3, 3)}
BAD: dict[str, tuple[list[Any], list[Any], dict[str, np.ndarray]]] = {
    "a stride of 0": ([node("Conv", "x w", "y", strides=[0, 1])], IMAGE, KERNEL),
    "a negative pad": ([node("Conv", "x w", "y", pads=[-1, 0, 0, 0])], IMAGE, KERNEL),
    "a dilation of 2^40": ([node("Conv", "x w", "y", dilations=[1 << 40, 1])], IMAGE, KERNEL),
    "pads of a million": ([node("MaxPool", "x", "y", kernel_shape=[2, 2], pads=[10**6] * 4)], IMAGE, {}),
    "pads and strides of a million": (
        [node("AveragePool", "x", "y", kernel_shape=[2, 2], pads=[10**6] * 4, strides=[10**6] * 2)],
        IMAGE,
        {},
    ),
    "no groups": ([node("Conv", "x w", "y", group=0)], IMAGE, KERNEL),
    "groups that do not fit": ([node("Conv", "x w", "y", group=3)], IMAGE, KERNEL),
    "another kernel": ([node("Conv", "x w", "y", kernel_shape=[5, 5])], IMAGE, KERNEL),
    "too few strides": ([node("Conv", "x w", "y", strides=[1])], IMAGE, KERNEL),
    "a word for a number": ([node("Conv", "x w", "y", group="1")], IMAGE, KERNEL),
    "an infinite slope": ([node("LeakyRelu", "x", "y", alpha=float("inf"))], IMAGE, {}),
    "a place outside": ([node("Gather", "x i", "y", axis=1)], IMAGE, {"i": LONG([99])}),
    "an axis outside": ([node("Softmax", "x", "y", axis=9)], IMAGE, {}),
    "a step of 0": (
        [node("Slice", "x a b c a", "y")],
        IMAGE,
        {"a": LONG([0]), "b": LONG([1]), "c": LONG([1])},
    ),
    "a foreign attribute": ([node("Relu", "x", "y", alpha=0.5)], IMAGE, {}),
    "too many inputs": ([node("Relu", "x w", "y")], IMAGE, KERNEL),
    "no input": ([node("Relu", "-", "y")], IMAGE, {}),
    "a circle": ([node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b", "y")], IMAGE, {}),
    "a value from nowhere": ([node("Add", "x nowhere", "y")], IMAGE, {}),
    "two values of one name": ([node("Relu", "x", "y"), node("Exp", "x", "y")], IMAGE, {}),
    "an output from nowhere": ([node("Relu", "x", "z")], IMAGE, {}),
    "no nodes": ([], IMAGE, {}),
    "a shape that does not fit": ([node("Reshape", "x s", "y")], IMAGE, {"s": LONG([7, -1])}),
    "two open lengths": ([node("Reshape", "x s", "y")], IMAGE, {"s": LONG([-1, -1])}),
    "a drop at random": ([node("Dropout", "x - t", "y")], IMAGE, {"t": np.array(True)}),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_an_error_in_one_line(name: str) -> None:
    nodes, shape, tensors = BAD[name]
    with pytest.raises((Failed, NotEvaluable)) as raised:
        built(model(nodes, shape, tensors))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


def test_everything_unsupported_is_named_at_once_before_any_tensor() -> None:
    nodes = [node("NonZero", "x", "a"), node("Unknown\x1b[31m", "a", "b"), node("Det", "b", "y")]
    nodes[2].domain = "com.example"
    file = model(nodes, ["n", 4])
    file.graph.initializer.add(name="lie", data_type=1, dims=[1 << 40])
    with pytest.raises(Refused, match=r"NonZero, Unknown\\x1b\[31m, com\.example\.Det"):
        built(file)


def test_quantised_graphs_are_refused_with_the_way_out() -> None:
    file = model([node("DequantizeLinear", "x", "y")], ["n", 4])
    with pytest.raises(Refused, match=r"DequantizeLinear.*export the network in float32"):
        built(file)


def test_branches_are_refused_as_what_they_are(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [node("Relu", "x", "z")], "inner", [], [helper.make_empty_tensor_value_info("z")]
    )
    branch = node("If", "x", "y", name="door", then_branch=inner, else_branch=inner)
    path = tmp_path / "m.onnx"
    path.write_bytes(model([branch], ["n", 4]).SerializeToString())
    with pytest.raises(Refused, match=r"branches \(If 'door'\).*a backdoor can hide there"):
        mmbd.load(path)


def test_functions_of_the_files_own_are_refused() -> None:
    file = model([node("Relu", "x", "y")], ["n", 4])
    file.functions.add(name="Relu", domain="")
    with pytest.raises(Refused, match="Relu \\(a function of the file's own\\)"):
        built(file)


def test_a_newer_version_and_two_versions() -> None:
    with pytest.raises(Refused, match="version 99"):
        built(model([node("Relu", "x", "y")], ["n", 4], opset=99))
    file = model([node("Relu", "x", "y")], ["n", 4])
    file.opset_import.add(domain="ai.onnx", version=7)
    with pytest.raises(Failed, match="two versions"):
        built(file)


def lying(change: Callable[[Any], object]) -> onnx.ModelProto:
    file = model([node("MatMul", "x w", "y")], ["n", 4], W)
    change(file.graph.initializer[0])
    return file


def external(**said: str) -> Callable[[Any], object]:
    def change(tensor: Any) -> None:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in said.items():
            tensor.external_data.add(key=key, value=value)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.dims.append(1 << 40), "bytes, expected"),
        (lambda t: t.dims.__setitem__(0, -4), "shape"),
        (lambda t: t.dims.extend([1] * 40), "shape"),
        (lambda t: t.__setattr__("raw_data", b"x"), "has 1 bytes"),
        (lambda t: t.ClearField("raw_data"), "0 numbers"),
        (lambda t: t.__setattr__("data_type", 99), "kind 99"),
        (lambda t: t.__setattr__("data_type", TensorProto.STRING), "text"),
        (lambda t: t.segment.__setattr__("begin", 1), "part of another"),
        (lambda t: t.__setattr__("name", ""), "without a name"),
        (external(location="/etc/passwd"), "plain name"),
        (external(location="../up.bin"), "plain name"),
        (external(location="ok.bin\0x"), "plain name"),
        (external(location=""), "plain name"),
        (external(location="d.bin", offset="-1"), "offset"),
        (external(location="d.bin", length="9" * 30), "length"),
        (external(location="d.bin", length="\u0664"), "length"),
    ],
)
def test_tensors_that_lie(change: Callable[[Any], object], said: str) -> None:
    with pytest.raises((Failed, Refused), match=said):
        built(lying(change))


def test_data_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(lying(external(location="d.bin", offset="8")).SerializeToString())
    with pytest.raises(Failed, match=r"'d\.bin' beside it, which is not there"):
        mmbd.load(path)
    (tmp_path / "d.bin").write_bytes(bytes(8) + W["w"].tobytes())
    loaded = mmbd.load(path)
    assert torch.allclose(loaded.classifier(torch.ones(1, 4)), torch.from_numpy(W["w"]).sum(0), atol=1e-6)
    assert any("d.bin" in note for note in loaded.notes)
    (tmp_path / "d.bin").write_bytes(bytes(9))
    with pytest.raises(Failed, match="has 9"):
        mmbd.load(path)
    (tmp_path / "d.bin").unlink()
    (tmp_path / "d.bin").symlink_to("/etc/passwd")
    with pytest.raises(Failed, match="no link"):
        mmbd.load(path)


def test_what_only_looks_like_onnx_is_left_to_others() -> None:
    graph_def = b"\x0a\x11\x0a\x05input\x12\x08Constant" + bytes(50)
    saved_model = b"\x08\x01\x12\x20\x0a\x1e" + b"\x0a\x1c" + bytes(60)
    for data in (graph_def, saved_model):
        assert not wire.recognise(data)
        with pytest.raises(Refused, match="TensorFlow"):
            identify(data, len(data))


def test_a_missing_package_says_which_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    data = model([node("Relu", "x", "y")], ["n", 4]).SerializeToString()
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(Failed, match=r"pip install 'mmbd\[onnx\]'"):
        built(data)


def test_mutants_are_read_or_refused() -> None:
    """Two hundred, seeded: whatever byte changes, nothing else than an error of ours comes out."""
    kernel = {"w": values(4, 3, 3, 3), "b": values(4), "d": values(5, 16), "s": LONG([0, -1])}
    nodes = [
        node("Conv", "x w b", "c", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("MaxPool", "c", "m", kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", "m s", "f"),
        node("Gemm", "f d", "g", transB=1),
        node("Softmax", "g", "y"),
    ]
    data = model(nodes, ["n", 3, 8, 8], kernel).SerializeToString()
    weights = (data.index(kernel["w"].tobytes()), data.index(kernel["d"].tobytes()))
    source = random.Random(17)
    places = [i for i in range(len(data)) if not any(at <= i < at + 320 for at in weights)]
    ends: dict[str, int] = {}
    for _ in range(200):
        changed = bytearray(data)
        for _ in range(source.choice([1, 1, 2, 4])):
            changed[source.choice(places)] = source.choice([0, 1, 0x7F, 0x80, 0xFF, source.randrange(256)])
        try:
            identify(bytes(changed), len(changed))
            built(bytes(changed))
            end = "read"
        except MmbdError as error:
            end = type(error).__name__
        ends[end] = ends.get(end, 0) + 1
    assert ends["Failed"] > 20
    assert ends["read"] > 20
