"""What is no format for weights: how its first bytes are known, and what to do instead of scanning it."""

from __future__ import annotations

from collections.abc import Iterable

from mmbd.base.errors import Failed, Refused
from mmbd.base.text import listed
from mmbd.formats.advice import AGAIN
from mmbd.formats.pickles import opcodes as pickles
from mmbd.formats.pickles.allowed import ALLOWED

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
GRAPH = (
    "Convert it to ONNX and scan that (tf2onnx does it), or scan the weights that it was exported from, as "
    "safetensors or a PyTorch checkpoint, with --arch"
)
LANGUAGE = "mmbd scans classifiers; name the weights of one, as safetensors or from PyTorch"
ARRAYS = (
    "mmbd needs the names of the weights too: save the arrays under the names that the network "
    "has for them, with safetensors.numpy.save_file, and scan that with --arch"
)
UNPACK = "Unpack it and name the file inside"
OTHER = "Name the file with the model's weights: safetensors, or a checkpoint of PyTorch"

# (offset, magic, what it is, what to do instead)
FOREIGN: tuple[tuple[int, bytes, str, str], ...] = (
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
KERAS_ARCHIVE = "an archive with a Keras model in it that Keras did not write so"
HDF5 = "an HDF5 file without a Keras model in it"
TORCHSERVE = "a TorchServe archive, which holds code"
NUMPY_ARCHIVE = "a NumPy archive (.npz)"
NO_CHECKPOINT = "a zip archive without a torch checkpoint in it"
NEXT: dict[str, str] = {
    SAVED_MODEL: GRAPH,
    KERAS_ARCHIVE: "Save the model again with Keras, as one .keras file, and scan that",
    HDF5: OTHER,
    NUMPY_ARCHIVE: ARRAYS,
    TORCHSERVE: f"{UNPACK}; the weights of PyTorch in it",
    **{what: told for _, _, what, told in FOREIGN},
}

# No models at all, but what people find where they expect one; compared without regard to case.
WEB_PAGE = (
    "a web page and not the model: download the file itself, from the link to its raw content, and "
    "signed in if the page asks for it"
)
BROKEN: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer and not the model: run `git lfs pull` first"),
    (b"<!doctype html", WEB_PAGE),
    (b"<html", WEB_PAGE),
    (b"pk\x05\x06", f"an empty zip archive: {AGAIN}"),
)


def reject_other_things(head: bytes) -> None:
    """Failed where a file that starts with `head` is plainly not what was meant, such as a web page."""
    for magic, what in BROKEN:
        if head[: len(magic)].lower() == magic:
            raise Failed(f"the file is {what}")


def reject_other_formats(head: bytes) -> None:
    """Refused where a file that starts with `head` is of a known format that is not for weights."""
    for offset, magic, what, _ in FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            raise refusal(what)
    if _graph(head):
        raise refusal("a TensorFlow graph, or an ONNX one that is damaged (protocol buffers)", GRAPH)


def advice(what: str) -> str:
    """What to do instead of scanning a file that is `what`; for PyTorch's own, save the weights."""
    if what.startswith(NO_CHECKPOINT):
        return f"{UNPACK}, if that is the model"
    return NEXT.get(what, ADVICE)


def refusal(what: str, told: str | None = None) -> Refused:
    """The error that says what the file is, that it was left alone, and what to do."""
    return Refused(f"the file is {what}. It was not loaded. {told or advice(what)}")


def program(what: str, reason: str, sources: Iterable[bytes], foreign: str = "") -> Refused:
    """Name the format, the reason, all globals of the pickles in `sources`, and the way out."""
    names = pickles.names_in(sources)
    strange = [name for name in names.globals if name not in ALLOWED]
    known = [name for name in names.globals if name in ALLOWED]
    parts = [f"refused, and nothing in it was run: the file is {what}; {reason}"]
    if strange:
        parts.append(f"It names what is not on the allow list: {_some(strange, 800)}")
    if known:
        parts.append(f"It also names what weights need: {_some(known, 200)}")
    if not names.complete:
        parts.append("A pickle in it could not be read to its end, so there may be more")
    if any(name.startswith(("torch.nn.modules", "torch.nn.parallel")) for name in strange):
        parts.append("It holds a whole model and not only its weights")
    torchs = foreign or any(name.startswith("torch") for name in names.globals)
    told = advice(foreign) if torchs or "PyTorch" in what else IF_TORCH
    return Refused(". ".join([*parts, told]))


def _some(names: list[str], room: int) -> str:
    """As many of the names as leave room for the advice that follows them."""
    return listed(names, most=100, room=room)


def _graph(head: bytes) -> bool:
    """A protocol-buffer message as a SavedModel's or a GraphDef's: a version or a node first."""
    if head[0] == 0x08:
        return 0 < head[1] < 32 and head[2] in b"\x12\x1a\x22\x3a"
    # A node of a GraphDef: its name and its operator, both of a few bytes.
    after = head.find(b"\x12", 4) if head[0] == 0x0A and head[2] == 0x0A else -1
    name = head[4:after]
    return 0 < after == 4 + head[3] and name.isascii() and name.decode().isprintable()
