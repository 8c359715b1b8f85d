"""Every operator gives what onnxruntime gives, in every form that exporters write."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from helpers.onnx_files import answers, built, model, node, values
from mmbd.formats.beside import NOTHING
from mmbd.formats.onnx import graph, reading
from mmbd.formats.onnx.budget import Budget
from mmbd.formats.onnx.network import Network
from mmbd.formats.onnx.operators import OPERATORS
from mmbd.formats.options import LoadOptions

I64 = np.int64
IMAGE, ROW, CUBE, LINE = (2, 4, 6, 5), (2, 6), (1, 2, 4, 5, 4), (2, 3, 8)


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, I64)


CASES: list[tuple[str, int, tuple[int, ...], dict[str, Any], dict[str, np.ndarray]]] = []


def case(
    op: str, shape: tuple[int, ...] = IMAGE, opset: int = 20, tensors: Any = None, **attributes: Any
) -> None:
    """A node with the input as its first, and the tensors given as its others ("_..." for none)."""
    CASES.append((op, opset, shape, attributes, tensors or {}))


for name in [
    "Abs",
    "Neg",
    "Exp",
    "Erf",
    "Sign",
    "Floor",
    "Ceil",
    "Round",
    "Sin",
    "Cos",
    "Tan",
    "Asin",
    "Acos",
    "Atan",
    "Sinh",
    "Cosh",
    "Asinh",
    "Atanh",
    "Relu",
    "LeakyRelu",
    "Elu",
    "Selu",
    "Celu",
    "ThresholdedRelu",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Tanh",
    "Softplus",
    "Softsign",
    "Gelu",
    "Mish",
    "Softmax",
    "LogSoftmax",
    "Hardmax",
    "Identity",
    "Dropout",
    "Flatten",
    "Transpose",
    "Shape",
    "Size",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GlobalLpPool",
    "MeanVarianceNormalization",
    "LpNormalization",
    "Squeeze",
    "IsNaN",
]:
    case(name)
for name in ["Sqrt", "Log", "Reciprocal", "Acosh"]:
    case(name, (2, 1, 3), tensors={"add": np.float32([5])})
for name in [
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Max",
    "Min",
    "Sum",
    "Mean",
    "Greater",
    "Less",
    "Equal",
    "GreaterOrEqual",
    "LessOrEqual",
]:
    case(name, tensors={"b": values(6, 1, low=0.5)})
case("Max", tensors={"b": values(6, 1), "c": values(4, 1, 1)})
case("Pow", tensors={"b": np.float32(2)})
case("Pow", tensors={"b": np.float32([3])})
case("Pow", tensors={"b": np.float32([[1], [2], [3], [2], [1], [0]])})
case("Mod", tensors={"b": np.float32([0.3])}, fmod=1)
case("PRelu", tensors={"b": values(4, 1, 1)})
case("PRelu", tensors={"b": values(1)})
case("PRelu", tensors={"b": values(5)})
case("PRelu", ROW, tensors={"b": values(6)})
case("LeakyRelu", alpha=0.3)
case("Gelu", approximate="tanh")
case("Elu", alpha=0.5)
case("Celu", alpha=2.0)
case("HardSigmoid", alpha=0.3, beta=0.4)
case("Shrink", lambd=0.4, bias=0.1)
case("Clip", tensors={"a": np.float32(0), "b": np.float32(0.5)})
case("Clip", tensors={"a": np.float32(-0.2)})
case("Clip", tensors={"_a": np.float32(0), "b": np.float32(0.5)})
case("Clip", opset=6, min=-0.2, max=0.3)
case("Softmax", opset=11, axis=1)
case("Softmax", opset=11, axis=2)
case("Softmax", axis=1)
case("LogSoftmax", opset=11)
for axis in (0, 2, -1):
    case("Flatten", axis=axis)
# Products.
case("Gemm", ROW, tensors={"b": values(6, 3), "c": values(3)})
case("Gemm", ROW, tensors={"b": values(3, 6), "c": values(1, 3)}, transB=1, alpha=0.5, beta=2.0)
case("Gemm", ROW, tensors={"b": values(2, 3)}, transA=1)
case("Gemm", ROW, tensors={"b": values(6, 3), "c": values(2, 1)})
case("MatMul", tensors={"b": values(5, 3)})
case("MatMul", LINE, tensors={"b": values(2, 8, 3)})
case("Einsum", LINE, tensors={"b": values(8, 5)}, equation="abc, cd -> abd")
# Convolutions.
WEIGHTS = {"w": values(8, 4, 3, 2), "b": values(8)}
case("Conv", tensors=WEIGHTS)
case("Conv", tensors=WEIGHTS, pads=[1, 0, 2, 1], strides=[2, 1])
case("Conv", tensors=WEIGHTS, pads=[1, 1, 1, 1], dilations=[2, 1], kernel_shape=[3, 2])
case("Conv", tensors=WEIGHTS, auto_pad="SAME_UPPER", strides=[2, 2])
case("Conv", tensors=WEIGHTS, auto_pad="SAME_LOWER", strides=[2, 2])
case("Conv", tensors=WEIGHTS, auto_pad="VALID")
case("Conv", tensors={"w": values(4, 1, 3, 3)}, group=4)
case("Conv", LINE, tensors={"w": values(4, 3, 3)}, pads=[1, 1])
case("Conv", CUBE, tensors={"w": values(3, 2, 2, 2, 2)}, pads=[1, 1, 1, 0, 0, 0])
UP = {"w": values(4, 3, 3, 2), "b": values(3)}
case("ConvTranspose", tensors=UP)
case("ConvTranspose", tensors=UP, strides=[2, 3], pads=[1, 0, 1, 0], output_padding=[1, 2])
case("ConvTranspose", tensors=UP, strides=[2, 2], pads=[1, 0, 0, 1])
case("ConvTranspose", tensors=UP, strides=[2, 2], output_shape=[12, 10])
case("ConvTranspose", tensors=UP, strides=[2, 2], auto_pad="SAME_UPPER")
case("ConvTranspose", tensors={"w": values(4, 1, 3, 3)}, group=4, dilations=[2, 1])
case("ConvTranspose", tensors={"w": values(4, 2, 1, 2)}, strides=[2, 3], auto_pad="SAME_LOWER")
# Pooling.
for name in ("MaxPool", "AveragePool", "LpPool"):
    case(name, kernel_shape=[3, 2])
    case(name, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 2, 1])
    case(name, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    case(name, kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_LOWER")
    case(name, LINE, kernel_shape=[3])
    case(name, CUBE, kernel_shape=[2, 2, 2])
for name in ("MaxPool", "AveragePool"):
    case(name, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    case(name, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1)
    # onnxruntime's SAME takes no notice of dilations.
    case(name, (1, 2, 7, 7), kernel_shape=[3, 2], strides=[2, 2], dilations=[3, 2], auto_pad="SAME_LOWER")
case("AveragePool", (1, 2, 9, 9), kernel_shape=[3, 1], strides=[1, 3], auto_pad="SAME_UPPER")
case("MaxPool", kernel_shape=[2, 2], dilations=[2, 2])
case("AveragePool", kernel_shape=[3, 2], pads=[1, 1, 1, 1], count_include_pad=1)
case("AveragePool", kernel_shape=[3, 2], pads=[1, 0, 2, 1], count_include_pad=1)
case("LpPool", kernel_shape=[2, 2], p=3)
case("GlobalLpPool", p=1)
# Normalisation.
FOUR = {"s": values(4, seed=1), "b": values(4, seed=2)}
case("BatchNormalization", tensors={**FOUR, "m": values(4, seed=3), "v": values(4, low=0.5)}, epsilon=1e-3)
case("InstanceNormalization", tensors=FOUR)
case("LayerNormalization", tensors={"s": values(5), "b": values(5)})
case("LayerNormalization", tensors={"s": values(6, 5)}, axis=2)
case("GroupNormalization", opset=21, tensors=FOUR, num_groups=2)
case("GroupNormalization", opset=18, tensors={"s": values(2), "b": values(2)}, num_groups=2)
case("RMSNormalization", opset=23, tensors={"s": values(5)})
for size in (3, 9):  # onnxruntime takes odd ones alone
    case("LRN", size=size, alpha=0.2, beta=0.7, bias=1.5)
case("LpNormalization", axis=1, p=1)
# Shapes.
case("Reshape", tensors={"s": ints(0, -1)})
case("Reshape", tensors={"s": ints(4, 2, 0, 5)})
case("Reshape", opset=5, tensors={"s": ints(-1, 10)})
case("Squeeze", (2, 1, 3, 1), tensors={"a": ints(1)})
case("Squeeze", (2, 1, 3, 1), opset=11, axes=[-1])
case("Unsqueeze", tensors={"a": ints(0, -1)})
case("Unsqueeze", opset=11, axes=[1])
case("Transpose", perm=[0, 2, 3, 1])
case("Expand", (2, 1, 3), tensors={"s": ints(4, 1, 2, 1)})
case("Tile", (2, 3), tensors={"s": ints(2, 3)})
case("Shape", start=1, end=-1)
case("DepthToSpace", (1, 8, 2, 3), blocksize=2)
case("DepthToSpace", (1, 8, 2, 3), blocksize=2, mode="CRD")
case("SpaceToDepth", (1, 2, 4, 6), blocksize=2)
case("Concat", tensors={"b": values(2, 3, 6, 5)}, axis=1)
case("Concat", tensors={"b": values(2, 4, 6, 1)}, axis=-1)
case("Split", num_outputs=2, axis=1)
case("Split", tensors={"s": ints(1, 3)}, axis=1)
case("Split", opset=11, split=[1, 3], axis=1)
case("Slice", tensors={"a": ints(1, 0), "b": ints(3, 2**62), "c": ints(1, 3), "d": ints(1, 2)})
case("Slice", tensors={"a": ints(-1), "b": ints(-(2**62)), "c": ints(2), "d": ints(-2)})
case("Slice", tensors={"a": ints(-3), "b": ints(-1), "c": ints(-1)})
case("Slice", opset=9, starts=[1], ends=[1000], axes=[2])
for mode in ("constant", "reflect", "edge", "wrap"):
    case("Pad", tensors={"p": ints(0, 0, 1, 2, 0, 1, 2, 0)}, mode=mode)
case("Pad", tensors={"p": ints(1, -2), "v": np.float32(3), "a": ints(3)})
case("Pad", opset=10, pads=[0, 0, 1, 2, 0, 1, 2, 0], value=0.5)
case("Pad", (1, 3, 4), tensors={"p": ints(6, -1, 3, 4, 3, 1)}, mode="wrap")
case("Pad", (2, 2, 3), tensors={"p": ints(3, 3, 3, -1, 3, -2)}, mode="wrap")
case("Pad", (1, 2, 4), tensors={"p": ints(0, -3, 4, 0, 4, 5)})
case("Trilu", (3, 4), tensors={"k": np.int64(1)})
case("Trilu", (3, 4), upper=0)
case("CumSum", tensors={"a": np.int64(2)}, reverse=1)
case("CumSum", tensors={"a": np.int64(1)}, exclusive=1)
# Resizing.
SCALES = {"_r": np.float32(0), "s": np.float32([1, 1, 1.7, 0.6])}
SIZES = {"_r": np.float32(0), "_s": np.float32(0), "z": ints(2, 4, 9, 8)}
for where in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric"):
    for mode in ("nearest", "linear", "cubic"):
        case("Resize", opset=19, tensors=SIZES, coordinate_transformation_mode=where, mode=mode)
for rounding in ("floor", "ceil", "round_prefer_ceil"):
    case(
        "Resize", opset=19, tensors=SCALES, nearest_mode=rounding, coordinate_transformation_mode="asymmetric"
    )
TIES = {"_r": np.float32(0), "s": np.float32([1, 1, 1 / 3, 2.2])}  # elements that are equally near
for where in ("half_pixel", "asymmetric", "pytorch_half_pixel"):
    for rounding in ("floor", "ceil", "round_prefer_ceil", "round_prefer_floor"):
        case(
            "Resize",
            (1, 2, 9, 5),
            opset=19,
            tensors=TIES,
            nearest_mode=rounding,
            coordinate_transformation_mode=where,
        )
case("Resize", opset=19, tensors=SCALES, mode="linear")
case("Resize", opset=19, tensors=SCALES, mode="cubic", cubic_coeff_a=-0.5, exclude_outside=1)
case("Resize", opset=10, tensors={"s": np.float32([1, 1, 2, 3])})
case("Resize", opset=10, tensors={"s": np.float32([1, 1, 2, 1.5])}, mode="linear")
case("Upsample", opset=9, tensors={"s": np.float32([1, 1, 2, 3])})
case("Upsample", opset=9, tensors={"s": np.float32([1, 1, 2, 2])}, mode="linear")
case("Upsample", opset=7, scales=[1.0, 1.0, 2.0, 2.0])
# Places.
case("Gather", tensors={"i": ints(0, -1)}, axis=1)
case("Gather", tensors={"i": np.array(-1)}, axis=1)
case("Gather", tensors={"i": np.array([[1]])}, axis=2)
case("Gather", tensors={"i": np.int64(2)}, axis=2)
case("Gather", tensors={"i": np.array([[0, 1], [2, 0]], I64)}, axis=-1)
case("GatherElements", ROW, tensors={"i": np.array([[0, -1], [2, 3]], I64)}, axis=1)
case("GatherND", tensors={"i": np.array([[0, 1], [1, -1]], I64)})
case("GatherND", tensors={"i": np.array([[0], [1]], I64)}, batch_dims=1)
case("ScatterND", ROW, tensors={"i": np.array([[0], [-1]], I64), "u": values(2, 6)})
case("ScatterElements", ROW, tensors={"i": np.array([[0, 4]], I64), "u": values(1, 2)}, axis=1)
case("TopK", tensors={"k": ints(2)}, axis=1)
case("TopK", tensors={"k": ints(3)}, largest=0)
case("ArgMax", axis=1)
case("ArgMin", axis=-1, keepdims=0)
case("OneHot", (3,), tensors={"d": np.int64(4), "v": np.float32([0.5, 2])})
case("EyeLike", (3, 4), k=1)
case("Cast", to=7)
case("Cast", to=9)
case("CastLike", tensors={"b": ints(1)})
# Reductions.
for name in ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp"]:
    case(f"Reduce{name}")
    case(f"Reduce{name}", tensors={"a": ints(1, -1)}, keepdims=0)
    case(f"Reduce{name}", opset=11, axes=[2])
case("ReduceLogSum", (2, 3), tensors={"add": np.float32([9])})
case("ReduceSum", noop_with_empty_axes=1)
# Step by step.
for op, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
    for way, number in (("forward", 1), ("reverse", 1), ("bidirectional", 2)):
        parts = {"w": values(number, gates * 3, 8), "r": values(number, gates * 3, 3)}
        case(op, (5, 2, 8), tensors=parts, direction=way, hidden_size=3)
        case(
            op, (5, 2, 8), tensors={**parts, "b": values(number, 2 * gates * 3)}, direction=way, hidden_size=3
        )
GRU = {"w": values(1, 9, 8), "r": values(1, 9, 3), "b": values(1, 18), "_l": ints(1), "h": values(1, 2, 3)}
case("GRU", (5, 2, 8), tensors=GRU, hidden_size=3, linear_before_reset=1)
case("GRU", (5, 2, 8), tensors=GRU, hidden_size=3, activations=["Tanh", "Sigmoid"])
LSTM = {"w": values(1, 12, 8), "r": values(1, 12, 3), "b": values(1, 24), "_l": ints(1)}
LSTM |= {"h": values(1, 2, 3), "c": values(1, 2, 3), "p": values(1, 9)}
case("LSTM", (5, 2, 8), tensors=LSTM, hidden_size=3, clip=0.4)
# Attention.
QKV = {"k": values(2, 6, 8, seed=1), "v": values(2, 6, 8, seed=2)}
case("Attention", (2, 5, 8), 23, QKV, q_num_heads=2, kv_num_heads=2)
case("Attention", (2, 5, 8), 23, {**QKV, "m": values(5, 6)}, q_num_heads=2, kv_num_heads=2, scale=0.3)
case("Attention", (2, 5, 8), 23, QKV, q_num_heads=2, kv_num_heads=2, is_causal=1, softcap=2.0)
PLACES = {"c": values(9, 2), "s": values(9, 2), "p": np.array([[0, 1, 2], [4, 3, 8]], I64)}
case("RotaryEmbedding", (2, 3, 8), 23, PLACES, num_heads=2)
case("RotaryEmbedding", (2, 3, 8), 23, PLACES, num_heads=2, interleaved=1)
CASES.append(("Swish", 24, IMAGE, {}, {}))

NEED_NO_FLOATS = {"OneHot"}
WITHOUT_RUNTIME = {"Swish", "MeanVarianceNormalization"}


def made(op: str, opset: int, shape: tuple[int, ...], attributes: Any, tensors: Any) -> Any:
    """A model of the node; what it takes more than the input are initializers."""
    nodes, first = [], "x"
    if "add" in tensors:
        nodes.append(node("Add", "x add", "more"))
        first = "more"
    if op in NEED_NO_FLOATS:
        nodes.append(node("Cast", "x", "whole", to=7))
        first = "whole"
    others = ["-" if key.startswith("_") else key for key in tensors if key != "add"]
    outputs = "y z" if op in ("Split", "TopK") else "y"
    nodes.append(node(op, " ".join([first, *others]), outputs, **attributes))
    kept = {key: value for key, value in tensors.items() if not key.startswith("_")}
    return model(nodes, shape, kept, opset=opset)


def label(case: Any) -> str:
    return f"{case[0]}-{case[1]}"


@pytest.mark.parametrize("one", CASES, ids=label)
def test_it_gives_what_the_reference_gives(one: Any) -> None:
    op, _, shape, *_ = one
    file = made(*one)
    inputs = values(*shape, seed=7)
    plan = graph.plan(reading.read(file.SerializeToString(), NOTHING).value, None)
    network = Network(plan.nodes, plan.constants, "x", plan.outputs)
    with torch.no_grad():
        found = network.follow(torch.from_numpy(inputs), Budget())
    expected = alone(op, inputs) if op in WITHOUT_RUNTIME else answers(file, inputs)
    assert tuple(found.shape) == tuple(expected.shape)
    assert torch.allclose(found.double(), expected.double(), rtol=1e-4, atol=1e-5, equal_nan=True)


LOGIC = [
    node("Greater", "x low", "a"),
    node("Less", "x high", "b"),
    node("And", "a b", "c"),
    node("Or", "c a", "d"),
    node("Xor", "d b", "e"),
    node("Not", "e", "f"),
    node("IsInf", "x", "i"),
    node("Or", "f i", "g"),
    node("Shape", "x", "s"),
    node("ConstantOfShape", "s", "h"),
    node("Range", "from to by", "r"),
    node("Cast", "r", "k", to=1),
    node("Add", "h k", "z"),
    node("Where", "g x z", "y"),
]


def test_logic_and_what_is_made_of_sizes() -> None:
    tensors = {"low": np.float32(-0.3), "high": np.float32(0.3)}
    tensors |= {"from": np.array(2), "to": np.array(14), "by": np.array(2)}
    file = model(LOGIC, ["n", 6], tensors)
    inputs = values(5, 6, seed=1)
    inputs[0, 0] = np.inf
    assert torch.equal(
        built(file, LoadOptions(input_shape=(6,))).module(torch.from_numpy(inputs)), answers(file, inputs)
    )


def alone(op: str, inputs: np.ndarray) -> torch.Tensor:
    """What an operator that onnxruntime lacks gives, by its definition."""
    if op == "Swish":
        return torch.from_numpy(inputs / (1 + np.exp(-inputs)))
    mean = inputs.mean((0, 2, 3), keepdims=True)
    return torch.from_numpy((inputs - mean) / (inputs.std((0, 2, 3), keepdims=True) + 1e-9))


def test_every_operator_is_compared() -> None:
    # In `LOGIC`.
    elsewhere = {"ConstantOfShape", "Range", "Where", "Not", "And", "Or", "Xor", "IsInf"}
    assert {one[0] for one in CASES} | elsewhere == set(OPERATORS)
