"""The data sets of the study zoo that are no files of the hub: rendered letters, digits, sounds as images.

    python -m benchmarks.study.sources DATA

writes them into DATA as NumPy archives, DATA/NAME/train.npz and test.npz; what is there is left.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from mmbd.base.writing import whole
from mmbd.data import read as data
from mmbd.data.dataset import Dataset

Pair = tuple[Dataset, Dataset]


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


def digits() -> Pair:
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


def spoken(root: Path) -> Pair:
    """The spoken digits of DATA/fsdd as images."""
    folder = root / "fsdd"
    return _spectrograms(data.load(folder / "train.parquet")), _spectrograms(
        data.load(folder / "test.parquet")
    )


MADE: dict[str, Callable[[Path], Pair]] = {
    "glyphs": lambda root: (glyphs(16000, 1), glyphs(3000, 2)),
    "digits": lambda root: digits(),
    "fsdd-image": spoken,
}


def write(file: Path, samples: Dataset) -> None:
    """Samples as a NumPy archive that plans can name; whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole(file) as stream:
        np.savez(stream, x=samples.inputs.numpy(), y=samples.labels.numpy(), names=np.array(samples.names))


def make(root: Path, names: Sequence[str] = tuple(MADE)) -> None:
    """Write these into `root`; what is there is left."""
    for name in names:
        folder = root / name
        if (folder / "test.npz").exists():
            continue
        for split, samples in zip(("train", "test"), MADE[name](root), strict=True):
            write(folder / f"{split}.npz", samples)
        print(f"{folder}: written", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    make(parser.parse_args().data)


if __name__ == "__main__":
    main()
