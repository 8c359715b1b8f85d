"""Point clouds from files: ModelNet40 as OFF meshes in folders by class, and in its HDF5 form."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmbd.clouds.meshes import Mesh, normalised, on_surface
from mmbd.data import Dataset, class_folders
from mmbd.domain import generator_for
from mmbd.extras import require

NAMES = "shape_names.txt"  # beside ModelNet40's HDF5 files, a class a line


def read_off(path: str | Path) -> Mesh:
    """Read a mesh from an OFF file; polygons become triangles, colours are left out.

    ModelNet40's files whose counts are glued to the first word (`OFF490 518 0`) are read too.

    Raises:
        ValueError: not an OFF file, or a broken one; names the file and what is wrong.
    """
    path = Path(path)
    with _about(path):
        return _mesh(path.read_text(encoding="utf-8"))


@contextmanager
def _about(path: Path) -> Generator[None]:
    """Whatever is wrong inside is said of this file."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (ValueError, OSError) as error:  # also of Unicode, of numbers, of h5py
        raise ValueError(f"{path}: {error}") from error


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
    path: str | Path,
    *,
    points: int = 1024,
    split: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Read a folder with one folder of OFF files per class, and draw points from the surfaces.

    Args:
        path: the folder.
        points: how many points a cloud; which ones follows from the seed and the file's name.
        split: the folder within each class's to read, such as "train" in ModelNet40.
        limit: read at most so many files, the first ones.
        seed: see `points`.

    Raises:
        ValueError: no such files, or a broken one, which is named.
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
        raise ValueError(f"{path}: expected one folder of OFF files per class{hint}")
    inputs = [_sampled(file, points, seed) for file, _ in files]
    labels = torch.tensor([label for _, label in files])
    return Dataset(torch.stack(inputs), labels, tuple(names))


def _sampled(file: Path, points: int, seed: int) -> Tensor:
    mesh = read_off(file)
    generator = generator_for("off", seed, file.parent.name, file.name)
    with _about(file):
        return normalised(on_surface(mesh, points, generator))


def read_hdf5(path: str | Path, *, points: int = 1024, limit: int | None = None) -> Dataset:
    """Read an HDF5 file with arrays `data` (n, m, 3) and `label` (n,) or (n, 1).

    Class names come from `shape_names.txt` in the same folder, where there is one.

    Args:
        path: the file.
        points: how many points a cloud: the first ones, which ModelNet40 has in random order.
        limit: read at most so many clouds, the first ones.

    Raises:
        ImportError: h5py is not installed.
        ValueError: not such a file, or clouds of fewer points.
    """
    path, h5py = Path(path), require("h5py", extra="points")
    beside = path.with_name(NAMES)
    with _about(path):
        with h5py.File(path, "r") as file:
            clouds, labels = _arrays(file, points, limit)
        if beside.exists():
            names = beside.read_text(encoding="utf-8").split()
        else:
            names = [str(label) for label in range(max(labels.tolist(), default=-1) + 1)]
        return Dataset(normalised(clouds), labels, tuple(names))


def _arrays(file: Any, points: int, limit: int | None) -> tuple[Tensor, Tensor]:
    found = [name for name in file if hasattr(file[name], "shape")]  # not groups
    if not {"data", "label"} <= set(found):
        raise ValueError(f"expected arrays data and label, found {found[:9]}")
    data, labels = file["data"], np.asarray(file["label"]).reshape(-1)
    if data.ndim != 3 or data.shape[2] != 3 or labels.size != len(data):
        raise ValueError(
            f"expected data (n, points, 3) and n labels, found {data.shape} and {labels.size}"
        )
    if data.shape[1] < points:
        raise ValueError(f"its clouds have {data.shape[1]} points, and {points} are asked for")
    clouds = torch.from_numpy(data[:limit, :points].astype("float32")).transpose(1, 2)
    if not torch.isfinite(clouds).all():
        raise ValueError("some coordinates are not finite")
    return clouds, torch.from_numpy(labels[:limit].astype("int64"))
