"""Detectors over a zoo of labelled models: rates with exact intervals, ROC curves, tables.

>>> import mmbd
>>> found = mmbd.evaluate("zoo/", ["mm-bd"], results="answers/")
>>> found.save("figures.md")
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmbd.detectors import Detector
    from mmbd.evaluation.run import Evaluation, Half, Progress
    from mmbd.zoo import Zoo

__all__ = ["evaluate"]


def evaluate(
    zoo: str | Path | Zoo,
    detectors: Sequence[str] | Mapping[str, Detector] = ("mm-bd",),
    *,
    level: float = 0.05,
    seed: int = 0,
    half: Half | None = None,
    attacks: Sequence[str] = (),
    workers: int = 0,
    limit: float | None = None,
    results: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    **loading: Any,
) -> Evaluation:
    """Run detectors over the models of a zoo.

    Models that are set aside are not run and count neither way. A model that cannot be opened, or
    a detector that fails on one, is reported in `failures` and stops nothing.

    Args:
        zoo: where it is (whatever `mmbd.zoo.read` understands), or a zoo in memory.
        detectors: names in `mmbd.detectors.DETECTORS`, or detectors of one's own by name.
        level: the false-positive rate that the detectors are asked for, in (0, 1).
        seed: of the detectors' random choices.
        half: only models trained with an "even" or an "odd" seed: choose settings on one half and
            report the other. Models without a known seed are left out.
        attacks: only these attacks, and these difficulties of clean models; ordinary clean models
            always stay in. All by default.
        workers: processes to run side by side, one torch thread each; 0 for this process. A zoo
            in memory has to be picklable for that, entries and all.
        limit: the seconds that a detector may take for a model, the start of a process included;
            one that takes longer has no answer, and is asked again by the next run. Needs workers.
        results: a folder that keeps every answer as soon as there is one. Answers that are there
            for the same weights, detector, options and code are not computed again.
        progress: called after every answer.
        **loading: for `mmbd.zoo.read`: device, and how to load models of others (arch, ...).

    Returns:
        Every answer, in the zoo's order; `tables` are the figures made of it, `save` writes them.

    Raises:
        ValueError: an unknown detector or attack, or arguments that make no sense.
        Failed: the zoo cannot be read at all, or all its models are set aside.
    """
    from mmbd.evaluation.run import run

    return run(
        zoo,
        detectors,
        level=level,
        seed=seed,
        half=half,
        attacks=attacks,
        workers=workers,
        limit=limit,
        results=results,
        progress=progress,
        loading=loading,
    )


class _Package(ModuleType):
    """`mmbd.evaluate` is this package once any part of it is imported, and must stay callable."""

    def __call__(self, *arguments: Any, **options: Any) -> Evaluation:
        return evaluate(*arguments, **options)


sys.modules[__name__].__class__ = _Package
