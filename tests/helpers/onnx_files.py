"""Small ONNX files, made node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from mmbd.formats.beside import NOTHING
from mmbd.formats.onnx import build, reading
from mmbd.formats.options import LoadOptions

FLOAT = TensorProto.FLOAT
IR = {1: 3, 6: 3, 7: 3, 8: 3, 9: 4, 10: 5, 11: 6, 12: 7, 13: 7}
PATIENT = LoadOptions()


def values(*shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    """Made-up float32 numbers."""
    drawn = np.random.default_rng([seed, *shape]).uniform(low, high, shape)
    return drawn.astype(np.float32)


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """A node; names are separated by spaces, "-" is none."""
    named = [["" if name == "-" else name for name in text.split()] for text in (inputs, outputs)]
    return helper.make_node(op, *named, **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int | str | None],
    tensors: Mapping[str, np.ndarray] | None = None,
    *,
    opset: int | None = 20,
    outputs: Sequence[str] = ("y",),
    kind: int = FLOAT,
    name: str = "x",
    ir: int | None = None,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """A model of one input."""
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info(name, kind, shape)],
        [helper.make_empty_tensor_value_info(each) for each in outputs],
        [numpy_helper.from_array(value, key) for key, value in (tensors or {}).items()],
    )
    opsets = [] if opset is None else [helper.make_opsetid("", opset)]
    made = helper.make_model(graph, opset_imports=opsets, producer_name="made")
    made.ir_version = ir or IR.get(opset or 1, 8)
    if opset is None:
        del made.opset_import[:]
    if metadata:
        helper.set_model_props(made, dict(metadata))
    return made


def built(made: onnx.ModelProto | bytes, options: LoadOptions = PATIENT) -> Any:
    """The network in a model, as `Format.build` gives it."""
    data = made if isinstance(made, bytes) else made.SerializeToString()
    return build.build(reading.read(data, NOTHING), options)


def answers(made: onnx.ModelProto, inputs: np.ndarray) -> torch.Tensor:
    """What onnxruntime computes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: inputs})[0])
