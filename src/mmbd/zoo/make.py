"""Many jobs into one folder: a zoo. A run can be killed at any moment and started again.

zoo.json                    the plan, and the state of every model
NAME.safetensors            a model, readable by `mmbd.load` without flags
NAME.trigger.safetensors    its backdoor, readable by `attacks.files.load`
NAME.json                   its card
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from mmbd.base.devices import usable
from mmbd.base.errors import Failed
from mmbd.base.progress import Progress, ProgressCallback
from mmbd.base.workers import run
from mmbd.base.writing import clear
from mmbd.training import loop as train
from mmbd.zoo import cards, index
from mmbd.zoo import train_one as training
from mmbd.zoo.job import ArchPlan, DataPlan, Job


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
    workers: int = 0,
    text: str = "",
    progress: ProgressCallback | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> Summary:
    """Train every job that has no card in `out` yet.

    A job that fails is noted, and the run goes on; the next run tries it again.

    Args:
        jobs: see `plan.read`.
        out: the folder of the zoo; made if need be.
        root: where relative paths of the data begin.
        workers: processes side by side, with one torch thread each; 0 for this process.
        text: the plan as written, for the index.
        progress: called after every model that was trained, or failed; `latest` is its `Outcome`, with
            the card as result.
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
    out.mkdir(parents=True, exist_ok=True)
    clear(out)
    state = index.read(out)
    entries = state["entries"]
    entries |= {job.name: {"state": "waiting"} for job in todo}
    entries |= {name: index.made(card) for name, card in there.items()}
    state["plan"] = text or state["plan"]
    state["root"] = os.path.relpath(Path(root).resolve(), out.resolve())
    index.write(out, state)
    failures: dict[str, str] = {}
    work = partial(training.make, out=out, root=Path(root), on_epoch=on_epoch)
    started = time.monotonic()
    for done, outcome in enumerate(run(work, todo, workers=workers), start=1):
        name, card = outcome.task.name, outcome.result
        if card is None:
            failures[name] = outcome.failure or "no reason given"
            entries[name] = {"state": "failed", "reason": failures[name]}
        else:
            entries[name] = index.made(card)
        index.write(out, state)
        seconds = time.monotonic() - started
        if progress is not None:
            progress(Progress("training", done, len(todo), "models", seconds, note=name, latest=outcome))
    return Summary(len(todo) - len(failures), len(there), failures)


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
