"""All files of the corpus, the same every time."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.hostile import (
    checkpoints,
    folders,
    foreign,
    graphs,
    hierarchies,
    keras_models,
    pickles,
    programs,
    tensor_files,
    wrapped,
)
from benchmarks.hostile.case import Case

MAKERS: tuple[Callable[[], list[Case]], ...] = (
    pickles.cases,
    checkpoints.cases,
    wrapped.cases,
    tensor_files.cases,
    graphs.cases,
    programs.cases,
    keras_models.cases,
    hierarchies.cases,
    folders.cases,
    foreign.cases,
    foreign.honest,
)


def corpus() -> list[Case]:
    """Every case, those of a family together; titles are unique."""
    return [case for make in MAKERS for case in make()]
