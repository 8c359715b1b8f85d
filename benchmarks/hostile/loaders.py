"""The formats' own loaders, as their documentation has them where a file is trusted: they show what is live.

Each takes the path of a file, or of a hub's folder. They run whatever the file says, so they are only called
in a child process with limits, where all that a payload of this corpus does is to create the canary.
"""

from __future__ import annotations

import pickle
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any


def _path() -> str:
    warnings.simplefilter("ignore")
    return sys.argv[1]


def pickle_load() -> None:
    with Path(_path()).open("rb") as file:
        pickle.load(file)


def torch_load() -> None:
    import torch

    torch.load(_path(), weights_only=False, map_location="cpu")


def torch_load_default() -> None:
    import torch

    torch.load(_path())


def package_load() -> None:
    import torch

    torch.package.PackageImporter(_path()).load_pickle("m", "model.pkl")


def export_load() -> None:
    """Loads a program, and calls it, as guards are only run then."""
    import torch

    program = torch.export.load(_path())
    with suppress(Exception):
        program.module()(torch.rand(2, 4))


def safetensors_load() -> None:
    from safetensors.torch import load_file

    load_file(_path())


def onnx_load() -> None:
    import onnx
    import onnxruntime

    onnx.load(_path())
    with suppress(Exception):
        onnxruntime.InferenceSession(_path(), providers=["CPUExecutionProvider"])


def keras_load() -> None:
    import keras

    keras.saving.load_model(_path(), safe_mode=False)


def keras_load_default() -> None:
    import keras

    keras.saving.load_model(_path())


def numpy_load() -> None:
    import numpy as np

    found: Any = np.load(_path(), allow_pickle=True)
    if hasattr(found, "files"):
        for name in found.files:
            found[name]


def joblib_load() -> None:
    import joblib

    joblib.load(_path())


def hub_load() -> None:
    import transformers

    transformers.AutoModelForImageClassification.from_pretrained(_path(), trust_remote_code=True)


DEFAULTS = {"torch_load": "torch_load_default", "keras_load": "keras_load_default"}
MODULES = (
    "torch",
    "torch.package",
    "torch.export",
    "keras",
    "onnx",
    "joblib",
    "safetensors.torch",
    "benchmarks.hostile.hub",
)
