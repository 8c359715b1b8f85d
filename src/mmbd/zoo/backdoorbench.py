"""Zoos of BackdoorBench: a folder with `attack_result.pt` for every attacked model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mmbd.base.errors import Failed
from mmbd.base.reading import MAX_CLASSES, brief
from mmbd.base.text import clean_text
from mmbd.formats import files
from mmbd.formats.options import LoadOptions
from mmbd.formats.sandbox.reading import contents
from mmbd.zoo.entry import Entry, Zoo
from mmbd.zoo.foreign import collect, open_model, word

RESULT = "attack_result.pt"

# BackdoorBench's names for networks that are built in here, and its normalisation by data set.
NETWORKS = {"preactresnet18": "preact_resnet18"}
NORMALISATION: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "mnist": ((0.5,), (0.5,)),
    "tiny": ((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262)),
}


def recognise(path: Path) -> bool:
    """Whether there are results of BackdoorBench in a folder or up to two levels below it."""
    return bool(_results(path))


def _results(path: Path) -> list[Path]:
    return sorted({*path.glob(RESULT), *path.glob(f"*/{RESULT}"), *path.glob(f"*/*/{RESULT}")})


def read(path: Path, options: LoadOptions) -> Zoo:
    """Read folders with an `attack_result.pt`, as BackdoorBench saves its attacks.

    The target is the one label of its backdoored test set, where the file has it. Normalisation
    and, for PreActResNet-18, the architecture follow from what the file says; `options` take
    precedence.
    """
    named = {_relative(file.parent, path): file for file in _results(path)}
    return collect((name, partial(_result, file, name, options)) for name, file in named.items())


def _result(file: Path, name: str, options: LoadOptions) -> Entry:
    found = files.read(file)
    value = contents(found, options.sandbox).value
    if not isinstance(value, Mapping) or "model" not in value:
        raise Failed(f"{RESULT} has no entry 'model': not a result of BackdoorBench")
    data, network = word(value.get("clean_data")), word(value.get("model_name"))
    known: dict[str, Any] = {"entry": "model"}
    if network in NETWORKS:
        known["arch"] = NETWORKS[network]
    size = value.get("img_size")
    if isinstance(size, list | tuple) and len(size) == 3:  # height, width, channels
        if not all(type(length) is int and 0 < length < MAX_CLASSES for length in size):
            raise Failed(f"img_size is {', '.join(map(brief, size))}: expected three lengths")
        known["input_shape"] = (size[2], size[0], size[1])
    if data in NORMALISATION:
        known["mean"], known["std"] = NORMALISATION[data]
    test = value.get("bd_test")
    answers = test.get("y") if isinstance(test, Mapping) else None
    targets: tuple[int, ...] = ()
    if isinstance(answers, torch.Tensor):
        targets = _answers(answers)
    elif isinstance(test, Mapping):
        targets = _labels_by_sample(test)
    stem = re.sub(r"(_p?\d+)+$", "", name.rpartition("/")[2])
    attack = stem.removeprefix(f"{data}_").removeprefix(f"{network}_") or stem
    return Entry(
        name,
        "backdoored",
        partial(open_model, file, options.filled(**known)),
        attack=clean_text(attack),
        targets=targets,
        group=clean_text(f"{data} {network}"),
    )


def _labels_by_sample(test: Mapping[Any, Any]) -> tuple[int, ...]:
    """The labels of backdoored samples in the second form, which has one note a sample.

    A note is {"path": ..., "other_info": [label with the backdoor, label without]}.
    """
    container = test.get("bd_data_container")
    samples = container.get("data_dict") if isinstance(container, Mapping) else None
    notes = samples.values() if isinstance(samples, Mapping) else ()
    said = (note.get("other_info") for note in notes if isinstance(note, Mapping))
    first = (info[0] for info in said if isinstance(info, list | tuple) and info)
    return tuple(sorted({label for label in first if type(label) is int and 0 <= label < MAX_CLASSES}))


def _answers(answers: torch.Tensor) -> tuple[int, ...]:
    """The classes among the labels of a backdoored test set."""
    if answers.is_floating_point() or answers.is_complex() or answers.dtype == torch.bool:
        raise Failed(f"bd_test.y holds {answers.dtype}: expected classes as whole numbers")
    labels = answers.flatten().long().unique().tolist()
    if not all(0 <= label < MAX_CLASSES for label in labels):
        raise Failed("bd_test.y holds numbers that are no classes")
    return tuple(labels)


def _relative(folder: Path, root: Path) -> str:
    inside = folder.relative_to(root).as_posix()
    return folder.resolve().name if inside == "." else inside
