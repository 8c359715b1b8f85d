"""What a file is, told by its content alone; its name only serves to point out a mismatch."""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal

from mmbd.base.errors import Failed, Refused
from mmbd.formats.advice import broken
from mmbd.formats.pickles import opcodes as pickles

SMALLEST = 16  # bytes of a file that could hold a model

Kind = Literal["safetensors", "zip", "torch legacy", "pickle"]

# What every torch checkpoint before 1.6 starts with, after the protocol: LONG1, the number, STOP.
TORCH_MAGIC = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."

ADVICE = (
    "Save the weights alone, where you trust this file: "
    "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors') or "
    "torch.save(model.state_dict(), 'weights.pt'); then scan that file with --arch"
)
IF_TORCH = f"mmbd scans PyTorch networks. If there is one in it: {ADVICE[0].lower()}{ADVICE[1:]}"
KERAS = (
    "mmbd scans PyTorch networks: where you trust this file, copy its weights into the same "
    "network in PyTorch, save those as safetensors, and scan that with --arch"
)
GRAPH = "Scan the weights that it was exported from, as safetensors or a PyTorch checkpoint, with --arch"
LANGUAGE = "mmbd scans classifiers; name the weights of one, as safetensors or from PyTorch"
ARRAYS = (
    "mmbd needs the names of the weights too: save the arrays under the names that the network "
    "has for them, with safetensors.numpy.save_file, and scan that with --arch"
)
UNPACK = "Unpack it and name the file inside"
OTHER = "Name the file with the model's weights: safetensors, or a checkpoint of PyTorch"

# (offset, magic, what it is, what to do instead)
FOREIGN: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras), whose layers may hold code", KERAS),
    (0, b"GGUF", "a GGUF file (llama.cpp), a language model's format", LANGUAGE),
    (0, b"ggml", "a GGML file, a language model's format", LANGUAGE),
    (4, b"TFL3", "a TensorFlow Lite graph", GRAPH),
    (0, b"\x93NUMPY", "one NumPy array", ARRAYS),
    (0, b"PAR1", "a Parquet table, data and not a model", OTHER),
    (0, b"\x1f\x8b", "a gzip archive", UNPACK),
    (0, b"BZh", "a bzip2 archive", UNPACK),
    (0, b"\xfd7zXZ\x00", "an xz archive", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (
        257,
        b"ustar",
        "a tar archive, or torch's format before 0.1.10",
        f"{UNPACK}; or load it with an old release of torch, where you trust it, and save it again",
    ),
    (0, b"\x7fELF", "a program (ELF)", OTHER),
    (0, b"MZ", "a Windows program or library", OTHER),
    (0, b"#!", "a script", OTHER),
    (0, b"\x89PNG", "a PNG image", OTHER),
    (0, b"\xff\xd8\xff", "a JPEG image", OTHER),
    (0, b"%PDF", "a PDF document", OTHER),
)
SAVED_MODEL = "a TensorFlow SavedModel, which is a program"

# What an archive is that is no checkpoint (`archives.foreign`), and what to do instead.
TORCHSCRIPT = "a TorchScript archive, which is a program"
PACKAGE = "a torch.package archive, which holds code"
EXPORTED = "a torch.export archive (.pt2), which runs code when it is loaded"
KERAS_ARCHIVE = "a Keras archive, whose layers may hold code"
TORCHSERVE = "a TorchServe archive, which holds code"
NUMPY_ARCHIVE = "a NumPy archive (.npz)"
NO_CHECKPOINT = "a zip archive without a torch checkpoint in it"
NEXT: dict[str, str] = {
    SAVED_MODEL: GRAPH,
    KERAS_ARCHIVE: KERAS,
    NUMPY_ARCHIVE: ARRAYS,
    TORCHSERVE: f"{UNPACK}; the weights of PyTorch in it",
    **{what: told for _, _, what, told in FOREIGN},
}

# Not models at all, but what people find where they expect one.
WEB_PAGE = (
    "a web page and not the model: download the file itself, from the link to its raw content, and "
    "signed in if the page asks for it"
)
BROKEN: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer and not the model: run `git lfs pull` first"),
    (b"<!doctype html", WEB_PAGE),
    (b"<html", WEB_PAGE),
)

SUFFIXES: dict[str, tuple[Kind, ...]] = {
    ".safetensors": ("safetensors",),
    ".zip": ("zip",),
    **dict.fromkeys((".pt", ".pth", ".bin", ".ckpt", ".th"), ("zip", "torch legacy")),
    **dict.fromkeys((".pkl", ".pickle"), ("pickle",)),
}

NAMES: dict[Kind, str] = {
    "safetensors": "safetensors",
    "zip": "a zip archive (as torch writes them)",
    "torch legacy": "a torch checkpoint in the format before 1.6",
    "pickle": "a Python pickle",
}


def identify(head: bytes, size: int) -> Kind:
    """The format of a file of `size` bytes that starts with `head` (its first megabyte, or all).

    Raises:
        Failed: too short, or plainly not what was meant (a Git LFS pointer, a web page).
        Refused: a known format that is not weights, or an unknown one.
    """
    if size < SMALLEST:
        # A pickle can do harm in ten bytes. Half of torch's own first one is no program, though.
        if not head[2:].startswith(TORCH_MAGIC[:-1]) and pickles.names_in([head]).complete:
            return "pickle"
        raise broken(f"the file has {size} bytes, too few for any model: it was cut short")
    for magic, what in BROKEN:
        if head[: len(magic)].lower() == magic:
            raise Failed(f"the file is {what}")
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(b"PK\x05\x06"):
        raise broken("the file is an empty zip archive")
    if _safetensors(head):
        return "safetensors"
    if head[:1] == b"\x80":
        return "torch legacy" if head[2:].startswith(TORCH_MAGIC) else "pickle"
    for offset, magic, what, _ in FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            raise refusal(what)
    if _onnx(head):
        raise refusal("an ONNX or TensorFlow graph (protocol buffers)", GRAPH)
    # Pickles of protocol 0 and 1 have no magic: what can be walked through to its end is one.
    if pickles.names_in([head]).complete:
        return "pickle"
    raise refusal(f"of no format that mmbd knows (its first bytes are {head[:8].hex(' ')})", OTHER)


def advice(what: str) -> str:
    """What to do instead of scanning a file that is `what`; for PyTorch's own, save the weights."""
    if what.startswith(NO_CHECKPOINT):
        return f"{UNPACK}, if that is the model"
    return NEXT.get(what, ADVICE)


def refusal(what: str, told: str | None = None) -> Refused:
    """The error that says what the file is, that it was left alone, and what to do."""
    return Refused(f"the file is {what}. It was not loaded. {told or advice(what)}")


def mismatch(name: str, kind: Kind) -> tuple[str, ...]:
    """A note if the name promises another format than the content keeps."""
    suffix = PurePath(name).suffix.lower()
    promised = SUFFIXES.get(suffix)
    if promised is None or kind in promised:
        return ()
    return (f"the file is {NAMES[kind]} though it is named {suffix}",)


def _safetensors(head: bytes) -> bool:
    """An 8-byte length, then a JSON object; eight printable characters would be text instead."""
    length = head[:8]
    return head[8:9] == b"{" and any(length) and any(not 32 <= byte < 127 for byte in length)


def _onnx(head: bytes) -> bool:
    """A protocol-buffer message with a small version as field 1 and a length-delimited field."""
    return head[0] == 0x08 and 0 < head[1] < 32 and head[2] in b"\x12\x1a\x22\x3a"
