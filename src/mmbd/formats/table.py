"""The formats that are read: a new one is a file with `recognise` and `read`, and a row here.

What a file is follows from its content: the first row that recognises it reads it. `refusals` is
the other table: what is no format for weights, and what to do then.
"""

from __future__ import annotations

from mmbd.base.errors import Failed
from mmbd.formats import checkpoints, hub_folder, refusals, shards, tensor_file
from mmbd.formats.advice import NO_MEMORY
from mmbd.formats.beside import NOTHING, Beside
from mmbd.formats.exported import archive as exported
from mmbd.formats.exported.module import build as build_exported
from mmbd.formats.format import Contents, Format
from mmbd.formats.keras import files as keras
from mmbd.formats.keras.graph import build as build_keras
from mmbd.formats.onnx import reading as onnx_file
from mmbd.formats.onnx import wire
from mmbd.formats.onnx.build import build as build_onnx

PICKLE = "pickle"  # one that torch did not write, which is never read

CHECKPOINT = (".pt", ".pth", ".bin", ".ckpt", ".th")

FORMATS: dict[str, Format] = {
    "pt2": Format("a torch.export archive", (".pt2",), exported.recognise, exported.read, build_exported),
    "keras": Format("a Keras archive", (".keras",), keras.is_archive, keras.read_archive, build_keras),
    "zip": Format(
        "a zip archive (as torch writes them)", CHECKPOINT, checkpoints.is_zip, checkpoints.read_zip
    ),
    "safetensors": Format("safetensors", (".safetensors",), tensor_file.recognise, tensor_file.read),
    "torch legacy": Format(
        "a torch checkpoint in the format before 1.6",
        CHECKPOINT,
        checkpoints.is_legacy,
        checkpoints.read_legacy,
    ),
    "onnx": Format("an ONNX graph", (".onnx",), wire.recognise, onnx_file.read, build_onnx, neighbours=True),
    "hub folder": Format(
        "the config.json of a Hugging Face folder",
        ("config.json",),
        hub_folder.recognise,
        hub_folder.read,
        hub_folder.build,
        neighbours=True,
    ),
    "shards": Format("an index of weights", (".index.json",), shards.recognise, shards.read, neighbours=True),
    "hdf5": Format("HDF5 (Keras)", (".h5", ".hdf5"), keras.is_hdf5, keras.read_hdf5, build_keras),
}
# The names that files of weights have, in a folder of models.
SUFFIXES = tuple(dict.fromkeys(suffix for row in FORMATS.values() for suffix in row.suffixes))


def contents(data: bytes | bytearray, kind: str, beside: Beside = NOTHING) -> Contents:
    """Read the tensors of a file of this kind (a name in FORMATS, or PICKLE), all on the CPU.

    Those of a safetensors file lie in `data` itself if that is a bytearray. `beside` gives the files that
    this one may name.

    Raises:
        Refused: reading it would need code to run, with every global that the pickles name.
        Failed: broken, cut short, or sizes that do not add up; the message says what to do.
    """
    try:
        if kind == PICKLE:
            what = "a Python pickle that torch did not write"
            raise refusals.program(what, "a pickle is a program", [bytes(data)])
        return FORMATS[kind].read(data, beside)
    except MemoryError:
        raise Failed(NO_MEMORY) from None
