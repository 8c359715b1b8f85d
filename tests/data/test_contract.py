"""What every row of READERS has to do. A new kind of source needs a sample here."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from mmbd.base.errors import Failed
from mmbd.data import read as data
from mmbd.data.read import READERS


def _png(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(file, format="PNG")
    return file.getvalue()


def _by_class(folder: Path, suffix: str, content: bytes) -> Path:
    for label in (0, 1):
        (folder / str(label)).mkdir()
        for number in (0, 1):
            (folder / str(label) / f"{number}{suffix}").write_bytes(content)
    return folder


def _parquet(folder: Path) -> Path:
    rows = [{"bytes": _png(label), "path": None} for label in (0, 0, 1, 1)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(rows, kind), "label": [0, 0, 1, 1]}), folder / "a.parquet")
    return folder / "a.parquet"


def _npz(folder: Path) -> Path:
    np.savez(folder / "a.npz", x=np.zeros((4, 3, 4, 4), dtype=np.uint8), y=np.array([0, 0, 1, 1]))
    return folder / "a.npz"


def _hdf5(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file["data"] = np.random.default_rng(0).normal(size=(4, 8, 3)).astype(np.float32)
        file["label"] = [0, 0, 1, 1]
    return folder / "a.h5"


# Four samples, two of each of two classes; generated clouds have more classes.
SAMPLES: dict[str, Callable[[Path], Path]] = {
    "generated": lambda folder: Path("clouds:2"),
    "meshes": lambda folder: _by_class(folder, ".off", b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"),
    "images": lambda folder: _by_class(folder, ".png", _png(9)),
    "parquet": _parquet,
    "npz": _npz,
    "hdf5": _hdf5,
}


def test_every_kind_has_a_sample():
    assert set(SAMPLES) == set(READERS)
    assert all(row.title for row in READERS.values())


@pytest.mark.parametrize("kind", SAMPLES)
def test_its_reader_is_the_first_to_recognise_it(kind, tmp_path):
    path = SAMPLES[kind](tmp_path)
    assert next(name for name, row in READERS.items() if row.recognise(path)) == kind


@pytest.mark.parametrize("kind", SAMPLES)
def test_samples_come_in_the_form_of_all_data_sets(kind, tmp_path):
    path = SAMPLES[kind](tmp_path)
    found = data.load(path, points=8)
    assert found.inputs.dtype in (torch.uint8, torch.float32)
    assert found.inputs.shape[1] == 3
    assert found.labels.dtype == torch.int64
    assert found.labels[:4].tolist() == [0, 0, 1, 1]
    assert len(set(found.names)) == len(found.names) >= 2
    first = data.load(str(path), points=8, limit=3)
    assert torch.equal(first.inputs, found.inputs[:3])
    assert torch.equal(first.labels, found.labels[:3])


@pytest.mark.parametrize("kind", [kind for kind in SAMPLES if kind != "generated"])
def test_a_cut_file_is_an_error_that_names_it(kind, tmp_path):
    path = SAMPLES[kind](tmp_path)
    file = max(path.glob("*/*")) if path.is_dir() else path
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(Failed, match=rf"{file.name}\b"):
        data.load(path, points=8)


def test_generated_clouds_depend_on_the_seed():
    one, other = (data.load("clouds:1", points=8, seed=seed) for seed in (0, 1))
    assert one.names == other.names
    assert not torch.equal(one.inputs, other.inputs)
    for wrong in ("clouds:", "clouds:x", "clouds:-1", "clouds:0", "clouds:9999999999"):
        with pytest.raises(Failed, match=rf"^{wrong}: "):
            data.load(wrong)
