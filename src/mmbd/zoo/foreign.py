"""What the readers of other projects' zoos share.

Nothing in their files is executed: what is not plain weights is refused, as everywhere, and the
entry is broken with that reason. One broken entry never stops the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from mmbd.base.errors import Failed
from mmbd.base.reading import brief
from mmbd.base.text import clean_text
from mmbd.formats.loading import load_file
from mmbd.formats.options import LoadOptions
from mmbd.model.classifier import Classifier
from mmbd.zoo.entry import Entry, Label, Zoo

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
DIGITS = 18  # of a number in a table; more are none


def collect(named: Iterable[tuple[str, partial[Entry]]]) -> Zoo:
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


def open_model(file: Path, options: LoadOptions, targets: Iterable[int] = ()) -> Classifier:
    """The classifier in a file; Failed where it has no such class as one of `targets`."""
    classifier = load_file(file, options).classifier
    for target in targets:
        if target >= classifier.classes:
            raise Failed(
                f"{file}: said to have target class {target}, but its classes are 0 to "
                f"{classifier.classes - 1}"
            )
    return classifier


def label_of(said: str) -> Label:
    """The label that a table says in one of several words."""
    label = LABELS.get(said.strip().lower().removesuffix(".0"))
    if label is None:
        raise Failed(f"the label {clean_text(said)!r} is none of clean, backdoored, 0 and 1")
    return label


def word(value: object) -> str:
    """A name or a number as text; "" for everything else, however much that may be."""
    if isinstance(value, str):
        return value[:400]
    return brief(value) if isinstance(value, bool | int | float) else ""


def is_number(word: str) -> bool:
    """Whether a text is a whole number from 0 that is not absurdly long."""
    return word.isdecimal() and len(word) <= DIGITS
