"""Many jobs into one folder: a zoo. A run can be killed at any moment and started again.

zoo.json                    the plan, and the state of every model
NAME.safetensors            a model, readable by `mmbd.load` without flags
NAME.trigger.safetensors    its backdoor, readable by `attacks.files.load`
NAME.json                   its card
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from mmbd.base.devices import usable
from mmbd.base.errors import Failed
from mmbd.base.workers import run
from mmbd.base.writing import clear
from mmbd.training import loop as train
from mmbd.zoo import cards, index
from mmbd.zoo import train_one as training
from mmbd.zoo.job import ArchPlan, DataPlan, Job


@dataclass(frozen=True)
class Progress:
    """One model is done: its card, or why it failed; `left` is a guess, in seconds."""

    name: str
    card: Mapping[str, Any] | None
    failure: str | None
    done: int
    total: int
    left: float


@dataclass(frozen=True)
class Summary:
    """How a run ended: models made now, models that were there already, failures by name."""

    made: int
    kept: int
    failures: Mapping[str, str]


def make(
    jobs: Sequence[Job],
    out: str | Path,
    *,
    root: str | Path,
    workers: int = 1,
    text: str = "",
    on_model: Callable[[Progress], None] = lambda progress: None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> Summary:
    """Train every job that has no card in `out` yet.

    A job that fails is noted, and the run goes on; the next run tries it again.

    Args:
        jobs: see `plan.read`.
        out: the folder of the zoo; made if need be.
        root: where relative paths of the data begin.
        workers: processes side by side, with one torch thread each; one is this process itself.
        text: the plan as written, for the index.
        on_model: called after every model.
        on_epoch: see `train.fit`; what it raises fails the model in training. With several workers
            it must be picklable.

    Raises:
        ValueError: `out` holds a model of the same name that was made with other settings, or the
            device cannot be used.
    """
    out = Path(out)
    for device in {job.device for job in jobs}:
        usable(device)
    there = {job.name: card for job in jobs if (card := finished(out, job)) is not None}
    todo = [job for job in jobs if job.name not in there]
    seconds: dict[str, list[float]] = {}
    for job in jobs:
        if job.name in there:
            seconds.setdefault(_kind(job), []).append(there[job.name].get("seconds", 0.0))
    out.mkdir(parents=True, exist_ok=True)
    clear(out)
    state = index.read(out)
    entries = state["entries"]
    entries |= {job.name: {"state": "waiting"} for job in todo}
    entries |= {name: index.made(card) for name, card in there.items()}
    state["plan"] = text or state["plan"]
    index.write(out, state)
    failures: dict[str, str] = {}
    left = {job.name: job for job in todo}
    work = partial(training.make, out=out, root=Path(root), on_epoch=on_epoch)
    for outcome in run(work, todo, workers=0 if workers == 1 else workers):
        job, card = outcome.task, outcome.result
        del left[job.name]
        if card is None:
            failures[job.name] = outcome.failure or "no reason given"
            entries[job.name] = {"state": "failed", "reason": failures[job.name]}
        else:
            entries[job.name] = index.made(card)
            seconds.setdefault(_kind(job), []).append(card["seconds"])
        index.write(out, state)
        rest = estimate(seconds, map(_kind, left.values())) / min(workers, max(1, len(left)))
        done = len(jobs) - len(left)
        on_model(Progress(job.name, card, outcome.failure, done, len(jobs), rest))
    return Summary(len(todo) - len(failures), len(there), failures)


def estimate(seconds: Mapping[str, Sequence[float]], rest: Iterable[str]) -> float:
    """How long jobs of the kinds in `rest` will take, by the seconds seen so far, by kind."""
    every = [value for values in seconds.values() for value in values]
    usual = fmean(every) if every else 0.0
    return sum(fmean(seconds[kind]) if kind in seconds else usual for kind in rest)


def _kind(job: Job) -> str:
    """What decides, roughly, how long a job takes."""
    return f"{job.data.name} {job.arch.name}"


def finished(out: Path, job: Job) -> dict[str, Any] | None:
    """The card of a job that is done; None if it is not.

    Raises:
        ValueError: `out` holds a model of that name that was made with other settings.
    """
    try:
        card = cards.read(cards.path(out, job.name))
    except Failed:
        return None
    here = json.loads(json.dumps(job.settings()))
    difference = _differ(_said(card["settings"]), _said(here))
    if difference is not None:
        raise ValueError(
            f"{out / job.name}.safetensors was made with other settings ({difference}): make the "
            f"zoo in another folder, or remove {job.name}.json to train that model again"
        )
    return card if (out / card["file"]).is_file() else None


def _said(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without defaults: an older release's cards lack what it did not know."""
    found = dict(settings)
    for part, kind in (("data", DataPlan), ("arch", ArchPlan), ("recipe", train.Recipe)):
        usual = {
            item.name: json.loads(json.dumps(item.default))
            for item in fields(kind)
            if isinstance(item.default, int | float | str | tuple | None)
        }
        found[part] = {
            key: value
            for key, value in dict(found.get(part, {})).items()
            if key not in usual or usual[key] != value
        }
    return found


def _differ(one: Any, other: Any, where: str = "") -> str | None:
    """The first place where two JSON values differ, in words; None if they do not."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys([*one, *other]):
            inside = _differ(one.get(key), other.get(key), f"{where}.{key}".lstrip("."))
            if inside is not None:
                return inside
        return None
    return None if one == other else f"{where} is {one!r} there and {other!r} here"
