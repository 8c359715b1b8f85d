"""Zoos of other projects, written here: BackdoorBench's results, TrojAI's folders, tables of files."""

from __future__ import annotations

import json
import os

import torch

from mmbd import nets

SHAPE = (3, 8, 8)
ARCH = {"arch": "mlp", "arch_args": {"hidden": (8,)}, "input_shape": SHAPE}


def weights(arch: str = "mlp", classes: int = 4, **arguments) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    arguments = arguments or {"hidden": (8,)}
    return nets.build(arch, classes=classes, input_shape=SHAPE, **arguments).state_dict()


class Hostile:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, marker) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def hostile(file, marker) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": Hostile(marker), "bd_test": None}, file)


def result(folder, **changes):
    """An attack_result.pt as BackdoorBench saves it, without its NumPy arrays."""
    folder.mkdir(parents=True)
    content = {
        "model_name": "preactresnet18",
        "num_classes": 4,
        "model": weights(),
        "img_size": [8, 8, 3],
        "data_path": "./data/cifar10",
        "clean_data": "cifar10",
        "bd_train": {"x": torch.zeros(2, 3), "y": torch.tensor([3, 3]), "original_index": None},
        "bd_test": {"x": torch.zeros(5, 3), "y": torch.tensor([3] * 5)},
    } | changes
    torch.save(content, folder / "attack_result.pt")


def trojai(folder, truth: str | None, config: object = None, model: object = None):
    folder.mkdir(parents=True)
    torch.save(weights() if model is None else model, folder / "model.pt")
    if truth is not None:
        (folder / "ground_truth.csv").write_text(truth)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))


def table(folder, *rows: str, head: str = "path,label,target") -> object:
    file = folder / "zoo.csv"
    file.write_text("\n".join([head, *rows]) + "\n")
    return file
