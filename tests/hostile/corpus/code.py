"""Files that would run code in a less careful reader: every payload in every container."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from helpers.handmade_checkpoints import legacy, packed, text, zipped
from helpers.marker_pickles import Calls, pickles
from hostile.corpus.case import EITHER, FAILED, REFUSED, Case
from hostile.test_beside import beside
from hostile.test_code import CONTAINERS

HARMLESS = "after a harmless pickle"
# A container's name -> suffix, and what puts a pickle into it.
MORE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "deflated": (".pt", lambda data: packed({"archive/data.pkl": data}, zipfile.ZIP_DEFLATED)),
    "in another member": (
        ".pt",
        lambda data: packed({"archive/data.pkl": b"\x80\x02}.", "archive/evil.pkl": data}),
    ),
    "in a zip of its own": (".zip", lambda data: packed({"model.pkl": data})),
    "beside weights": (".pth", lambda data: beside(data[:-1])),
    "after weights": (".pkl", lambda data: pickle.dumps({"w": [1.0]}, 4) + data),
    "named .h5": (".h5", lambda data: data),
    "named .onnx": (".onnx", lambda data: data),
}


def cases(marker: Path) -> list[Case]:
    found: list[Case] = []
    containers = {name: (Path(file).suffix, wrap) for name, (file, wrap) in CONTAINERS.items()}
    for where, (suffix, wrap) in (containers | MORE).items():
        for name, (data, names) in pickles(marker).items():
            codes, says = REFUSED, names[0] if names else ""
            if name == HARMLESS and where.startswith(("in a zip", "in a list")):
                # Only its first pickle is read there.
                codes, says = (REFUSED, names[0]) if where.endswith("its own") else (FAILED, "")
            if name == HARMLESS and where == "beside weights":
                codes, says = EITHER, ""
            found.append(Case("code", f"{name}, {where}", wrap(data), codes, suffix, says=says))
    return found + _others(marker)


def _others(marker: Path) -> list[Case]:
    evil = pickles(marker)["os.system, protocol 2"][0]
    state = {"weights": Calls(print, "x")}
    arrays, objects = io.BytesIO(), np.empty(1, dtype=object)
    objects[0] = Calls(open, str(marker), "w")
    np.save(arrays, objects, allow_pickle=True)
    contents = {
        "an array of objects": arrays.getvalue(),
        "arrays of objects": packed({"x.npy": arrays.getvalue()}),
        "TorchScript with a payload": packed(
            {"m/constants.pkl": evil, "m/code/x.py": b"import os", "m/data.pkl": evil}
        ),
        "torch.package": packed({"m/.data/extern_modules": b"os", "m/model.pkl": evil}),
        "torch.export": packed({"m/archive_format": b"pt2", "m/data/weights/w.pkl": evil}),
        "TorchServe": packed({"MAR-INF/MANIFEST.json": b"{}", "handler.py": b"", "m.pkl": evil}),
        "a checkpoint whose value is a call": zipped(pickle.dumps(state, 2)),
        "two pickles in one member": zipped(evil + evil),
        "a script before it": b"#!/bin/sh\n" + evil,
        "before its end": evil[:-1],
        "before a broken opcode": evil[:-1] + b"\xff\xff.",
        "after a frame": b"\x80\x04\x95" + len(evil).to_bytes(8, "little") + evil,
        "a frame that lies": b"\x80\x04\x95" + b"\xff" * 8 + evil,
        "protocol 255": b"\x80\xff" + evil[2:],
        "as a persistent id": zipped(evil[:-1] + b"Q."),
        "as a key": zipped(b"\x80\x02}" + evil[2:-1] + b"Ns."),
        "as a storage's class": zipped(
            b"\x80\x02(" + text("storage") + evil[2:-1] + text("0") + text("cpu") + b"K\x04tQ."
        ),
        "in the fifth part": legacy(b"\x80\x02}.", evil),
        "instead of the magic": evil + legacy(b"\x80\x02}."),
    }
    return [Case("code", name, data, REFUSED) for name, data in contents.items()]
