"""The operators that are computed, by name: a new one is a function and a row here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from mmbd.formats.onnx import (
    activations,
    attention,
    convolution,
    indexing,
    linear,
    normalisation,
    pieces,
    pooling,
    recurrent,
    reductions,
    resizing,
    shapes,
)
from mmbd.formats.onnx import arithmetic as a

LATEST = 25  # the newest operator set whose meaning is known here


@dataclass(frozen=True)
class Operator:
    """How an operator is computed.

    Args:
        run: gets the node and its inputs; those left out are None.
        sizes: which inputs it takes as Python's numbers and not as tensors, such as a shape.
        one: an input, and what to compute instead where that is a constant of one number; it takes this
            input as Python's number.
    """

    run: Callable[..., Any]
    sizes: tuple[int, ...] = ()
    one: tuple[int, Callable[..., Any]] | None = None

    @property
    def counts(self) -> tuple[int, int | None]:
        """The fewest and the most inputs; None where there is no most."""
        given = list(inspect.signature(self.run).parameters.values())[1:]
        if any(each.kind is each.VAR_POSITIONAL for each in given):
            return len(given) - 1, None
        return sum(each.default is each.empty for each in given), len(given)


_one, _two, _all, _reduced = a.of_one, a.of_two, a.of_all, reductions.reduction
_soft = activations.softmax

OPERATORS: dict[str, Operator] = {
    # Element by element.
    "Abs": Operator(_one(torch.abs)),
    "Neg": Operator(_one(torch.neg)),
    "Sqrt": Operator(_one(torch.sqrt)),
    "Reciprocal": Operator(_one(torch.reciprocal)),
    "Exp": Operator(_one(torch.exp)),
    "Log": Operator(_one(torch.log)),
    "Erf": Operator(_one(torch.erf)),
    "Sign": Operator(_one(torch.sign)),
    "Floor": Operator(_one(torch.floor)),
    "Ceil": Operator(_one(torch.ceil)),
    "Round": Operator(_one(torch.round)),
    "Sin": Operator(_one(torch.sin)),
    "Cos": Operator(_one(torch.cos)),
    "Tan": Operator(_one(torch.tan)),
    "Asin": Operator(_one(torch.asin)),
    "Acos": Operator(_one(torch.acos)),
    "Atan": Operator(_one(torch.atan)),
    "Sinh": Operator(_one(torch.sinh)),
    "Cosh": Operator(_one(torch.cosh)),
    "Asinh": Operator(_one(torch.asinh)),
    "Acosh": Operator(_one(torch.acosh)),
    "Atanh": Operator(_one(torch.atanh)),
    "Not": Operator(_one(torch.logical_not)),
    "IsNaN": Operator(_one(torch.isnan)),
    "IsInf": Operator(a.infinite),
    "Add": Operator(_two(torch.add)),
    "Sub": Operator(_two(torch.sub)),
    "Mul": Operator(_two(torch.mul)),
    "Div": Operator(_two(a.divided)),
    "Pow": Operator(a.power, one=(1, a.power_of)),
    "Mod": Operator(a.modulo),
    "And": Operator(_two(torch.logical_and)),
    "Or": Operator(_two(torch.logical_or)),
    "Xor": Operator(_two(torch.logical_xor)),
    "Equal": Operator(_two(torch.eq)),
    "Greater": Operator(_two(torch.gt)),
    "Less": Operator(_two(torch.lt)),
    "GreaterOrEqual": Operator(_two(torch.ge)),
    "LessOrEqual": Operator(_two(torch.le)),
    "Max": Operator(_all(torch.maximum)),
    "Min": Operator(_all(torch.minimum)),
    "Sum": Operator(_all(torch.add)),
    "Mean": Operator(_all(torch.add, mean=True)),
    "Where": Operator(a.where),
    "Clip": Operator(a.clip, (1, 2)),
    # Activations.
    "Relu": Operator(_one(F.relu)),
    "LeakyRelu": Operator(activations.leaky_relu),
    "PRelu": Operator(activations.prelu),
    "Elu": Operator(activations.elu),
    "Selu": Operator(activations.selu),
    "Celu": Operator(activations.celu),
    "ThresholdedRelu": Operator(activations.thresholded_relu),
    "Sigmoid": Operator(_one(torch.sigmoid)),
    "HardSigmoid": Operator(activations.hard_sigmoid),
    "HardSwish": Operator(_one(F.hardswish)),
    "Tanh": Operator(_one(torch.tanh)),
    "Softplus": Operator(_one(F.softplus)),
    "Softsign": Operator(_one(F.softsign)),
    "Gelu": Operator(activations.gelu),
    "Mish": Operator(_one(F.mish)),
    "Swish": Operator(activations.swish),
    "Shrink": Operator(activations.shrink),
    "Softmax": Operator(_soft(F.softmax)),
    "LogSoftmax": Operator(_soft(F.log_softmax)),
    "Hardmax": Operator(_soft(activations.hardmax)),
    # Products, convolutions, pooling, normalisation.
    "Gemm": Operator(linear.gemm),
    "MatMul": Operator(linear.matmul),
    "Einsum": Operator(linear.einsum),
    "Conv": Operator(convolution.conv),
    "ConvTranspose": Operator(convolution.conv_transpose),
    "MaxPool": Operator(pooling.max_pool),
    "AveragePool": Operator(pooling.average_pool),
    "LpPool": Operator(pooling.lp_pool),
    "GlobalAveragePool": Operator(pooling.global_average_pool),
    "GlobalMaxPool": Operator(pooling.global_max_pool),
    "GlobalLpPool": Operator(pooling.global_lp_pool),
    "BatchNormalization": Operator(normalisation.batch_norm),
    "InstanceNormalization": Operator(normalisation.instance_norm),
    "LayerNormalization": Operator(normalisation.layer_norm),
    "GroupNormalization": Operator(normalisation.group_norm),
    "RMSNormalization": Operator(normalisation.rms_norm),
    "LRN": Operator(normalisation.local_response),
    "MeanVarianceNormalization": Operator(normalisation.mean_variance),
    "LpNormalization": Operator(normalisation.lp_normal),
    "RNN": Operator(recurrent.rnn, (4,)),
    "GRU": Operator(recurrent.gru, (4,)),
    "LSTM": Operator(recurrent.lstm, (4,)),
    "Attention": Operator(attention.attention),
    "RotaryEmbedding": Operator(attention.rotary),
    # Reductions.
    "ReduceSum": Operator(_reduced(reductions.total, 13), (1,)),
    "ReduceMean": Operator(_reduced(reductions.mean, 18), (1,)),
    "ReduceMax": Operator(_reduced(reductions.largest, 18), (1,)),
    "ReduceMin": Operator(_reduced(reductions.smallest, 18), (1,)),
    "ReduceProd": Operator(_reduced(reductions.product, 18), (1,)),
    "ReduceL1": Operator(_reduced(reductions.l1, 18), (1,)),
    "ReduceL2": Operator(_reduced(reductions.l2, 18), (1,)),
    "ReduceLogSum": Operator(_reduced(reductions.log_sum, 18), (1,)),
    "ReduceLogSumExp": Operator(_reduced(reductions.log_sum_exp, 18), (1,)),
    "ReduceSumSquare": Operator(_reduced(reductions.sum_square, 18), (1,)),
    "ArgMax": Operator(reductions.arg(True)),
    "ArgMin": Operator(reductions.arg(False)),
    "CumSum": Operator(pieces.cumulative, (1,)),
    # Shapes and places.
    "Shape": Operator(shapes.shape),
    "Size": Operator(shapes.size),
    "Reshape": Operator(shapes.reshape, (1,)),
    "Flatten": Operator(shapes.flatten),
    "Squeeze": Operator(shapes.squeeze, (1,)),
    "Unsqueeze": Operator(shapes.unsqueeze, (1,)),
    "Transpose": Operator(shapes.transpose),
    "Expand": Operator(shapes.expand, (1,)),
    "Tile": Operator(shapes.tile, (1, 2)),
    "DepthToSpace": Operator(shapes.depth_to_space),
    "SpaceToDepth": Operator(shapes.space_to_depth),
    "Identity": Operator(shapes.identity),
    "Dropout": Operator(shapes.dropout, (1, 2)),
    "Concat": Operator(pieces.concat),
    "Split": Operator(pieces.split, (1,)),
    "Slice": Operator(pieces.slice_, (1, 2, 3, 4)),
    "Pad": Operator(pieces.pad, (1, 2, 3)),
    "Trilu": Operator(pieces.trilu, (1,)),
    "Resize": Operator(resizing.resize, (1, 2, 3)),
    "Upsample": Operator(resizing.upsample, (1,)),
    "Gather": Operator(indexing.gather, one=(1, indexing.gather_one)),
    "GatherElements": Operator(indexing.gather_elements),
    "GatherND": Operator(indexing.gather_nd),
    "ScatterND": Operator(indexing.scatter_nd),
    "ScatterElements": Operator(indexing.scatter_elements),
    "OneHot": Operator(indexing.one_hot, (1,)),
    "TopK": Operator(indexing.top_k, (1,)),
    "ConstantOfShape": Operator(indexing.constant_of_shape, (0,)),
    "Range": Operator(indexing.range_, (0, 1, 2)),
    "EyeLike": Operator(indexing.eye_like),
    "Cast": Operator(indexing.cast),
    "CastLike": Operator(indexing.cast_like),
}
# What `joining` makes of several nodes, and `rows` of constants for one input; no file has them.
JOINED: dict[str, Operator] = {
    "Linear": Operator(linear.biased),
    "Rows": Operator(shapes.rows),
    "Weighed": Operator(attention.weighed),
}


def operator(name: str) -> Operator:
    """The operator of this name, one of a file's or of `joining`'s."""
    return OPERATORS.get(name) or JOINED[name]
