"""Labelled images, sounds and point clouds from Parquet (as on the Hugging Face hub) and folders.

NumPy and HDF5 files are read too. Images come as `uint8` tensors of shape (n, channels, height,
width), sounds as `float32` tensors of shape (n, 1, samples) in [-1, 1], clouds as `float32` tensors
of shape (n, 3, points) in the unit ball; labels as `int64`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from zipfile import is_zipfile

import numpy as np
import torch

from mmbd.base.errors import Failed
from mmbd.base.reading import named, opened
from mmbd.base.text import clean_text
from mmbd.data.allowance import Allowance
from mmbd.data.arrays import npz
from mmbd.data.dataset import Dataset, class_folders, dataset
from mmbd.data.decoding import IMAGE_SUFFIXES, decode, image, sound
from mmbd.data.parquet import parquet

FORMS = (".parquet", ".npz", ".h5", ".hdf5")


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
) -> Dataset:
    """Read a Parquet file, a folder of images or OFF meshes by class, an .npz or an HDF5 file.

    An .npz file holds `x` and `y`; what an HDF5 file holds is said in `mmbd.data.cloud_files`. Files of
    strangers run nothing, and take no more memory than `mmbd.data.allowance` grants to their size.

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
    try:
        return _read(path, size, grey, crop, samples, points, split, limit)
    except (FileNotFoundError, ImportError):
        raise
    except MemoryError as error:
        raise Failed(f"{named(path)}: there is not enough memory for these samples") from error
    except Exception as error:  # hostile bytes in somebody else's parser: anything may come
        if isinstance(error, Failed) and named(path) in str(error):
            raise
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise Failed(f"{named(path)}: {kind}{clean_text(str(error), 500)}") from error


def _read(
    path: Path,
    size: tuple[int, int] | None,
    grey: bool,
    crop: float,
    samples: int,
    points: int,
    split: str | None,
    limit: int | None,
) -> Dataset:
    if path.is_dir():
        if next(path.glob("*/*.off"), None) or next(path.glob("*/*/*.off"), None):
            from mmbd.data.cloud_files import read_folder

            return read_folder(path, points=points, split=split, limit=limit)
        return _folder(path, size, grey, crop, split, limit)
    if not path.exists():
        raise FileNotFoundError(f"no data at {named(path)}")
    if path.suffix not in FORMS:
        raise Failed(
            f"{named(path)}: expected a .parquet, .npz or .h5 file, or a folder of images or meshes by class"
        )
    if path.suffix in (".h5", ".hdf5"):
        from mmbd.data.cloud_files import read_hdf5

        return read_hdf5(path, points=points, limit=limit)
    with opened(path) as file:
        allowance = Allowance(path.stat().st_size)
        if path.suffix == ".parquet":
            found = parquet(
                file,
                allowance,
                limit,
                image=partial(image, size=size, grey=grey, crop=crop),
                sound=partial(sound, samples=samples),
            )
        elif not is_zipfile(file):  # NumPy would take it for a pickle
            raise Failed("no .npz archive, or a damaged one")
        else:
            found = npz(file, allowance, limit)
    return dataset(found)


def _folder(
    path: Path, size: tuple[int, int] | None, grey: bool, crop: float, split: str | None, limit: int | None
) -> Dataset:
    names = class_folders(path)
    files = [
        (file, label)
        for label, name in enumerate(names)
        for file in sorted((path / name / (split or "")).iterdir())
        if file.suffix.lower() in IMAGE_SUFFIXES
    ][:limit]
    if not files:
        raise Failed(f"{named(path)}: expected one folder of images per class")
    allowance = Allowance(sum(file.stat().st_size for file, _ in files))
    images: list[np.ndarray] = []
    for file, _ in files:
        made = decode(lambda file=file: _image(file, size, grey, crop), named(file))
        if images and made.shape != images[0].shape:
            raise Failed(
                f"{named(path)}: images differ in size ({images[0].shape}, then {made.shape}); "
                "give one size to resize to"
            )
        allowance.spend(2 * made.nbytes)  # alone, and in the stack of all
        images.append(made)
    labels = torch.tensor([label for _, label in files])
    return Dataset(torch.from_numpy(np.stack(images)), labels, tuple(names))


def _image(file: Path, size: tuple[int, int] | None, grey: bool, crop: float) -> np.ndarray:
    with opened(file) as source:
        return image(source, size, grey, crop)
