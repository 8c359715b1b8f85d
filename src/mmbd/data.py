"""Labelled images, sounds and point clouds from Parquet (as on the Hugging Face hub) and folders.

NumPy and HDF5 files are read too. Images come as `uint8` tensors of shape (n, channels, height,
width), sounds as `float32` tensors of shape (n, 1, samples) in [-1, 1], clouds as `float32` tensors
of shape (n, 3, points) in the unit ball; labels as `int64`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile, is_zipfile

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mmbd.extras import require

T = TypeVar("T")
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp"}


@dataclass(frozen=True)
class Dataset:
    """Inputs, labels and the names of the classes; inputs[i] belongs to names[labels[i]]."""

    inputs: Tensor
    labels: Tensor
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.labels):
            raise ValueError(f"{len(self.inputs)} inputs but {len(self.labels)} labels")
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(
            self.names
        ):
            raise ValueError(
                f"labels run from {int(self.labels.min())} to {int(self.labels.max())}, "
                f"expected 0 to {len(self.names) - 1} ({len(self.names)} class names)"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> Dataset:
        """The samples at `indices`, in that order."""
        return Dataset(self.inputs[indices], self.labels[indices], self.names)

    def classes(self, keep: Sequence[int]) -> Dataset:
        """Only the classes in `keep`, renumbered 0, 1, ... in that order."""
        renumbered = torch.full((len(self.names),), -1)
        renumbered[torch.tensor(keep)] = torch.arange(len(keep))
        kept = renumbered[self.labels] >= 0
        return Dataset(
            self.inputs[kept],
            renumbered[self.labels[kept]],
            tuple(self.names[label] for label in keep),
        )


def load(
    path: str | Path, *, size: tuple[int, int] | None = None, grey: bool = False,
    crop: float = 1.0, samples: int = 8000, points: int = 1024, split: str | None = None,
    limit: int | None = None,
) -> Dataset:  # fmt: skip
    """Read a Parquet file, a folder of images or OFF meshes by class, an .npz or an HDF5 file.

    An .npz file holds `x` and `y`; what an HDF5 file holds is said in `mmbd.clouds.files`.

    Args:
        path: what to read.
        size: (height, width) that images are resized to; without it they must share one size.
        grey: one channel instead of three.
        crop: the central share of each side that is kept, before resizing (Parquet and folders).
        samples: the length that sounds are cut or zero-padded to.
        points: how many points a point cloud gets.
        split: the folder within each class's folder to read, such as "train" in ModelNet40.
        limit: read at most so many samples, the first ones.

    Raises:
        FileNotFoundError: nothing at `path`.
        ValueError: the content is not one of these layouts, cannot be decoded, or images differ in
            size; the message names the file.
    """
    path = Path(path)
    try:
        return _read(path, size, grey, crop, samples, points, split, limit)
    except (ValueError, EOFError, BadZipFile) as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path}: {error}") from error


def _read(
    path: Path, size: tuple[int, int] | None, grey: bool, crop: float, samples: int, points: int,
    split: str | None, limit: int | None,
) -> Dataset:  # fmt: skip
    if path.is_dir():
        if next(path.glob("*/*.off"), None) or next(path.glob("*/*/*.off"), None):
            from mmbd.clouds import read_folder

            return read_folder(path, points=points, split=split, limit=limit)
        return _folder(path, size, grey, crop, split, limit)
    if not path.exists():
        raise FileNotFoundError(f"no data at {path}")
    if path.suffix == ".parquet":
        return _parquet(path, size, grey, crop, samples, limit)
    if path.suffix == ".npz":
        return _numpy(path, limit)
    if path.suffix in (".h5", ".hdf5"):
        from mmbd.clouds import read_hdf5

        return read_hdf5(path, points=points, limit=limit)
    raise ValueError(
        f"{path}: expected a .parquet, .npz or .h5 file, or a folder of images or meshes by class"
    )


def _decode(read: Callable[[Any], T], source: Any, what: str) -> T:
    """What `read` makes of a file or of bytes; ValueError names it, as libraries seldom do."""
    try:
        return read(source)
    except (OSError, RuntimeError, TypeError) as error:
        raise ValueError(f"{what} cannot be decoded ({type(error).__name__})") from error


def _image(source: Any, size: tuple[int, int] | None, grey: bool, crop: float) -> np.ndarray:
    with Image.open(source) as opened:
        image = opened.convert("L" if grey else "RGB")
    if crop < 1.0:
        dx, dy = image.width * (1 - crop) / 2, image.height * (1 - crop) / 2
        image = image.crop(
            (round(dx), round(dy), round(image.width - dx), round(image.height - dy))
        )
    if size is not None:
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    array = np.asarray(image)
    return array[None] if grey else array.transpose(2, 0, 1)


def _stack(images: list[np.ndarray], where: Path) -> Tensor:
    shapes = {image.shape for image in images}
    if not shapes:
        raise ValueError(f"{where}: no images found")
    if len(shapes) > 1:
        raise ValueError(
            f"{where}: images differ in size ({sorted(shapes)[:3]}); give one size to resize to"
        )
    return torch.from_numpy(np.stack(images))


def class_folders(path: Path) -> list[str]:
    """The names of the classes in a folder with a folder each, in the order of their labels."""
    return sorted(
        entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )


def _folder(
    path: Path, size: tuple[int, int] | None, grey: bool, crop: float, split: str | None,
    limit: int | None,
) -> Dataset:  # fmt: skip
    names = class_folders(path)
    files = [
        (file, label)
        for label, name in enumerate(names)
        for file in sorted((path / name / (split or "")).iterdir())
        if file.suffix.lower() in IMAGE_SUFFIXES
    ][:limit]
    if not files:
        raise ValueError(f"{path}: expected one folder of images per class")
    images = [
        _decode(lambda file: _image(file, size, grey, crop), file, str(file)) for file, _ in files
    ]
    inputs = _stack(images, path)
    return Dataset(inputs, torch.tensor([label for _, label in files]), tuple(names))


def _numpy(path: Path, limit: int | None) -> Dataset:
    if not is_zipfile(path):  # NumPy would take it for a pickle
        raise ValueError("no .npz archive, or a damaged one")
    with np.load(path, allow_pickle=False) as content:
        if not {"x", "y"} <= set(content):
            raise ValueError(f"{path}: expected arrays x and y, found {sorted(content)}")
        inputs, labels = content["x"][:limit], _whole(content["y"])[:limit]
        names = [str(name) for name in content["names"]] if "names" in content else None
    if names is None:
        names = [str(label) for label in range(int(labels.max(initial=-1)) + 1)]
    return Dataset(torch.from_numpy(inputs), torch.from_numpy(labels), tuple(names))


def _whole(labels: np.ndarray) -> np.ndarray:
    """Labels (n,) as int64, also from whole floating-point numbers."""
    whole = labels.dtype.kind in "biu" or (
        labels.dtype.kind == "f" and bool(np.isfinite(labels).all() and (labels % 1 == 0).all())
    )
    if labels.ndim != 1 or not whole:
        raise ValueError(
            f"expected a whole number a sample as labels y, got {labels.dtype} of {labels.shape}"
        )
    return labels.astype(np.int64)


def _parquet(
    path: Path, size: tuple[int, int] | None, grey: bool, crop: float, samples: int,
    limit: int | None,
) -> Dataset:  # fmt: skip
    pyarrow = require("pyarrow", extra="data")
    table = require("pyarrow.parquet", extra="data").read_table(path).slice(0, limit)
    column = next((name for name in ("image", "img", "audio") if name in table.column_names), None)
    if column is None or "label" not in table.column_names:
        raise ValueError(
            f"{path}: expected columns image, img or audio, and label; found {table.column_names}"
        )
    if not len(table):
        raise ValueError(f"{path}: no rows")
    if not pyarrow.types.is_integer(table["label"].type) or table["label"].null_count:
        raise ValueError(f"{path}: expected whole numbers as labels, got {table['label'].type}")
    labels = torch.tensor(table["label"].to_pylist())
    rows = [(f"row {row}", entry) for row, entry in enumerate(table[column].to_pylist())]
    if column == "audio":
        sounds = [_decode(lambda entry: _sound(entry["bytes"], samples), entry, row)
                  for row, entry in rows]  # fmt: skip
        inputs = torch.stack(sounds)
    else:
        images = [
            _decode(lambda entry: _image(io.BytesIO(entry["bytes"]), size, grey, crop), entry, row)
            for row, entry in rows
        ]
        inputs = _stack(images, path)
    return Dataset(inputs, labels, _class_names(table.schema.metadata, int(labels.max()) + 1))


def _class_names(metadata: dict[bytes, bytes] | None, count: int) -> tuple[str, ...]:
    features = json.loads((metadata or {}).get(b"huggingface", b"{}")).get("info", {})
    names = features.get("features", {}).get("label", {}).get("names")
    return tuple(names) if names else tuple(str(label) for label in range(count))


def _sound(blob: bytes, samples: int) -> Tensor:
    soundfile = require("soundfile", extra="audio")
    wave, _ = soundfile.read(io.BytesIO(blob), dtype="float32", always_2d=True)
    mono = torch.from_numpy(wave.mean(axis=1))[:samples]
    return torch.nn.functional.pad(mono, (0, samples - len(mono)))[None]
