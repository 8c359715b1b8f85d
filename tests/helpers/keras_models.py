"""Models of Keras for tests: those that `benchmarks/keras_files.py` has saved, and ones written by hand."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from mmbd.formats.format import Graph
from mmbd.formats.keras import files, graph
from mmbd.formats.options import LoadOptions

FOLDER = Path(__file__).parents[1] / "formats/keras_files"
EXPECTED: Mapping[str, np.ndarray] = np.load(FOLDER / "expected.npz")
NAMES = sorted({name.partition("/")[0] for name in EXPECTED})


def built(data: bytes, **options: Any) -> Graph:
    """The network in the bytes of a file."""
    read = files.read_hdf5 if files.is_hdf5(data) else files.read_archive
    return graph.build(read(data), LoadOptions(**options))


def saved(name: str, suffix: str = ".keras") -> bytes:
    return (FOLDER / f"{name}{suffix}").read_bytes()


def inputs(name: str) -> Tensor:
    """As Keras has them."""
    return torch.from_numpy(EXPECTED[f"{name}/inputs"])


def expected(name: str, number: int = 0) -> Tensor:
    return torch.from_numpy(EXPECTED[f"{name}/{number}"])


def config(name: str) -> dict[str, Any]:
    with zipfile.ZipFile(FOLDER / f"{name}.keras") as archive:
        return json.loads(archive.read("config.json"))


def weights(name: str) -> bytes:
    with zipfile.ZipFile(FOLDER / f"{name}.keras") as archive:
        return archive.read("model.weights.h5")


def archive(
    described: Any, arrays: bytes, more: Mapping[str, bytes] | None = None, version: str = "3.0.0"
) -> bytes:
    """A .keras file of a description (an object, or text) and the bytes of an HDF5 file."""
    text = described if isinstance(described, str | bytes) else json.dumps(described)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("metadata.json", json.dumps({"keras_version": version}))
        zipped.writestr("config.json", text)
        zipped.writestr("model.weights.h5", arrays)
        for name, data in (more or {}).items():
            zipped.writestr(name, data)
    return stream.getvalue()


def changed(name: str, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A saved model whose description was changed."""
    described = config(name)
    change(described)
    return archive(described, weights(name))


def layer(described: dict[str, Any], kind: str) -> dict[str, Any]:
    """The first layer of a class in a description, to be changed."""
    return next(each for each in described["config"]["layers"] if each["class_name"] == kind)


def dense(**extra: Any) -> dict[str, Any]:
    """A Sequential of one Dense layer from 4 to 3, with settings or entries changed."""
    settings = {"name": "dense", "units": 3, "activation": "linear", "use_bias": True, **extra}
    start = {"class_name": "InputLayer", "config": {"batch_shape": [None, 4], "name": "input"}}
    entry = {"class_name": "Dense", "module": "keras.layers", "registered_name": None, "config": settings}
    return {"class_name": "Sequential", "config": {"name": "net", "layers": [start, entry]}}


def hdf5(write: Callable[[h5py.File], object]) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        write(file)
    return stream.getvalue()


def dense_weights() -> bytes:
    def write(file: h5py.File) -> None:
        group = file.create_group("layers/dense/vars")
        group["0"] = np.arange(12, dtype="float32").reshape(4, 3)
        group["1"] = np.ones(3, dtype="float32")

    return hdf5(write)


def as_keras2(name: str) -> bytes:
    """A saved HDF5 model as Keras 2 wrote it: its words, its connections, its names of weights."""
    stream = io.BytesIO(saved(name, ".h5"))
    with h5py.File(stream, "a") as file:
        described = json.loads(file.attrs["model_config"])
        _older(described)
        file.attrs["model_config"] = json.dumps(described)
        file.attrs["keras_version"] = "2.4.0"
        group = file["model_weights"]
        for part in group.attrs["layer_names"]:
            held = group[part]
            names = [str(each) for each in held.attrs["weight_names"]]
            arrays = [held[each][()] for each in names]
            for each in list(held):
                del held[each]
            for each, array in zip(names, arrays, strict=True):
                held[f"{each}:0"] = array
            held.attrs["weight_names"] = [f"{each}:0".encode() for each in names]
    return stream.getvalue()


def before_3(name: str) -> bytes:
    """The arrays of a saved model, filed as Keras 2.12 to 2.14 did."""
    stream = io.BytesIO(weights(name))
    with h5py.File(stream, "a") as file:
        found: list[str] = []
        file.visit(lambda path: found.append(path) if path.split("/")[-1] == "layers" else None)
        for path in sorted(found, key=len, reverse=True):
            file.move(path, f"{path.removesuffix('layers')}_layer_checkpoint_dependencies")
    return stream.getvalue()


def _older(model: dict[str, Any]) -> None:
    for each in model["config"]["layers"]:
        settings = each["config"]
        if "batch_shape" in settings:
            settings["batch_input_shape"] = settings.pop("batch_shape")
        if isinstance(settings.get("dtype"), dict):
            settings["dtype"] = "float32"
        if "layers" in settings:
            _older(each)
        each["inbound_nodes"] = [_node(node) for node in each.get("inbound_nodes", [])]
    model["class_name"] = {"Functional": "Model"}.get(model["class_name"], model["class_name"])


def _node(node: dict[str, Any]) -> list[Any]:
    (given,) = node["args"]
    refs = given if isinstance(given, list) else [given]
    return [[*ref["config"]["keras_history"], {}] for ref in refs]
