"""Images, sounds and tables of strangers: nothing is run, and memory stays within bounds."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from helpers.hostile_data import POSTSCRIPT, folder, hdf5, parquet, png, small_png
from mmbd.base.errors import Failed
from mmbd.data import read as data


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
