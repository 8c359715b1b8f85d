"""Labelled images, sounds and point clouds from Parquet (as on the Hugging Face hub) and folders.

NumPy and HDF5 files are read too. Images come as `uint8` tensors of shape (n, channels, height,
width), sounds as `float32` tensors of shape (n, 1, samples) in [-1, 1], clouds as `float32` tensors
of shape (n, 3, points) in the unit ball; labels as `int64`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple
from zipfile import is_zipfile

import numpy as np
import torch

from mmbd.base.errors import Failed
from mmbd.base.reading import named, opened
from mmbd.data.allowance import Allowance
from mmbd.data.arrays import npz
from mmbd.data.cloud_files import read_folder, read_hdf5
from mmbd.data.dataset import Dataset, class_folders, dataset
from mmbd.data.decoding import IMAGE_SUFFIXES, about, decode, image, sound
from mmbd.data.generated import generate
from mmbd.data.parquet import parquet

GENERATED = "clouds:"
DIGITS = 9  # of a number of clouds


class Options(NamedTuple):
    """How samples are read; see `load`."""

    size: tuple[int, int] | None
    grey: bool
    crop: float
    samples: int
    points: int
    split: str | None
    limit: int | None
    seed: int


@dataclass(frozen=True)
class Reader:
    """A kind of source: what it is, whether something at a path is of it, and what reads it.

    `read` may raise anything: `load` says which source it is about.
    """

    title: str
    recognise: Callable[[Path], bool]
    read: Callable[[Path, Options], Dataset]


def load(
    path: str | Path,
    *,
    size: tuple[int, int] | None = None,
    grey: bool = False,
    crop: float = 1.0,
    samples: int = 8000,
    points: int = 1024,
    split: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Read labelled samples of one of the kinds in READERS.

    An .npz file holds `x` and `y`; what an HDF5 file holds is said in `mmbd.data.cloud_files`. Files of
    strangers run nothing, and take no more memory than `mmbd.data.allowance` grants to their size.

    Args:
        path: what to read, or "clouds:N" for N generated point clouds a class.
        size: (height, width) that images are resized to; without it they must share one size.
        grey: one channel instead of three.
        crop: the central share of each side that is kept, before resizing (Parquet and folders).
        samples: the length that sounds are cut or zero-padded to.
        points: how many points a point cloud gets.
        split: the folder within each class's folder to read, such as "train" in ModelNet40.
        limit: read at most so many samples, the first ones.
        seed: of generated clouds: two seeds make a training and a test set.

    Raises:
        FileNotFoundError: nothing at `path`.
        ValueError: an argument that makes no sense.
        Failed: the content is not one of these layouts, cannot be decoded, claims more than a file
            of its size may, or images differ in size; the message names the file. A ValueError too.
    """
    if min(samples, points, *(size or (1,)), 1 if limit is None else limit) < 1:
        raise ValueError(
            f"size, samples, points and limit must be at least 1, got size={size}, "
            f"samples={samples}, points={points}, limit={limit}"
        )
    if not 0 < crop <= 1:
        raise ValueError(f"crop must be more than 0 and at most 1, got {crop}")
    path = Path(path)
    options = Options(size, grey, crop, samples, points, split, limit, seed)
    with about(path):
        reader = next((row for row in READERS.values() if row.recognise(path)), None)
        if reader is not READERS["generated"] and not path.exists():
            raise FileNotFoundError(f"no data at {named(path)}")
        if reader is None:
            raise Failed(f"expected {'; '.join(row.title for row in READERS.values())}")
        return reader.read(path, options)


def _is_of_meshes(path: Path) -> bool:
    return any(next(path.glob(pattern), None) is not None for pattern in ("*/*.off", "*/*/*.off"))


def _ends_in(*suffixes: str) -> Callable[[Path], bool]:
    return lambda path: path.suffix.lower() in suffixes and not path.is_dir()


def _generated(path: Path, options: Options) -> Dataset:
    count = str(path).removeprefix(GENERATED)
    if not count.isdecimal() or len(count) > DIGITS:
        raise Failed(f"{named(path)}: expected how many clouds a class, such as {GENERATED}100")
    made = generate(int(count), points=options.points, seed=options.seed)
    return made.take(torch.arange(len(made))[: options.limit])


def _parquet(path: Path, options: Options) -> Dataset:
    images = partial(image, size=options.size, grey=options.grey, crop=options.crop)
    sounds = partial(sound, samples=options.samples)
    with opened(path) as file:
        allowance = Allowance(path.stat().st_size)
        return dataset(parquet(file, allowance, options.limit, image=images, sound=sounds))


def _npz(path: Path, options: Options) -> Dataset:
    with opened(path) as file:
        if not is_zipfile(file):  # NumPy would take it for a pickle
            raise Failed("no .npz archive, or a damaged one")
        return dataset(npz(file, Allowance(path.stat().st_size), options.limit))


def _meshes(path: Path, options: Options) -> Dataset:
    return read_folder(path, points=options.points, split=options.split, limit=options.limit)


def _hdf5(path: Path, options: Options) -> Dataset:
    return read_hdf5(path, points=options.points, limit=options.limit)


def _images(path: Path, options: Options) -> Dataset:
    names = class_folders(path)
    files = [
        (file, label)
        for label, name in enumerate(names)
        for file in sorted((path / name / (options.split or "")).iterdir())
        if file.suffix.lower() in IMAGE_SUFFIXES
    ][: options.limit]
    if not files:
        raise Failed(f"{named(path)}: expected one folder of images per class")
    allowance = Allowance(sum(file.stat().st_size for file, _ in files))
    images: list[np.ndarray] = []
    for file, _ in files:
        made = decode(lambda file=file: _image(file, options), named(file))
        if images and made.shape != images[0].shape:
            raise Failed(
                f"{named(path)}: images differ in size ({images[0].shape}, then {made.shape}); "
                "give one size to resize to"
            )
        allowance.spend(2 * made.nbytes)  # alone, and in the stack of all
        images.append(made)
    labels = torch.tensor([label for _, label in files])
    return Dataset(torch.from_numpy(np.stack(images)), labels, tuple(names))


def _image(file: Path, options: Options) -> np.ndarray:
    with opened(file) as source:
        return image(source, options.size, options.grey, options.crop)


# The first that recognises a source reads it. A new kind is a function (or a file) and a row.
READERS: dict[str, Reader] = {
    "generated": Reader(
        f"{GENERATED}N, for N generated point clouds a class",
        lambda path: str(path).startswith(GENERATED),
        _generated,
    ),
    "meshes": Reader("a folder of OFF meshes by class", _is_of_meshes, _meshes),
    "images": Reader("a folder of images by class", Path.is_dir, _images),
    "parquet": Reader(
        "a .parquet file of images or sounds, as on the Hugging Face hub", _ends_in(".parquet"), _parquet
    ),
    "npz": Reader("a .npz file with arrays x and y", _ends_in(".npz"), _npz),
    "hdf5": Reader("an .h5 or .hdf5 file of point clouds, as ModelNet40's", _ends_in(".h5", ".hdf5"), _hdf5),
}
