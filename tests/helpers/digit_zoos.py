"""scikit-learn's handwritten digits as a data set, and plans that train on it in a second."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

PLAN = """
seeds = [0]

[recipe]
epochs = 12
batch = 32
lr = 0.003

[data.digits]
train = "train.npz"
test = "test.npz"

[arch.mlp]
hidden = [32]

[attack.badnet-M]
count = 140
"""


@cache
def arrays() -> tuple[np.ndarray, np.ndarray]:
    """Images (1797, 1, 8, 8) of 8 bits, and labels."""
    bunch = load_digits()
    return (bunch.images / 16 * 255).round().astype(np.uint8)[:, None], bunch.target


def write(folder: Path) -> Path:
    """train.npz and test.npz in `folder`; returns it."""
    x, y = arrays()
    np.savez(folder / "train.npz", x=x[:1400], y=y[:1400])
    np.savez(folder / "test.npz", x=x[1400:], y=y[1400:])
    return folder


def plan(folder: Path, text: str = "") -> Path:
    """The data and PLAN, with `text` at its end, as plan.toml in `folder`; returns the file."""
    write(folder)
    file = folder / "plan.toml"
    file.write_text(PLAN + text)
    return file
