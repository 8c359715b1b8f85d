"""Models, data and programs of other tools; and honest files, which must not be refused."""

from __future__ import annotations

import io
import json
import struct
import zlib

import numpy as np

from benchmarks.hostile import valid
from benchmarks.hostile.case import BROKEN, READ, REFUSED, Case, Content, later
from benchmarks.hostile.payload import CODE, EXPRESSION, SHELL, called, pickled, system, text

FAMILY, HONEST = "other tools", "honest"
EVIL = pickled()


def cases() -> list[Case]:
    return [*_arrays(), *_models()]


def _array(form: str = "<f4", shape: str = "(1,)", data: bytes = b"\0\0\0\0", version: int = 1) -> bytes:
    head = f"{{'descr': {form!r}, 'fortran_order': False, 'shape': {shape}, }}"
    return _npy(head, data, version)


def _npy(head: str, data: bytes, version: int = 1) -> bytes:
    body = head.encode("latin-1", "replace").ljust(118 - len(head) % 2) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(body)) + body + data


def _objects() -> bytes:
    content, objects = io.BytesIO(), np.empty(1, dtype=object)
    objects[0] = system()
    np.save(content, objects, allow_pickle=True)
    return content.getvalue()


def _joblib(value: object) -> bytes:
    import joblib

    content = io.BytesIO()
    joblib.dump(value, content)
    return content.getvalue()


def _joblib_packed() -> bytes:
    return zlib.compress(_joblib(system()))


def _arrays() -> list[Case]:
    found: dict[str, tuple[Content, str, str]] = {
        "an array of objects": (_objects(), ".npy", "numpy_load"),
        "arrays of objects": (valid.packed({"a.npy": _objects()}), ".npz", "numpy_load"),
        "an array whose head is code": (_npy(EXPRESSION, b""), ".npy", "numpy_load"),
        "an array of exabytes": (_array(shape="(1 << 60,)"), ".npy", "numpy_load"),
        "an array of a billion": (_array(shape="(1000000000000,)"), ".npy", "numpy_load"),
        "an array named .pt": (_objects(), ".pt", "numpy_load"),
        "arrays that unpack to 200 MB": (
            later(lambda: valid.packed({"a.npy": _array(shape="(50000000,)", data=bytes(200_000_000))}, 8)),
            ".npz",
            "numpy_load",
        ),
        "arrays and a payload": (valid.packed({"a.npy": _array(), "data.pkl": EVIL}), ".npz", "numpy_load"),
        "joblib": (_joblib(system()), ".joblib", "joblib_load"),
        "joblib, packed": (_joblib_packed(), ".joblib", "joblib_load"),
        "joblib, named .pkl": (_joblib(system()), ".pkl", "joblib_load"),
        "joblib with an array of objects": (
            _joblib({"w": np.ones(3), "x": system()}),
            ".joblib",
            "joblib_load",
        ),
        "joblib's own array wrapper": (
            called("joblib.numpy_pickle", "NumpyArrayWrapper", b"N" * 4) + EVIL,
            ".joblib",
            "joblib_load",
        ),
    }
    return [
        Case(FAMILY, name, data, REFUSED, suffix, loader) for name, (data, suffix, loader) in found.items()
    ]


def _gguf() -> bytes:
    key, template = (
        b"tokenizer.chat_template",
        b"{{ cycler.__init__.__globals__.os.system('" + SHELL.encode() + b"') }}",
    )
    entry = struct.pack("<Q", len(key)) + key + struct.pack("<LQ", 8, len(template)) + template
    return b"GGUF" + struct.pack("<LQQ", 3, 0, 1) + entry


def _models() -> list[Case]:
    sklearn = (
        b"\x80\x04csklearn.linear_model._base\nLinearRegression\n)\x81}" + text("a") + EVIL[2:-1] + b"sb."
    )
    refused: dict[str, tuple[bytes, str]] = {
        "GGUF with a template that calls": (_gguf(), ".gguf"),
        "GGUF that claims exabytes": (b"GGUF" + struct.pack("<LQQ", 3, 1 << 63, 1 << 63), ".gguf"),
        "GGML": (b"ggml" + bytes(64), ".bin"),
        "TFLite": (valid.flat_graph(), ".tflite"),
        "TFLite with a custom operator": (
            valid.flat_graph() + b"CUSTOM FlexPyFunc" + EXPRESSION.encode(),
            ".tflite",
        ),
        "a TensorFlow graph with PyFunc": (b"\x0a\x10\x0a\x06PyFunc\x12\x06PyFunc" + bytes(20), ".pb"),
        "a TensorFlow graph that writes files": (
            b"\x0a\x14\x0a\x08WriteFil\x12\x08WriteFil" + bytes(20),
            ".pb",
        ),
        "CoreML": (b"\x08\x05\x12\x40" + bytes(70), ".mlmodel"),
        "a sklearn pickle": (sklearn, ".pkl"),
        "a cloudpickle function": (
            called("cloudpickle.cloudpickle", "_make_function", _code(), b"}NNN"),
            ".pkl",
        ),
        "a dill function": (called("dill._dill", "_create_function", _code(), b"}"), ".dill"),
        "XGBoost": (b'{"learner":{"attributes":{},"feature_names":[]},"version":[2,0,0]}', ".json"),
        "XGBoost, binary": (b"binf" + bytes(80), ".model"),
        "LightGBM": (b"tree\nversion=v4\nnum_class=1\n", ".txt"),
        "CatBoost": (b"CBM1" + bytes(80), ".cbm"),
        "PMML with an entity": (
            b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><PMML>&b;</PMML>',
            ".pmml",
        ),
        "XML of a billion laughs": (
            b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "' + b"&c;" * 10 + b'">]><a>&b;</a>',
            ".xml",
        ),
        "YAML that calls": (f"!!python/object/apply:os.system [{SHELL!r}]\n".encode(), ".yaml"),
        "a Keras description in YAML": (
            f"class_name: Lambda\nconfig: !!python/object/apply:os.system [{SHELL!r}]\n".encode(),
            ".yaml",
        ),
        "JSON of jsonpickle": (
            json.dumps({"py/reduce": [{"py/function": "os.system"}, {"py/tuple": [SHELL]}]}).encode(),
            ".json",
        ),
        "MessagePack of Flax": (b"\x82\xa6params\xc7\x10\x01" + bytes(64), ".msgpack"),
        "a Python script": (f"{CODE}\n".encode() + b"#" * 20, ".pt"),
        "compiled Python": (b"\xa7\r\r\n" + bytes(12) + b"\xe3" + bytes(64), ".pt"),
        "a shell script": (f"#!/bin/sh\n{SHELL}\n".encode(), ".bin"),
        "a program": (b"\x7fELF\x02\x01\x01" + bytes(64), ".bin"),
        "a Windows program": (b"MZ\x90\0" + bytes(64), ".onnx"),
        "a library (Mach-O)": (b"\xcf\xfa\xed\xfe" + bytes(64), ".bin"),
        "a Java archive": (
            valid.packed({"META-INF/MANIFEST.MF": b"Main-Class: x", "x.class": b"\xca\xfe\xba\xbe"}),
            ".jar",
        ),
        "a wheel": (
            valid.packed({"evil/__init__.py": CODE.encode(), "evil-1.dist-info/RECORD": b""}),
            ".whl",
        ),
        "a notebook": (
            json.dumps({"cells": [{"cell_type": "code", "source": [CODE]}], "nbformat": 4}).encode(),
            ".ipynb",
        ),
        "R data": (b"RDX3\nX\n" + bytes(64), ".rds"),
        "MATLAB": (b"MATLAB 5.0 MAT-file" + bytes(128), ".mat"),
        "Parquet": (b"PAR1" + bytes(64) + b"PAR1", ".parquet"),
        "SQLite": (b"SQLite format 3\0" + bytes(100), ".db"),
        "zeros": (bytes(4096), ".pt"),
        "ones": (b"\xff" * 4096, ".safetensors"),
    }
    broken = {
        "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", ".pt"),
        "a web page": (b"<!DOCTYPE html><html><script>alert(1)</script></html>", ".bin"),
        "one byte": (b"\x80", ".pkl"),
    }
    found = [
        Case(FAMILY, name, data, REFUSED, suffix, "pickle_load" if suffix in (".pkl", ".dill") else "")
        for name, (data, suffix) in refused.items()
    ]
    return found + [Case(FAMILY, name, data, BROKEN, suffix) for name, (data, suffix) in broken.items()]


def _code() -> bytes:
    return b"cbuiltins\ncompile\n(" + text(CODE) + text("x") + text("exec") + b"tR"


def honest() -> list[Case]:
    """One of every format that is read: whoever refuses these says nothing by refusing the others."""
    loaders = {
        ".safetensors": "safetensors_load",
        ".pt": "torch_load",
        ".ckpt": "torch_load",
        ".pth": "torch_load",
        ".onnx": "onnx_load",
        ".pt2": "export_load",
        ".keras": "keras_load",
        ".h5": "keras_load",
    }
    found: list[Case] = []
    for name, model in valid.every().items():
        suffix = f".{model.main.rpartition('.')[2]}"
        if len(model.files) == 1:
            found.append(Case(HONEST, name, model.files[model.main], READ, suffix, loaders.get(suffix, "")))
        else:
            loader = "hub_load" if name == "hub" else loaders.get(suffix, "")
            found.append(Case(HONEST, name, dict(model.files), READ, "", loader, model.main))
    return found
