"""What people find where they expect weights: other programs' files, and no files at all."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

from hostile.corpus import valid
from hostile.corpus.case import EITHER, FAILED, REFUSED, Case, several
from mmbd.formats.refusals import FOREIGN

KIND = "foreign"


def cases(seed: int) -> list[Case]:
    source = random.Random(seed)
    weights = valid.written(valid.state(seed))
    inside = io.BytesIO()
    with tarfile.open(fileobj=inside, mode="w") as archive:
        info = tarfile.TarInfo("../outside")
        info.size = len(weights)
        archive.addfile(info, io.BytesIO(weights))
    refused = {
        "tar": inside.getvalue(),
        "gzip of weights": gzip.compress(weights, mtime=0),
        "bzip2": bz2.compress(weights),
        "xz": lzma.compress(weights),
        "zlib": zlib.compress(weights),
        "ONNX": b"\x08\x08\x12\x07pytorch" + bytes(50),
        "an ONNX that lies": b"\x08\x08\x12\xff\xff\xff\xff\x0f" + bytes(50),
        "a script": b"#!/bin/sh\ntouch marker\n",
        "Python": b"import os\nos.system('touch marker')\n",
        "JSON": b'{"model": "weights", "layers": [1, 2, 3]}',
        "YAML": b"!!python/object/apply:os.system ['touch marker']\n",
        "XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        "a readme": b"# Model\n\nDownload the weights from elsewhere.\n",
        "escapes": b"\x1b[2J\x1b]0;owned\x07 clean: model.pt \xe2\x80\xae\n" * 3,
        "MessagePack": b"\x82\xa3net\xc4\x10" + bytes(16),
        "zeros": bytes(10_000),
        "ones": b"\xff" * 10_000,
    }
    found = several(KIND, refused, REFUSED)
    for number, (offset, magic, what, _) in enumerate(FOREIGN):
        start = bytes(offset) + magic
        for length in (1, 300, 5000):
            data = start + source.randbytes(length)
            codes = REFUSED if len(data) >= 16 else FAILED
            found.append(
                Case(
                    KIND,
                    f"{number}: {what:.20}, {length} bytes more",
                    data,
                    codes,
                    source.choice([".pt", ".h5", ".bin", ".safetensors"]),
                )
            )
    failed = {
        "an LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "a web page": b"<!DOCTYPE html><html><script>alert(1)</script></html>",
        "a web page in capitals": b"<HTML><BODY>Sign in</BODY></HTML>",
        "nothing": b"",
        **{f"{size} bytes": source.randbytes(size).replace(b".", b"x") for size in range(1, 16, 2)},
    }
    found += several(KIND, failed, FAILED)
    for number in range(30):
        data = source.randbytes(source.choice([16, 17, 64, 1000, 20_000]))
        found.append(
            Case(
                KIND,
                f"random bytes {number}",
                data,
                EITHER,
                source.choice([".pt", ".pth", ".pkl", ".safetensors", ""]),
            )
        )
    return found + _folders(weights)


def _folders(weights: bytes) -> list[Case]:
    def folder(**files: bytes) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            for name, data in files.items():
                target = path / name.replace("__", ".").replace("_slash_", "/")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            path.mkdir(exist_ok=True)

        return make

    refused = {
        "SavedModel": folder(saved_model__pb=b"\x08\x01\x12", variables_slash_v=b"x"),
        "SavedModel beside weights": folder(saved_model__pb=b"x", model__safetensors=weights),
    }
    failed = {
        "empty": folder(),
        "without a model": folder(config__json=b"{}", readme__md=b"x"),
        "shards": folder(model__safetensors__index__json=b"{}"),
        "two models": folder(a__pt=weights, b__pt=weights),
        "an adapter": folder(adapter_model__safetensors=weights),
        "Flax": folder(flax_model__msgpack=b"x"),
        "TensorFlow": folder(tf_model__h5=b"x"),
        "names that steer": folder(**{"\x1b[2J\u202e\n__pt": b"x", "b__pt": b"x"}),
        "a folder called as weights": folder(model__safetensors_slash_x=b"x"),
        "a file cut short": folder(pytorch_model__bin=weights[:100]),
    }
    return [
        Case("folder", name, make, codes, "")
        for codes, several in ((REFUSED, refused), (FAILED, failed))
        for name, make in several.items()
    ]
