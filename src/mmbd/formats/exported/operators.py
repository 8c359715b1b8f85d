"""The operations that an exported program may use, each by its full name; whatever else it names is refused.

They are functions of their arguments alone: none opens a file, draws a random number in evaluation, or
changes what it is given but for the few `IN_PLACE`, which `module` lets change no weight. What they are
is looked up in this table and never by the words of a file.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

ATEN = "torch.ops.aten."

# Families of overloads of torch.ops.aten, written as they are there.
ARITHMETIC = """
add.Tensor add.Scalar sub.Tensor sub.Scalar rsub.Scalar rsub.Tensor mul.Tensor mul.Scalar div.Tensor
div.Scalar div.Tensor_mode div.Scalar_mode floor_divide.default remainder.Scalar remainder.Tensor
fmod.Scalar fmod.Tensor true_divide.Tensor pow.Tensor_Scalar pow.Tensor_Tensor pow.Scalar square.default
sqrt.default rsqrt.default reciprocal.default exp.default exp2.default expm1.default log.default
log2.default log10.default log1p.default abs.default neg.default sign.default floor.default ceil.default
round.default round.decimals trunc.default frac.default sin.default cos.default tan.default asin.default
acos.default atan.default atan2.default sinh.default cosh.default erf.default erfc.default maximum.default
minimum.default clamp.default clamp.Tensor clamp_min.default clamp_max.default clamp_min.Tensor
clamp_max.Tensor addcmul.default addcdiv.default lerp.Scalar lerp.Tensor logaddexp.default
nan_to_num.default
"""
COMPARISONS = """
eq.Scalar eq.Tensor ne.Scalar ne.Tensor gt.Scalar gt.Tensor ge.Scalar ge.Tensor lt.Scalar lt.Tensor
le.Scalar le.Tensor logical_and.default logical_or.default logical_not.default logical_xor.default
bitwise_and.Tensor bitwise_or.Tensor bitwise_not.default isnan.default isinf.default where.self
where.ScalarOther where.ScalarSelf masked_fill.Scalar masked_fill.Tensor
"""
ACTIVATIONS = """
relu.default relu6.default leaky_relu.default prelu.default elu.default selu.default celu.default
gelu.default silu.default mish.default softplus.default hardtanh.default hardswish.default
hardsigmoid.default sigmoid.default tanh.default log_sigmoid.default softmax.int _softmax.default
log_softmax.int _log_softmax.default softshrink.default hardshrink.default threshold.default glu.default
rrelu.default
"""
PRODUCTS = """
linear.default matmul.default mm.default bmm.default addmm.default baddbmm.default mv.default dot.default
einsum.default outer.default bilinear.default conv1d.default conv2d.default conv3d.default
convolution.default conv1d.padding conv2d.padding conv3d.padding conv_transpose1d.default
conv_transpose2d.input conv_transpose3d.input scaled_dot_product_attention.default tensordot.default
linalg_vector_norm.default norm.ScalarOpt_dim frobenius_norm.dim _weight_norm.default
cosine_similarity.default
"""
NORMALISATION = """
batch_norm.default _native_batch_norm_legit_no_training.default instance_norm.default layer_norm.default
native_layer_norm.default group_norm.default native_group_norm.default rms_norm.default dropout.default
alpha_dropout.default feature_dropout.default native_dropout.default
"""
POOLING = """
max_pool1d.default max_pool2d.default max_pool3d.default max_pool2d_with_indices.default
avg_pool1d.default avg_pool2d.default avg_pool3d.default adaptive_avg_pool1d.default
adaptive_avg_pool2d.default adaptive_avg_pool3d.default _adaptive_avg_pool2d.default
adaptive_max_pool1d.default adaptive_max_pool2d.default upsample_nearest1d.vec upsample_nearest2d.vec
upsample_nearest1d.default upsample_nearest2d.default upsample_bilinear2d.vec upsample_bilinear2d.default
upsample_bicubic2d.vec upsample_bicubic2d.default upsample_linear1d.vec _upsample_bilinear2d_aa.vec
_upsample_bicubic2d_aa.vec pixel_shuffle.default pixel_unshuffle.default channel_shuffle.default
unfold.default im2col.default grid_sampler_2d.default grid_sampler.default affine_grid_generator.default
"""
SHAPES = """
view.default _unsafe_view.default reshape.default flatten.using_ints unflatten.int
permute.default transpose.int t.default squeeze.default squeeze.dim squeeze.dims unsqueeze.default
expand.default expand_as.default slice.Tensor select.int narrow.default split.Tensor split.sizes
split_with_sizes.default chunk.default unbind.int cat.default concat.default stack.default repeat.default
repeat_interleave.self_int tile.default roll.default flip.default rot90.default movedim.int
movedim.intlist swapaxes.default pad.default constant_pad_nd.default reflection_pad1d.default
reflection_pad2d.default replication_pad1d.default replication_pad2d.default clone.default
contiguous.default detach.default alias.default lift_fresh_copy.default numpy_T.default mT.default
adjoint.default view_as.default reshape_as.default type_as.default ravel.default
"""
REDUCTIONS = """
sum.default sum.dim_IntList mean.default mean.dim amax.default amin.default max.default max.dim max.other
min.default min.dim min.other argmax.default argmin.default prod.default prod.dim_int var.correction
var.dim std.correction std.dim var_mean.correction logsumexp.default cumsum.default any.default any.dim
all.default all.dim topk.default sort.default median.dim norm.Scalar
"""
INDEXING = """
index.Tensor index_select.default gather.default embedding.default scatter.src scatter.value
scatter_add.default index_put.default one_hot.default tril.default triu.default take_along_dim.default
diagonal.default
"""
MAKING = """
zeros.default ones.default full.default zeros_like.default ones_like.default full_like.default
new_zeros.default new_ones.default new_full.default empty_like.default arange.default arange.start
arange.start_step linspace.default scalar_tensor.default eye.default eye.m
"""
KINDS = """
to.dtype to.dtype_layout to.device to.other _to_copy.default
"""
RECURRENT = """
lstm.input gru.input rnn_tanh.input rnn_relu.input
"""
SIZES = """
sym_size.int sym_numel.default sym_stride.int sym_storage_offset.default
"""
IN_PLACE = """
relu_.default relu6_.default leaky_relu_.default elu_.default silu_.default mish_.default
hardtanh_.default hardswish_.default hardsigmoid_.default sigmoid_.default tanh_.default add_.Tensor
add_.Scalar sub_.Tensor sub_.Scalar mul_.Tensor mul_.Scalar div_.Tensor div_.Scalar clamp_.default
clamp_min_.default clamp_max_.default dropout_.default masked_fill_.Scalar copy_.default zero_.default
fill_.Scalar exp_.default neg_.default sqrt_.default squeeze_.dim unsqueeze_.default detach_.default
"""
# What checks and gives nothing.
CHECKS = """
_assert_scalar.default _assert_async.msg _assert_async.default sym_constrain_range.default
sym_constrain_range_for_size.default _assert_tensor_metadata.default
"""
FAMILIES = (
    ARITHMETIC,
    COMPARISONS,
    ACTIVATIONS,
    PRODUCTS,
    NORMALISATION,
    POOLING,
    SHAPES,
    REDUCTIONS,
    INDEXING,
    MAKING,
    KINDS,
    RECURRENT,
    SIZES,
    IN_PLACE,
)
CHANGING = frozenset(f"{ATEN}{name}" for name in IN_PLACE.split())
SKIPPED = frozenset(f"{ATEN}{name}" for name in CHECKS.split())
# Operations whose result may share memory with their first argument.
VIEWS = frozenset(f"{ATEN}{name}" for name in (SHAPES + KINDS).split()) | CHANGING
# Operations that make tensors out of sizes alone, on a device that they are told.
FROM_NOTHING = frozenset(
    f"{ATEN}{name}" for name in MAKING.split() if "like" not in name and "new_" not in name
)
# Operations that run a graph of their own, which happens whatever the input is.
WRAPPERS = {
    "torch.ops.higher_order.wrap_with_set_grad_enabled": 1,
    "torch.ops.higher_order.wrap_with_autocast": 4,
}
BRANCHES = ("cond", "while_loop", "map_impl", "scan", "associative_scan", "switch")

LARGEST_SIZE = 1 << 48
ARITHMETIC_ON_SIZES = (
    *("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "pow"),
    *("eq", "ne", "lt", "le", "gt", "ge", "and_", "or_", "not_"),
)


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Arithmetic on sizes, which no network takes beyond 2^48."""

    def apply(*values: Any) -> Any:
        if any(isinstance(value, int) and abs(value) > LARGEST_SIZE for value in values):
            raise ValueError("sizes beyond 2^48")
        if function is operator.pow and abs(values[1]) > 64:
            raise ValueError("powers beyond 64")
        return function(*values)

    return apply


ON_SIZES: dict[str, Callable[..., Any]] = {
    **{f"_operator.{name}": _bounded(getattr(operator, name)) for name in ARITHMETIC_ON_SIZES},
    **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc", "sqrt")},
    "torch.sym_int": int,
    "torch.sym_float": float,
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_not": operator.not_,
    "torch._sym_sqrt": math.sqrt,
}


@cache
def table() -> dict[str, Any]:
    """The overloads of torch that are allowed and that this torch has: full name -> overload."""
    found: dict[str, Any] = {}
    for name in " ".join(FAMILIES).split():
        base, overload = name.split(".")
        packet = getattr(torch.ops.aten, base, None)
        if packet is not None and overload in packet.overloads():
            found[ATEN + name] = getattr(packet, overload)
    return found
