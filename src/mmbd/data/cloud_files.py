"""Point clouds from files: ModelNet40 as OFF meshes in folders by class, and in its HDF5 form."""

from __future__ import annotations

import math
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.base.extras import require
from mmbd.base.reading import named
from mmbd.base.seeds import generator_for
from mmbd.base.text import clean_text, listed
from mmbd.data import arrays
from mmbd.data.allowance import Allowance
from mmbd.data.arrays import Read
from mmbd.data.dataset import Dataset, class_folders, dataset
from mmbd.data.decoding import about
from mmbd.data.meshes import Mesh, normalised, on_surface

NAMES = "shape_names.txt"  # beside ModelNet40's HDF5 files, a class a line
MOST_MESH = 64 << 20  # bytes of an OFF file


def read_off(path: str | Path) -> Mesh:
    """Read a mesh from an OFF file; polygons become triangles, colours are left out.

    ModelNet40's files whose counts are glued to the first word (`OFF490 518 0`) are read too.

    Raises:
        FileNotFoundError: nothing there.
        Failed: not an OFF file, or a broken one; names the file and what is wrong.
    """
    path = Path(path)
    with about(path):
        return _mesh(reading.text(path, MOST_MESH))


def _mesh(text: str) -> Mesh:
    head, _, body = text.lstrip("\ufeff \t\r\n").partition("OFF")
    if head:
        raise ValueError(f"not an OFF file: expected 'OFF' first, found {head[:20]!r}")
    bare = (line.partition("#")[0].split() for line in body.splitlines())
    counts, *lines = [words for words in bare if words] or [[]]
    if len(counts) < 2:
        raise ValueError(f"expected the numbers of vertices and faces after 'OFF', found {counts}")
    first, last = int(counts[0]), int(counts[0]) + int(counts[1])
    if not 0 < first < last <= len(lines):
        raise ValueError(
            f"{counts[0]} vertices and {counts[1]} faces are announced, {len(lines)} lines follow"
        )
    numbers = [float(word) for words in lines[:first] for word in words[:3]]
    if len(numbers) != 3 * first or not all(map(math.isfinite, numbers)):
        raise ValueError("expected three finite numbers a vertex")
    triangles: list[tuple[int, int, int]] = []
    for words in lines[first:last]:
        corners = [int(word) for word in words[1 : 1 + int(words[0])]]
        if len(corners) != int(words[0]) or not all(0 <= corner < first for corner in corners):
            raise ValueError(f"the face {' '.join(words)!r:.60} has no such vertices")
        triangles += [(corners[0], *pair) for pair in pairwise(corners[1:])]
    faces = torch.tensor(triangles, dtype=torch.int64).reshape(-1, 3)
    return Mesh(torch.tensor(numbers).reshape(-1, 3), faces)


def read_folder(
    path: str | Path, *, points: int = 1024, split: str | None = None, limit: int | None = None, seed: int = 0
) -> Dataset:
    """Read a folder with one folder of OFF files per class, and draw points from the surfaces.

    Args:
        path: the folder.
        points: how many points a cloud; which ones follows from the seed and the file's name.
        split: the folder within each class's to read, such as "train" in ModelNet40.
        limit: read at most so many files, the first ones.
        seed: see `points`.

    Raises:
        Failed: no such files, or a broken one, which is named.
    """
    path = Path(path)
    names = class_folders(path)
    files = [
        (file, label)
        for label, name in enumerate(names)
        for file in sorted((path / name / (split or "")).glob("*.off"))
    ][:limit]
    if not files:
        splits = sorted({file.parent.name for file in path.glob("*/*/*.off")})
        hint = f"; give split, one of {', '.join(splits)}" if splits else ""
        raise Failed(f"{named(path)}: expected one folder of OFF files per class{hint}")
    inputs = [_sampled(file, points, seed) for file, _ in files]
    labels = torch.tensor([label for _, label in files])
    return Dataset(torch.stack(inputs), labels, tuple(names))


def _sampled(file: Path, points: int, seed: int) -> Tensor:
    mesh = read_off(file)
    generator = generator_for("off", seed, file.parent.name, file.name)
    with about(file):
        return normalised(on_surface(mesh, points, generator))


def read_hdf5(path: str | Path, *, points: int = 1024, limit: int | None = None) -> Dataset:
    """Read an HDF5 file with arrays `data` (n, m, 3) and `label` (n,) or (n, 1).

    Class names come from `shape_names.txt` in the same folder, where there is one.

    Args:
        path: the file.
        points: how many points a cloud: the first ones, which ModelNet40 has in random order.
        limit: read at most so many clouds, the first ones.

    Raises:
        FileNotFoundError: nothing there.
        ImportError: h5py is not installed.
        Failed: not such a file, clouds of fewer points, or arrays that are kept elsewhere: links,
            virtual and external ones could show any file of whoever reads this one.
    """
    path, h5py = Path(path), require("h5py", extra="points")
    beside = path.with_name(NAMES)
    with about(path):
        with reading.opened(path) as file, h5py.File(file, "r") as content:
            allowance = Allowance(path.stat().st_size)
            clouds, labels = _arrays(h5py, content, points, limit, allowance)
        names = tuple(reading.text(beside).split()) if beside.exists() else None
        return dataset(Read(normalised(clouds), labels, names))


def _arrays(
    h5py: Any, file: Any, points: int, limit: int | None, allowance: Allowance
) -> tuple[Tensor, Tensor]:
    found = {name: _inside(h5py, file, name) for name in ("data", "label")}
    if None in found.values():
        there = [name for name in islice(file, 9) if _inside(h5py, file, name) is not None]
        raise Failed(f"expected arrays data and label, found [{listed(map(repr, there), 9)}]")
    data, label = found["data"], found["label"]
    for name, array, kinds in (("data", data, "iuf"), ("label", label, "biuf")):
        if array.shape is None or array.dtype.kind not in kinds:
            raise Failed(f"expected numbers in {name}, found {clean_text(str(array.dtype))}")
    if data.ndim != 3 or data.shape[2] != 3 or label.size != len(data):
        raise Failed(f"expected data (n, points, 3) and n labels, found {data.shape} and {label.size}")
    if data.shape[1] < points:
        raise Failed(f"its clouds have {data.shape[1]} points, and {points} are asked for")
    rows = len(data) if limit is None else min(limit, len(data))
    # In the file's type and as float32, twice; whole chunks are unpacked at a time.
    allowance.spend(rows * points * 3 * (data.dtype.itemsize + 8) + label.size * 16)
    for array in (data, label):
        allowance.spend(math.prod(array.chunks or (0,)) * array.dtype.itemsize)
    clouds = torch.from_numpy(data[:rows, :points].astype("float32")).transpose(1, 2)
    if not torch.isfinite(clouds).all():
        raise Failed("some coordinates are not finite")
    return clouds, arrays.numbers(np.asarray(label).reshape(-1), "label")[:rows]


def _inside(h5py: Any, file: Any, name: str) -> Any:
    """The array of this name; None where there is none. Failed where it is not in this file."""
    link = file.get(name, getlink=True) if name in file.keys() else None  # noqa: SIM118
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise Failed(
            f"{clean_text(name)} is a link to elsewhere, which is not followed: copy the array into the file"
        )
    array = file[name]
    if not isinstance(array, h5py.Dataset):
        return None
    if array.is_virtual or array.external:
        raise Failed(
            f"the numbers of {clean_text(name)} are kept in other files, which are not read: copy them "
            "into this one"
        )
    return array
