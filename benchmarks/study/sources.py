"""The data sets of the study zoo: files, rendered letters, and sounds as images."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import torch

from mmbd.data import read as data
from mmbd.data.dataset import Dataset


def _pair(splits: Iterable[Dataset]) -> tuple[Dataset, Dataset]:
    training, test = splits
    return training, test


@cache
def dataset(root: Path, source: str) -> tuple[Dataset, Dataset]:
    """(train, test) of a source, before classes are chosen."""
    if source.startswith("cifar10"):
        grey = source == "cifar10-grey"
        return _pair(
            data.load(
                root / "cifar10" / f"{split}.parquet", grey=grey, size=(28, 28) if grey else None, limit=limit
            )
            for split, limit in (("train", 15000), ("test", 2000))
        )
    if source.startswith("gtsrb"):
        return _pair(
            data.load(root / "gtsrb" / f"{split}.parquet", crop=32 / 44, size=(32, 32), limit=limit)
            for split, limit in (("train", 20000), ("test", 3000))
        )
    if source == "tiny":
        folder = root / "tinyimagenet"
        return data.load(folder / "train.parquet", size=(32, 32)), data.load(
            folder / "val.parquet", size=(32, 32)
        )
    if source.startswith("glyphs"):
        return glyphs(16000, 1), glyphs(3000, 2)
    if source == "digits":
        return digits()
    if source in ("fsdd", "commands"):
        folder = root / ("fsdd" if source == "fsdd" else "speech_commands")
        return data.load(folder / "train.parquet"), data.load(folder / "test.parquet")
    if source == "fsdd-image":
        return _pair(_spectrograms(split) for split in dataset(root, "fsdd"))
    raise ValueError(source)


def glyphs(count: int, seed: int) -> Dataset:
    """Rendered digits and letters, 28x28 grey on black: an MNIST that needs no download."""
    from PIL import Image, ImageDraw, ImageFont

    names = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    draw = np.random.default_rng(seed)
    images, labels = [], []
    for index in range(count):
        label = index % len(names) if draw.random() < 0.6 else int(draw.integers(0, 10))
        font = ImageFont.load_default(float(draw.uniform(44, 64)))
        canvas = Image.new("L", (84, 84))
        ImageDraw.Draw(canvas).text(
            (42 + draw.uniform(-5, 5), 42 + draw.uniform(-5, 5)),
            names[label],
            255,
            font,
            anchor="mm",
            stroke_width=int(draw.integers(0, 5)),
        )
        shear, stretch = draw.uniform(-0.3, 0.3), draw.uniform(0.8, 1.2)
        angle = draw.uniform(-15, 15)
        bent = canvas.rotate(angle).transform(
            (84, 84),
            Image.Transform.AFFINE,
            (stretch, shear, 42 * (1 - stretch - shear), 0, 1, 0),
            Image.Resampling.BILINEAR,
        )
        images.append(np.asarray(bent.resize((28, 28), Image.Resampling.BOX)))
        labels.append(label)
    stacked = torch.from_numpy(np.stack(images))[:, None]
    return Dataset(stacked, torch.tensor(labels), tuple(names))


def digits() -> tuple[Dataset, Dataset]:
    """scikit-learn's 8x8 handwritten digits, enlarged to 28x28 with random shifts (4 copies)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 16
    big = torch.nn.functional.interpolate(small, size=(22, 22), mode="bicubic").clamp(0, 1)
    labels = torch.tensor(bunch.target)
    generator = torch.Generator().manual_seed(0)
    parts = []
    for indices, copies in ((torch.arange(300, 1797), 4), (torch.arange(300), 2)):
        images = []
        for _ in range(copies):
            for image in big[indices]:
                top, left = torch.randint(0, 7, (2,), generator=generator).tolist()
                images.append(torch.nn.functional.pad(image, (left, 6 - left, top, 6 - top)))
        inputs = (torch.stack(images) * 255).round().to(torch.uint8)
        names = tuple(str(digit) for digit in range(10))
        parts.append(Dataset(inputs, labels[indices].repeat(copies), names))
    return parts[0], parts[1]


def _spectrograms(sounds: Dataset) -> Dataset:
    spectrum = torch.stft(
        sounds.inputs[:, 0], 254, hop_length=256, window=torch.hann_window(254), return_complex=True
    ).abs()
    level = (spectrum.clamp_min(1e-4).log10() + 4) / 6
    images = torch.nn.functional.interpolate(level[:, None], size=(28, 28), mode="area")
    return Dataset((images.clamp(0, 1) * 255).to(torch.uint8), sounds.labels, sounds.names)
