"""Zoos of other projects: BackdoorBench results, TrojAI folders, and tables of labelled files.

Nothing in their files is executed: what is not plain weights is refused, as everywhere, and the
entry is broken with that reason. One broken entry never stops the others.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.base.reading import MAX_CLASSES, brief
from mmbd.base.text import clean_text
from mmbd.formats import files
from mmbd.formats.table import contents
from mmbd.model.classifier import Classifier
from mmbd.zoo.entry import Entry, Label, Zoo

RESULT = "attack_result.pt"
FOLDER = "id-*"

# BackdoorBench's names for networks that are built in here, and its normalisation by data set.
NETWORKS = {"preactresnet18": "preact_resnet18"}
NORMALISATION: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "mnist": ((0.5,), (0.5,)),
    "tiny": ((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262)),
}
LABELS: dict[str, Label] = {
    "0": "clean",
    "false": "clean",
    "clean": "clean",
    "benign": "clean",
    "1": "backdoored",
    "true": "backdoored",
    "backdoored": "backdoored",
    "poisoned": "backdoored",
}
TARGET = re.compile(r"(triggers?_(\d+_)?)?target_class")
DIGITS = 18  # of a number in a table; more are none


def attack_results(path: Path) -> list[Path]:
    """The results of BackdoorBench in a folder or up to two levels below it."""
    return sorted({*path.glob(RESULT), *path.glob(f"*/{RESULT}"), *path.glob(f"*/*/{RESULT}")})


def backdoorbench(path: str | Path, *, device: str = "cpu", **loading: Any) -> Zoo:
    """Read folders with an `attack_result.pt`, as BackdoorBench saves its attacks.

    The target is the one label of its backdoored test set, where the file has it. Normalisation
    and, for PreActResNet-18, the architecture follow from what the file says; `loading` takes
    precedence.
    """
    path = Path(path)
    found = attack_results(path)
    named = {_relative(file.parent, path): file for file in found}
    return _collect((name, partial(_result, file, name, device, loading)) for name, file in named.items())


def _result(file: Path, name: str, device: str, loading: Mapping[str, Any]) -> Entry:
    read = files.read(file)
    value = contents(read.data, read.kind).value
    if not isinstance(value, Mapping) or "model" not in value:
        raise Failed(f"{RESULT} has no entry 'model': not a result of BackdoorBench")
    data, network = _word(value.get("clean_data")), _word(value.get("model_name"))
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
        partial(_open, file, device, {**known, **loading}),
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


def _word(value: object) -> str:
    """A name or a number as text; "" for everything else, however much that may be."""
    if isinstance(value, str):
        return value[:400]
    return brief(value) if isinstance(value, bool | int | float) else ""


def trojai_folders(path: Path) -> list[Path]:
    """The folders of models in a TrojAI data set, there or in `models`."""
    return sorted(
        folder for pattern in (FOLDER, f"models/{FOLDER}") for folder in path.glob(pattern) if folder.is_dir()
    )


def trojai(path: str | Path, *, device: str = "cpu", **loading: Any) -> Zoo:
    """Read folders id-.../ with `model.pt`, `ground_truth.csv` and `config.json`, as TrojAI's.

    Most of TrojAI's models are pickles of whole networks, which are refused. The rest need `arch`
    and `input_shape`.
    """
    path = Path(path)
    return _collect(
        (folder.name, partial(_trojai, folder, device, loading)) for folder in trojai_folders(path)
    )


def _trojai(folder: Path, device: str, loading: Mapping[str, Any]) -> Entry:
    config = _config(folder / "config.json")
    truth = folder / "ground_truth.csv"
    said = reading.text(truth) if truth.exists() else _word(config.get("poisoned"))
    label = _label((said.replace(",", " ").split() or [""])[-1])
    model = next(
        (folder / name for name in ("model.pt", "model.safetensors") if (folder / name).is_file()),
        folder / "model.pt",
    )
    read = files.read(model)
    contents(read.data, read.kind)  # refuses what is not weights alone
    targets = _targets(config) if label == "backdoored" else ()
    return Entry(
        folder.name,
        label,
        partial(_open, model, device, loading),
        attack="clean" if label == "clean" else "trojai",
        targets=targets,
        group=clean_text(_word(config.get("model_architecture"))),
    )


def _config(file: Path) -> dict[str, Any]:
    """`config.json` with lower-case keys, whose spelling changed between rounds; {} without."""
    if not file.exists():
        return {}
    config = reading.json_value(file)
    if not isinstance(config, dict):
        raise Failed("config.json is not an object")
    return {str(key).lower(): value for key, value in config.items()}


def _targets(config: Mapping[str, Any]) -> tuple[int, ...]:
    triggers = config.get("triggers")
    parts = [config, *(triggers if isinstance(triggers, list) else [])]
    found = {
        int(value)
        for part in parts
        if isinstance(part, Mapping)
        for key, value in part.items()
        if TARGET.fullmatch(str(key)[:80].lower()) and _is_number(_word(value))
    }
    return tuple(sorted(found))


def _is_number(word: str) -> bool:
    return word.isdecimal() and len(word) <= DIGITS


def table(path: str | Path, *, device: str = "cpu", **loading: Any) -> Zoo:
    """Read a CSV file with the columns path, label and target, one model a row.

    `label` is clean or backdoored (or 0 and 1); `target` is a class, several with blanks between
    them, or empty. The columns name, attack, group and seed (of the training) may follow. Relative
    paths begin at the table's folder; `loading` holds for every row.

    Raises:
        Failed: the file cannot be read, or lacks one of the three columns.
    """
    path = Path(path)
    try:
        rows = list(csv.DictReader(reading.text(path, encoding="utf-8-sig").splitlines()))
    except (OSError, Failed, csv.Error) as error:
        raise Failed(f"{reading.named(path)}: the table cannot be read: {error}") from error
    columns = list(rows[0]) if rows else []
    missing = [name for name in ("path", "label", "target") if name not in columns]
    if missing:
        raise Failed(
            f"{reading.named(path)}: no column {missing[0]!r}; expected path,label,target and then rows"
        )
    named: dict[str, partial[Entry]] = {}
    for line, row in enumerate(rows, start=2):
        name = row.get("name") or row["path"] or f"line {line}"
        while name in named:
            name = f"{name} (line {line})"
        named[name] = partial(_row, row, name, line, path.parent, device, loading)
    return _collect(named.items())


def _row(
    row: Mapping[str, str | None], name: str, line: int, folder: Path, device: str, loading: Mapping[str, Any]
) -> Entry:
    if not row["path"] or row["label"] is None:
        raise Failed(f"line {line}: expected path,label,target")
    file = folder / row["path"]
    try:
        label = _label(row["label"])
    except Failed as error:
        raise Failed(f"line {line}: {error}") from error
    words = (row["target"] or "").split()
    if not all(map(_is_number, words)):
        raise Failed(f"line {line}: target {row['target']!r:.40}: expected numbers of classes")
    if words and label == "clean":
        raise Failed(f"line {line}: a clean model with a target")
    if not file.exists():
        raise Failed(f"line {line}: there is no file {clean_text(str(file), 200)}")
    attack = row.get("attack") or ("clean" if label == "clean" else "unknown")
    seed, targets = (row.get("seed") or "").strip(), tuple(map(int, words))
    if seed and not _is_number(seed):
        raise Failed(f"line {line}: seed {seed!r:.40}: expected a whole number from 0")
    return Entry(
        name,
        label,
        partial(_open, file, device, loading, targets),
        attack=attack,
        targets=targets,
        group=row.get("group") or "",
        seed=int(seed) if seed else None,
    )


def _label(said: str) -> Label:
    label = LABELS.get(said.strip().lower().removesuffix(".0"))
    if label is None:
        raise Failed(f"the label {clean_text(said)!r} is none of clean, backdoored, 0 and 1")
    return label


def _collect(named: Iterable[tuple[str, partial[Entry]]]) -> Zoo:
    """Every entry that can be read, and why the others cannot."""
    entries: list[Entry] = []
    broken: list[tuple[str, str]] = []
    for name, make in named:
        try:
            entries.append(make())
        except Exception as error:  # files of strangers: one broken entry stops no other
            known = isinstance(error, ValueError | OSError) and str(error)
            broken.append((name, str(error) if known else f"{type(error).__name__}: {error}"))
    return Zoo(tuple(entries), tuple(broken))


def _relative(folder: Path, root: Path) -> str:
    inside = folder.relative_to(root).as_posix()
    return folder.resolve().name if inside == "." else inside


def _open(file: Path, device: str, loading: Mapping[str, Any], targets: Iterable[int] = ()) -> Classifier:
    from mmbd.formats.load import load

    classifier = load(file, device=device, **loading).classifier
    for target in targets:
        if target >= classifier.classes:
            raise Failed(
                f"{file}: said to have target class {target}, but its classes are 0 to "
                f"{classifier.classes - 1}"
            )
    return classifier
