"""Data of strangers: nothing is run, nothing else is opened, and memory stays within bounds."""

from __future__ import annotations

import io
import os
import resource
import socket
import struct
import subprocess
import sys
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from mmbd.base.errors import Failed
from mmbd.cli import main
from mmbd.data import read as data
from mmbd.workflows import scan_file as gate

MODEL = Path(__file__).parents[2] / "examples" / "models" / "badnet-resnet8.safetensors"
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n"


def png(width: int, height: int) -> bytes:
    """A black image that costs next to nothing, whatever its size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compressobj(9)
    body = rows.compress(bytes((1 + (width + 7) // 8) * height)) + rows.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def small_png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, format="PNG")
    return file.getvalue()


def folder(root: Path, **files: bytes) -> Path:
    for name, content in files.items():
        (root / name).mkdir(parents=True)
        (root / name / "1.png").write_bytes(content)
    return root


def parquet(path: Path, blobs, labels, *, column="image", kind=None, metadata=None) -> Path:
    rows = [{"bytes": blob, "path": None} for blob in blobs]
    kind = kind or pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({column: pa.array(rows, kind), "label": labels})
    if metadata is not None:
        table = table.replace_schema_metadata({b"huggingface": metadata})
    pq.write_table(table, path)
    return path


def hdf5(path: Path, label=(0, 1)) -> Path:
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros((2, 9, 3), dtype=np.float32)
        file["label"] = list(label)
    return path


# ------------------------------------------------------------------------------- programs


@pytest.fixture
def ghostscript(tmp_path, monkeypatch) -> Path:
    """A stand-in for `gs` on the path; returns the file that it leaves when it is started."""
    marker, tools = tmp_path / "started", tmp_path / "tools"
    tools.mkdir()
    (tools / "gs").write_text(f"#!/bin/sh\ntouch {marker}\nexit 1\n")
    (tools / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    return marker


def test_an_image_that_is_postscript_starts_no_program(tmp_path, ghostscript):
    read = folder(tmp_path / "images", a=small_png(), b=POSTSCRIPT)
    with pytest.raises(Failed, match=r"b.1\.png cannot be decoded \(UnidentifiedImageError\)"):
        data.load(read, size=(4, 4))
    rows = parquet(tmp_path / "x.parquet", [POSTSCRIPT], [0])
    with pytest.raises(Failed, match=r"x\.parquet: row 0 cannot be decoded"):
        data.load(rows, size=(4, 4))
    assert not ghostscript.exists()
    # It would have told: Pillow left to itself starts the program.
    code = f"from PIL import Image; Image.open({str(read / 'b' / '1.png')!r}).load()"
    subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=600, check=False)
    assert ghostscript.exists()


# ---------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("shape", [(8001, 8000), (13_000, 13_000), (20_000, 20_000)])
def test_an_image_of_too_many_pixels_is_not_decoded(tmp_path, shape, monkeypatch):
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    large = png(*shape)
    assert len(large) < 100_000
    with pytest.raises(Failed, match=r"a.1\.png: the image is too large: .*at most 64,000,000 pix"):
        data.load(folder(tmp_path / "images", a=large), size=(8, 8))
    with pytest.raises(Failed, match=r"x\.parquet: row 0: the image is too large"):
        data.load(parquet(tmp_path / "x.parquet", [large], [0]), size=(8, 8))


def test_an_image_within_the_limit_is_read(tmp_path):
    read = data.load(folder(tmp_path, a=png(8000, 8000)), size=(8, 8))
    assert read.inputs.shape == (1, 3, 8, 8)


@pytest.mark.parametrize("label", [10**12, 1_000_000, 2**63 - 1])
def test_a_huge_label_makes_no_names(tmp_path, label):
    files = [
        tmp_path / "a.npz",
        parquet(tmp_path / "a.parquet", [small_png()] * 2, [0, label]),
        hdf5(tmp_path / "a.h5", (0, label)),
    ]
    np.savez(files[0], x=np.zeros((2, 1)), y=np.array([0, label]))
    with io.BytesIO() as wave:
        soundfile.write(wave, np.zeros(9), 8000, format="WAV")
        files.append(parquet(tmp_path / "s.parquet", [wave.getvalue()] * 2, [0, label], column="audio"))
    for file in files:
        with pytest.raises(Failed, match=f"{file.name}: labels run from 0 to {label}, expected cl"):
            data.load(file, points=9)
    np.savez(files[0], x=np.zeros((2, 1)), y=np.array([0, 2**64 - 1], dtype=np.uint64))
    with pytest.raises(Failed, match="labels run from 0 to 18446744073709551615"):
        data.load(files[0])


def header(shape: str, descr: str = "'<f4'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (117 - len(text)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def npz(path: Path, x: bytes) -> Path:
    labels = io.BytesIO()
    np.save(labels, np.zeros(2, dtype=np.int64))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", x)
        archive.writestr("y.npy", labels.getvalue())
    return path


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (header("(2, 350000000000)"), r"claims 2,800,000,000,000 bytes and has 128"),
        (header("(2, 8, 10000000000000000000)"), "claims 640,000,000,000,000,000,000 bytes"),
        (header("(2, 600, 600, 1000)") + bytes(2_880_000_000 // 10), "damaged"),
        (header("()") + bytes(4), "a single value"),
        (header("(2,)", "'<U3'") + bytes(24), "holds <U3; expected numbers"),
        (header("(2,)", "'<c8'") + bytes(16), "holds complex64; expected numbers"),
        (header("(2,)", "'|O'") + b"cos\nsystem\n", "holds Python objects"),
        (header("(2,)", "[('a', '<f4')]") + bytes(8), "expected numbers"),
        (header("(2,)", "'<f16'") + bytes(32), "torch has no tensors of x's type"),
        (header("(2, -3)") + bytes(32), "no NumPy array"),
        (header("[" * 2000), "no NumPy array"),
        (b"\x93NUMPY\x09\x00", "no NumPy array"),
        (b"\x80\x04cos\nsystem\n.", "no NumPy array"),
        (b"", "no NumPy array"),
    ],
    ids=range(14),
)
def test_arrays_that_are_none(tmp_path, x, message):
    with pytest.raises(Failed, match=rf"a\.npz: .*({message})") as caught:
        data.load(npz(tmp_path / "a.npz", x))
    assert "\n" not in str(caught.value)


def test_a_small_archive_cannot_unfold_to_gigabytes(tmp_path):
    rows = 300 << 20  # of one byte each
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x.npy", "w") as member:
            member.write(header(f"({rows},)", "'|u1'"))
            for _ in range(300):
                member.write(bytes(1 << 20))
        archive.writestr("y.npy", header("(2,)", "'<i8'") + bytes(16))
    assert (tmp_path / "a.npz").stat().st_size < 1 << 20
    with pytest.raises(Failed, match=r"would take more than 268 MB, .*fewer or smaller samples"):
        data.load(tmp_path / "a.npz")


def test_an_encrypted_archive(tmp_path):
    file = npz(tmp_path / "a.npz", header("(2,)") + bytes(8))
    content = bytearray(file.read_bytes())
    for place in (content.index(b"PK\x03\x04") + 6, content.index(b"PK\x01\x02") + 8):
        content[place] |= 1
    file.write_bytes(content)
    with pytest.raises(Failed, match=r"a\.npz: x\.npy is encrypted"):
        data.load(file)


def test_names_that_are_no_list(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 1)), y=[0, 1], names=np.array("a"))
    with pytest.raises(Failed, match=r"names\.npy is a single value"):
        data.load(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 1)), y=[0, 1], names=np.array([["a"], ["b"]]))
    with pytest.raises(Failed, match=r"names are an array of shape \(2, 1\)"):
        data.load(tmp_path / "a.npz")


def test_other_byte_orders_are_read(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([[1.5], [2.5]], dtype=">f8"), y=np.array([0, 1], ">i4"))
    read = data.load(tmp_path / "a.npz")
    assert (read.inputs.flatten().tolist(), read.labels.tolist()) == ([1.5, 2.5], [0, 1])


# --------------------------------------------------------------------------------- Parquet


def test_structs_without_bytes(tmp_path):
    for number, kind in enumerate([pa.struct([("path", pa.string())]), pa.int64()]):
        file = tmp_path / f"{number}.parquet"
        table = pa.table({"image": pa.array([None, None], kind), "label": [0, 1]})
        pq.write_table(table, file)
        with pytest.raises(Failed, match=r"\d\.parquet: expected structs with binary 'bytes'"):
            data.load(file)


def test_columns_that_occur_twice(tmp_path):
    rows = pa.array([{"bytes": small_png()}], pa.struct([("bytes", pa.binary())]))
    table = pa.Table.from_arrays([rows, pa.array([0]), pa.array([0])], ["image", "label", "label"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(Failed, match=r"a\.parquet: expected columns image, img or audio, and lab"):
        data.load(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    "metadata",
    [
        b"[]",
        b"{",
        b"[" * 100_000,
        b'{"info": 3}',
        b'{"info": {"features": {"label": [1]}}}',
        b'{"info": {"features": {"label": {"names": "ab"}}}}',
        b'{"info": {"features": {"label": {"names": [1, 2]}}}}',
        b"\xff",
    ],
    ids=range(8),
)
def test_broken_metadata_of_the_hub(tmp_path, metadata):
    file = parquet(tmp_path / "a.parquet", [small_png()], [0], metadata=metadata)
    with pytest.raises(Failed, match=r"a\.parquet: .*huggingface metadata"):
        data.load(file)


def test_metadata_without_names_numbers_the_classes(tmp_path):
    for metadata in (b"{}", b'{"info": null}', b'{"info": {"features": {"label": {"names": []}}}}'):
        file = parquet(tmp_path / "a.parquet", [small_png()] * 2, [0, 1], metadata=metadata)
        assert data.load(file).names == ("0", "1")


def test_one_blob_in_a_million_rows_stays_small(tmp_path):
    blob = small_png()
    rows = 1_000_000
    kind = pa.struct([("bytes", pa.binary())])
    blobs = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([blob]))
    table = pa.table(
        {
            "image": pa.StructArray.from_arrays([blobs.cast(pa.binary())], fields=list(kind)),
            "label": pa.array(np.zeros(rows, np.int64)),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    assert (tmp_path / "a.parquet").stat().st_size < 1 << 20
    with pytest.raises(Failed, match="would take more than 268 MB"):
        data.load(tmp_path / "a.parquet", size=(224, 224))
    assert len(data.load(tmp_path / "a.parquet", size=(224, 224), limit=3)) == 3


def test_a_sound_is_decoded_only_as_far_as_it_is_heard(tmp_path, monkeypatch):
    wave = io.BytesIO()
    soundfile.write(wave, np.zeros(50_000_000, dtype=np.int16), 8000, format="FLAC")
    file = parquet(tmp_path / "a.parquet", [wave.getvalue()], [0], column="audio")
    read, asked = soundfile.SoundFile.read, []
    monkeypatch.setattr(
        soundfile.SoundFile, "read", lambda self, n, **kw: asked.append(n) or read(self, n, **kw)
    )
    assert data.load(file, samples=8000).inputs.shape == (1, 1, 8000)
    assert asked == [8000]


def test_damaged_parquet_is_named(tmp_path):
    file = parquet(tmp_path / "a.parquet", [small_png()] * 9, range(9))
    whole = file.read_bytes()
    for cut in (0, 4, 100, len(whole) // 2, len(whole) - 9):
        file.write_bytes(whole[:cut])
        with pytest.raises(Failed, match=r"a\.parquet: ") as caught:
            data.load(file)
        assert "\n" not in str(caught.value)
    random = np.random.default_rng(0)
    for _ in range(60):
        content = bytearray(whole)
        for place in random.integers(0, len(whole), 8):
            content[place] = random.integers(0, 256)
        file.write_bytes(content)
        with suppress(Failed):  # and nothing else
            data.load(file)


# ------------------------------------------------------------------------------------ HDF5


def test_links_and_outside_storage_are_not_followed(tmp_path):
    secret = hdf5(tmp_path / "secret.h5")
    raw = tmp_path / "secret.raw"
    raw.write_bytes(bytes(216))

    def made(name: str, change) -> Path:
        file = hdf5(tmp_path / f"{name}.h5")
        with h5py.File(file, "a") as content:
            content["other"] = content["data"][()]
            del content["data"]
            change(content)
        return file

    def virtual(content) -> None:
        layout = h5py.VirtualLayout((2, 9, 3), "f4")
        layout[:] = h5py.VirtualSource(secret, "data", (2, 9, 3))
        content.create_virtual_dataset("data", layout)

    changes = {
        "external": lambda content: content.__setitem__("data", h5py.ExternalLink(secret, "/data")),
        "soft": lambda content: content.__setitem__("data", h5py.SoftLink("/other")),
        "dangling": lambda content: content.__setitem__("data", h5py.SoftLink("/nowhere")),
        "circular": lambda content: content.__setitem__("data", h5py.SoftLink("/data")),
        "virtual": virtual,
        "raw": lambda content: content.create_dataset("data", (2, 9, 3), "f4", external=[(str(raw), 0, 216)]),
    }
    for name, change in changes.items():
        words = "link to elsewhere" if name not in ("virtual", "raw") else "kept in other files"
        with pytest.raises(Failed, match=rf"{name}\.h5: .*{words}"):
            data.load(made(name, change), points=9)
    with h5py.File(hdf5(tmp_path / "odd.h5"), "a") as content:
        content["stray"] = h5py.SoftLink("/nowhere")  # where nobody looks, it does no harm
    assert len(data.load(tmp_path / "odd.h5", points=9)) == 2


def test_hdf5_that_claims_too_much(tmp_path):
    def made(**shapes) -> Path:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for name, (shape, kind, chunks) in shapes.items():
                file.create_dataset(name, shape, kind, chunks=chunks, compression=9)
        return tmp_path / "a.h5"

    for file in (
        made(data=((10**9, 9, 3), "f4", (1, 9, 3)), label=((10**9,), "i8", (1,))),
        made(data=((2, 10**9, 3), "f4", (2, 2 * 10**7, 3)), label=((2,), "i8", (2,))),
    ):
        assert file.stat().st_size < 1 << 20
        with pytest.raises(Failed, match=r"a\.h5: the samples would take more than 268 MB"):
            data.load(file, points=9)


# --------------------------------------------------------------------- what is no regular file


def test_what_is_not_a_regular_file_is_not_opened(tmp_path):
    inside = folder(tmp_path / "images", a=small_png())
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(inside / "a" / "2.png"))
    listener.close()
    with pytest.raises(Failed, match=r"2\.png: expected a regular file, found a socket"):
        data.load(inside)
    (inside / "a" / "2.png").unlink()
    os.mkfifo(inside / "a" / "2.png")
    with pytest.raises(Failed, match=r"2\.png: expected a regular file, found a FIFO"):
        data.load(inside)
    for suffix in ("npz", "parquet", "h5"):
        os.mkfifo(tmp_path / f"fifo.{suffix}")
        (tmp_path / f"zero.{suffix}").symlink_to("/dev/zero")
        with pytest.raises(Failed, match=rf"fifo\.{suffix}: expected a regular file, found a FIFO"):
            data.load(tmp_path / f"fifo.{suffix}")
        with pytest.raises(Failed, match=rf"zero\.{suffix}: expected .* character device"):
            data.load(tmp_path / f"zero.{suffix}")
    (tmp_path / "meshes" / "a").mkdir(parents=True)
    os.mkfifo(tmp_path / "meshes" / "a" / "1.off")
    with pytest.raises(Failed, match=r"1\.off: expected a regular file, found a FIFO"):
        data.load(tmp_path / "meshes")
    (tmp_path / "meshes" / "a" / "1.off").unlink()
    with (tmp_path / "meshes" / "a" / "1.off").open("wb") as sparse:
        sparse.truncate(10 << 30)
    with pytest.raises(Failed, match=r"1\.off: the file has 10,737,418,240 bytes, expected at mos"):
        data.load(tmp_path / "meshes")
    hdf5(tmp_path / "a.h5")
    os.mkfifo(tmp_path / "shape_names.txt")
    with pytest.raises(Failed, match=r"shape_names\.txt: expected a regular file"):
        data.load(tmp_path / "a.h5", points=9)


# ------------------------------------------------------------------------- the command line


@pytest.mark.parametrize("kind", ["label", "bomb", "postscript", "terabytes", "link", "fifo"])
def test_fix_says_it_in_one_line(tmp_path, capsys, kind):
    made = {
        "label": lambda: parquet(tmp_path / "a.parquet", [small_png()], [10**12]),
        "bomb": lambda: folder(tmp_path / "a", cat=png(20_000, 20_000)),
        "postscript": lambda: folder(tmp_path / "a", cat=POSTSCRIPT),
        "terabytes": lambda: npz(tmp_path / "a.npz", header("(2, 350000000000)")),
        "link": lambda: hdf5(tmp_path / "a.h5", (0, 10**12)),
        "fifo": lambda: os.mkfifo(tmp_path / "a.npz") or tmp_path / "a.npz",
    }[kind]()
    with pytest.raises(SystemExit) as stopped:
        main(["fix", str(MODEL), "--data", str(made), "--out", str(tmp_path / "f.safetensors")])
    errors = capsys.readouterr().err
    assert (stopped.value.code, errors.count("\n")) == (gate.FAILED, 1), errors
    assert errors.startswith(f"mmbd: {made}")
    assert not (tmp_path / "f.safetensors").exists()


CAPPED = """
import resource, sys
from mmbd import data
from mmbd.base.errors import Failed
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
for file in sys.argv[1:]:
    try:
        data.load(file, size=(8, 8), points=9)
    except Failed as error:
        print("refused")
"""


def test_small_files_do_not_exhaust_memory(tmp_path):
    files = [
        parquet(tmp_path / "label.parquet", [small_png()], [10**12]),
        parquet(tmp_path / "large.parquet", [png(13_000, 13_000)] * 3, [0, 1, 2]),
        hdf5(tmp_path / "label.h5", (0, 10**12)),
        npz(tmp_path / "a.npz", header("(2, 350000000000)")),
    ]
    done = subprocess.run(
        [sys.executable, "-c", CAPPED, *map(str, files)], capture_output=True, text=True, timeout=600
    )
    assert done.stdout.split() == ["refused"] * 4, done.stderr
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 2 << 20  # kilobytes
