"""Small files of every format that are as they should be: what hostile ones and mutants are made of."""

from __future__ import annotations

import copy
import io
import json
import logging
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

CLASSES, INPUTS = 3, 4
SHAPES = {"1.weight": (5, INPUTS), "1.bias": (5,), "3.weight": (CLASSES, 5), "3.bias": (CLASSES,)}
SPEC: dict[str, Any] = {
    "version": 1,
    "arch": "mlp",
    "input_shape": [INPUTS],
    "classes": CLASSES,
    "arguments": {"hidden": [5]},
}
MLP: dict[str, Any] = {"arch": "mlp", "arch_args": {"hidden": (5,)}, "input_shape": (INPUTS,)}
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 16,
    "patch_size": 8,
    "id2label": {0: "cat", 1: "dog", 2: "fox"},
}
PIXELS = {
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.2, 0.25],
    "size": {"height": 16, "width": 16},
}


@dataclass(frozen=True)
class Valid:
    """A model: its files by name, the name of the one to read, and what `mmbd.load` has to be told."""

    files: Mapping[str, bytes]
    main: str
    options: Mapping[str, Any]

    def write(self, folder: Path) -> Path:
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        return folder / self.main


def state(seed: int = 0) -> dict[str, Tensor]:
    """Weights of a perceptron, by name."""
    source = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=source) for name, shape in SHAPES.items()}


def tensor_file(spec: Any = SPEC, tensors: Mapping[str, Tensor] | None = None) -> bytes:
    return to_safetensors(
        dict(state() if tensors is None else tensors), None if spec is None else {"mmbd": json.dumps(spec)}
    )


def checkpoint(value: Any, *, old: bool = False) -> bytes:
    content = io.BytesIO()
    torch.save(value, content, _use_new_zipfile_serialization=not old)
    return content.getvalue()


def packed(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of these members: the same bytes at whatever time it is written, whatever their names."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, method
            archive.writestr(info, data)
    return content.getvalue()


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def onnx_model(external: str | None = None) -> Any:
    """Two convolution-free layers as an ONNX ModelProto; `external` names the file of its first tensor."""
    from onnx import TensorProto, helper, numpy_helper

    tensors = state()
    held = [numpy_helper.from_array(value.numpy(), name) for name, value in tensors.items()]
    if external is not None:
        held[0].ClearField("raw_data")
        held[0].data_location = TensorProto.EXTERNAL
        for key, value in (("location", external), ("offset", "0"), ("length", "80")):
            entry = held[0].external_data.add()
            entry.key, entry.value = key, value
    nodes = [
        helper.make_node("Gemm", ["x", "1.weight", "1.bias"], ["a"], transB=1),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Gemm", ["b", "3.weight", "3.bias"], ["y"], transB=1),
    ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])]
        for name, size in (("x", INPUTS), ("y", CLASSES))
    ]
    graph = helper.make_graph(nodes, "made", ends[0], ends[1], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], producer_name="made")
    model.ir_version = 8
    return model


@cache
def exported() -> bytes:
    """A program of torch.export for one perceptron."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(INPUTS, 5), nn.ReLU(), nn.Linear(5, CLASSES)).eval()
    network.load_state_dict(state())
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch = torch.export.Dim("batch", min=2)
        program = torch.export.export(network, (torch.rand(2, INPUTS),), dynamic_shapes=({0: batch},))
        torch.export.save(program, content)
    return content.getvalue()


def described() -> dict[str, Any]:
    """A Keras model of two Dense layers, as its config.json says it."""

    def layer(kind: str, **settings: Any) -> dict[str, Any]:
        return {"class_name": kind, "module": "keras.layers", "registered_name": None, "config": settings}

    layers = [
        layer("InputLayer", batch_shape=[None, INPUTS], name="input", dtype="float32"),
        layer("Dense", name="dense", units=5, activation="relu", use_bias=True),
        layer("Dense", name="dense_1", units=CLASSES, activation="softmax", use_bias=True),
    ]
    return {
        "class_name": "Sequential",
        "module": "keras",
        "registered_name": None,
        "config": {"name": "net", "layers": layers},
    }


def arrays(change: Any = None) -> bytes:
    """The arrays of that model as Keras 3 files them; `change` may do something to the open file."""
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for layer, name in (("dense", "1"), ("dense_1", "3")):
            group = file.create_group(f"layers/{layer}/vars")
            group["0"] = state()[f"{name}.weight"].numpy().T.copy()
            group["1"] = state()[f"{name}.bias"].numpy()
        if change is not None:
            change(file)
    return content.getvalue()


def keras_archive(config: Any = None, held: bytes | None = None, **more: bytes) -> bytes:
    text = config if isinstance(config, bytes) else json.dumps(config or described()).encode()
    parts = {"metadata.json": b'{"keras_version": "3.15.1"}', "config.json": text}
    return packed({**parts, "model.weights.h5": arrays() if held is None else held, **more})


def keras_hdf5(config: Any = None, change: Any = None) -> bytes:
    """The same as one `.h5` file."""
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.attrs["model_config"] = json.dumps(config or described())
        file.attrs["keras_version"] = "2.15.0"
        held = file.create_group("model_weights")
        held.attrs["layer_names"] = np.array([b"dense", b"dense_1"])
        for layer, name in (("dense", "1"), ("dense_1", "3")):
            group = held.create_group(layer)
            group.attrs["weight_names"] = np.array([b"kernel:0", b"bias:0"])
            group["kernel:0"] = state()[f"{name}.weight"].numpy().T.copy()
            group["bias:0"] = state()[f"{name}.bias"].numpy()
        if change is not None:
            change(file)
    return content.getvalue()


@cache
def hub() -> Mapping[str, bytes]:
    """A folder of the hub with a tiny vision transformer; needs transformers."""
    from mmbd.formats.networks.shim import torchvision_usable

    torchvision_usable()
    import transformers

    logging.getLogger("transformers").setLevel(logging.ERROR)
    with torch.random.fork_rng(), tempfile.TemporaryDirectory() as place:
        torch.manual_seed(0)
        config = transformers.ViTConfig(**copy.deepcopy(VIT))
        transformers.ViTForImageClassification(config).eval().save_pretrained(place)
        found = {file.name: file.read_bytes() for file in Path(place).iterdir()}
    return {**found, "preprocessor_config.json": json.dumps(PIXELS).encode()}


def shards() -> dict[str, bytes]:
    """The perceptron's weights in two files, and their index."""
    held = list(state().items())
    parts = {"a.safetensors": dict(held[:2]), "b.safetensors": dict(held[2:])}
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    files = {name: tensor_file(None, part) for name, part in parts.items()}
    return {**files, "model.safetensors.index.json": json.dumps(index).encode()}


def script() -> bytes:
    """A TorchScript archive."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), content)
    return content.getvalue()


def flat_graph() -> bytes:
    """A TensorFlow Lite file as far as it is recognised."""
    return struct.pack("<L", 28) + b"TFL3" + bytes(64)


def every(*, library: bool = True) -> dict[str, Valid]:
    """A model of every format that is read, by name; `library` with the one that needs transformers."""
    found = {
        "safetensors": Valid({"m.safetensors": tensor_file()}, "m.safetensors", {}),
        "bare safetensors": Valid({"m.safetensors": tensor_file(None)}, "m.safetensors", MLP),
        "checkpoint": Valid({"m.pt": checkpoint(state())}, "m.pt", MLP),
        "envelope": Valid(
            {"m.ckpt": checkpoint({"state_dict": state(), "epoch": 3, "best": np.float64(0.5)})},
            "m.ckpt",
            MLP,
        ),
        "old checkpoint": Valid({"m.pth": checkpoint(state(), old=True)}, "m.pth", MLP),
        "onnx": Valid({"m.onnx": onnx_model().SerializeToString()}, "m.onnx", {}),
        "onnx and data": Valid(
            {
                "m.onnx": onnx_model("m.data").SerializeToString(),
                "m.data": state()["1.weight"].numpy().tobytes(),
            },
            "m.onnx",
            {},
        ),
        "pt2": Valid({"m.pt2": exported()}, "m.pt2", {}),
        "keras": Valid({"m.keras": keras_archive()}, "m.keras", {}),
        "hdf5": Valid({"m.h5": keras_hdf5()}, "m.h5", {}),
        "shards": Valid(shards(), "model.safetensors.index.json", MLP),
    }
    if library:
        found["hub"] = Valid(hub(), "config.json", {})
    return found
