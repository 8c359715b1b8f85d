"""Detectors over a zoo of labelled models: rates with exact intervals, ROC curves, tables.

>>> import mmbd
>>> found = mmbd.evaluate("zoo/", ["mm-bd"], results="answers/")
>>> found.save("figures.md")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmbd.formats.options import LoadOptions

if TYPE_CHECKING:
    from mmbd.base.progress import ProgressCallback
    from mmbd.data.dataset import Dataset
    from mmbd.evaluation.run import Asked, Evaluation, Half
    from mmbd.zoo import Zoo

__all__ = ["evaluate"]


def evaluate(
    zoo: str | Path | Zoo,
    detectors: Sequence[str] | Mapping[str, Asked] = ("mm-bd",),
    *,
    level: float = 0.05,
    seed: int = 0,
    samples: Dataset | str | Path | None = None,
    per_class: int | None = None,
    half: Half | None = None,
    attacks: Sequence[str] = (),
    workers: int = 0,
    limit: float | None = None,
    results: str | Path | None = None,
    progress: ProgressCallback | None = None,
    **loading: Any,
) -> Evaluation:
    """Run detectors over the models of a zoo.

    Models that are excluded are not run and count neither way. A model that cannot be opened, or
    a detector that fails on one, is reported in `failures` and stops nothing.

    Args:
        zoo: where it is (whatever `mmbd.zoo.read` understands), or a zoo in memory.
        detectors: names in `mmbd.detectors.DETECTORS`; or by a name of one's own such a name, a row
            of one's own (`mmbd.detectors.Detector`), or either with options: ("mm-bd", {"steps": 40}).
        level: the false-positive rate that the detectors are asked for, in (0, 1).
        seed: of the detectors' random choices.
        samples: clean samples for detectors that need some, the same for all models, or where they
            are. Their classes are matched with each model's by name, and images resized to its
            size. By default each model has its own, as the zoo knows them; one without any is not
            evaluable by these detectors.
        per_class: take at most so many random samples of every class; by default as many as each
            detector takes, its row's `per_class`.
        half: only models trained with an "even" or an "odd" seed: choose settings on one half and
            report the other. Models without a known seed are left out.
        attacks: only these attacks, and these difficulties of clean models; ordinary clean models
            always stay in. All by default.
        workers: processes to run side by side, one torch thread each; 0 for this process. A zoo
            in memory has to be picklable for that, entries and all.
        limit: the seconds that a detector may take for a model, the start of a process included;
            one that takes longer has no answer, and is asked again by the next run. Needs workers.
        results: a folder that keeps every answer as soon as there is one, in results.sqlite. Answers
            that are there for the same weights, samples, detector, version and options are not
            computed again; those of functions that are not importable, and of models that are no
            modules, are not kept.
        progress: called after every answer, which is its `latest`.
        **loading: the fields of `LoadOptions`: device, and how to load models of others (arch, ...).

    Returns:
        Every answer, in the zoo's order; `tables` are the figures made of it, `save` writes them.

    Raises:
        ValueError: an unknown detector or attack, arguments that make no sense, or a detector that
            needs samples where there are none for any model.
        Failed: the zoo cannot be read at all, or all its models are excluded.
    """
    from mmbd.evaluation.run import run

    return run(
        zoo,
        detectors,
        level=level,
        seed=seed,
        samples=samples,
        per_class=per_class,
        half=half,
        attacks=attacks,
        workers=workers,
        limit=limit,
        results=results,
        progress=progress,
        loading=LoadOptions(**loading),
    )
