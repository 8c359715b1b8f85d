"""What a file is, told by its content alone; its name only serves to point out a mismatch."""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal

from mmbd.errors import Failed, Refused
from mmbd.load import pickles

Kind = Literal["safetensors", "zip", "torch legacy", "pickle"]

# What every torch checkpoint before 1.6 starts with, after the protocol: LONG1, the number, STOP.
TORCH_MAGIC = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."

ADVICE = (
    "Save the weights alone, where you trust this file: "
    "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors') or "
    "torch.save(model.state_dict(), 'weights.pt'); then scan that file with --arch"
)

# (offset, magic, what it is)
FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras), whose layers may hold code"),
    (0, b"GGUF", "a GGUF file (llama.cpp), a language model's format"),
    (0, b"ggml", "a GGML file, a language model's format"),
    (4, b"TFL3", "a TensorFlow Lite graph"),
    (0, b"\x93NUMPY", "one NumPy array"),
    (0, b"PAR1", "a Parquet table, data and not a model"),
    (0, b"\x1f\x8b", "a gzip archive: unpack it and name the file inside"),
    (0, b"BZh", "a bzip2 archive: unpack it and name the file inside"),
    (0, b"\xfd7zXZ\x00", "an xz archive: unpack it and name the file inside"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive: unpack it and name the file inside"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it and name the file inside"),
    (0, b"Rar!\x1a\x07", "a RAR archive: unpack it and name the file inside"),
    (257, b"ustar", "a tar archive, or torch's format before 0.1.10: unpack it or save it again"),
    (0, b"\x7fELF", "a program (ELF)"),
    (0, b"MZ", "a Windows program or library"),
    (0, b"#!", "a script"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"%PDF", "a PDF document"),
)

# Not models at all, but what people find where they expect one.
BROKEN: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer and not the model: run `git lfs pull` first"),
    (b"<!doctype html", "a web page and not the model: the download went wrong"),
    (b"<html", "a web page and not the model: the download went wrong"),
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
    if size < 16:
        raise Failed(f"the file has {size} bytes, too few for any model: it was cut short")
    for magic, what in BROKEN:
        if head[: len(magic)].lower() == magic:
            raise Failed(f"the file is {what}")
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(b"PK\x05\x06"):
        raise Failed("the file is an empty zip archive")
    if _safetensors(head):
        return "safetensors"
    if head[:1] == b"\x80":
        return "torch legacy" if head[2:].startswith(TORCH_MAGIC) else "pickle"
    for offset, magic, what in FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            raise refusal(what)
    if _onnx(head):
        raise refusal("an ONNX or TensorFlow graph (protocol buffers)")
    # Pickles of protocol 0 and 1 have no magic: what can be walked through to its end is one.
    if pickles.names_in([head]).complete:
        return "pickle"
    raise refusal(f"of no format that mmbd knows (its first bytes are {head[:8].hex(' ')})")


def refusal(what: str) -> Refused:
    """The error that says what the file is, that it was left alone, and what to do."""
    return Refused(f"the file is {what}. It was not loaded. {ADVICE}")


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
