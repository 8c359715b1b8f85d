"""Every detector on every model that counts: what to run, and what came of it."""

from __future__ import annotations

import difflib
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

from mmbd.base.environment import environment
from mmbd.base.errors import Failed
from mmbd.base.workers import run as side_by_side
from mmbd.detectors import DETECTORS, Detector
from mmbd.evaluation.answers import Answer, Job, Judge
from mmbd.evaluation.tables import Result, Tables, tables
from mmbd.formats.options import LoadOptions
from mmbd.zoo import Entry, Zoo
from mmbd.zoo.read import read

Half = Literal["even", "odd"]


@dataclass(frozen=True)
class Progress:
    """How far a run has come: answers so far of all there will be, and the latest one."""

    done: int
    total: int
    model: str
    answer: Answer
    seconds: float

    @property
    def seconds_left(self) -> float:
        """An estimate from the pace so far."""
        return self.seconds / self.done * (self.total - self.done)


@dataclass(frozen=True)
class Evaluation:
    """What was asked, and every answer.

    Args:
        results: one a model and detector, in the zoo's order.
        zoo: the zoo's name.
        broken: entries that the zoo's reader could not make sense of, with its reasons.
        set_aside: models that count neither way, with the reasons.
        without_seed: how many models were left out because halves were asked for.
        level, seed, half, attacks: as in `evaluate`.
        environment: versions and machine.
    """

    results: tuple[Result, ...]
    zoo: str
    broken: tuple[tuple[str, str], ...]
    set_aside: tuple[tuple[str, str], ...]
    without_seed: int
    level: float
    seed: int
    half: Half | None
    attacks: tuple[str, ...]
    environment: Mapping[str, str]

    @property
    def failures(self) -> tuple[tuple[str, str], ...]:
        """(what, why) of all that went wrong, each model that could not be opened once."""
        found = dict(self.broken)
        for result in self.results:
            if result.error is not None:
                opened = result.detection is not None
                found[f"{result.model}, {result.detector}" if opened else result.model] = result.error
        return tuple(found.items())

    @cached_property
    def tables(self) -> Tables:
        """The figures: overall, by attack and by group."""
        return tables(self.results)

    def save(self, path: str | Path) -> None:
        """Write the tables, in the form of the suffix: .md, .csv, .json or .html."""
        import mmbd  # the face of the package: no room below knows how a result looks

        mmbd.save(self, path)


def run(
    zoo: str | Path | Zoo,
    detectors: Sequence[str] | Mapping[str, Detector],
    *,
    level: float,
    seed: int,
    half: Half | None,
    attacks: Sequence[str],
    workers: int,
    limit: float | None,
    results: str | Path | None,
    progress: Callable[[Progress], None] | None,
    loading: LoadOptions,
) -> Evaluation:
    """See `mmbd.evaluate.evaluate`."""
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    chosen = detectors if isinstance(detectors, Mapping) else named(detectors)
    if isinstance(zoo, Zoo):
        if loading.given:
            raise ValueError(f"{loading.given[0]} is for zoos that are read from a path")
        there = source = zoo
    else:
        reading = partial(read, Path(zoo).absolute(), loading)
        there = reading()
        source = reading if workers else there
    if not there.entries:
        causes = "; ".join(f"{name}: {why}" for name, why in there.broken[:3])
        raise Failed(f"no model of the zoo can be read ({causes or 'it is empty'})")
    entries = {entry.name: entry for entry in there.entries}
    if len(entries) < len(there.entries):
        names = [entry.name for entry in there.entries]
        twice = next(name for name in names if names.count(name) > 1)
        raise Failed(f"two models of the zoo are called {twice!r}; names must be unique")
    selected = select(there.entries, half=half, attacks=attacks)
    folder = None if results is None else Path(results)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    judge = Judge(Job(source, dict(chosen), level, seed, folder))
    if workers:
        _require_picklable(judge)
    tasks = [(entry.name, name) for entry in selected if entry.excluded is None for name in chosen]
    if not tasks:
        raise Failed(f"nothing to evaluate: all {len(selected)} models are set aside")
    found: dict[tuple[str, str], Answer] = {}
    started = time.monotonic()
    outcomes = side_by_side(judge, tasks, workers=min(workers, len(tasks)), limit=limit)
    with closing(outcomes):
        for outcome in outcomes:
            model, name = outcome.task
            answer = outcome.result or Answer.failed(name, outcome.failure or "no reason given")
            found[outcome.task] = answer
            if progress is not None:
                seconds = time.monotonic() - started
                progress(Progress(len(found), len(tasks), model, answer, seconds))
    return Evaluation(
        results=tuple(_result(entries[model], found[model, name]) for model, name in tasks),
        zoo="zoo" if isinstance(zoo, Zoo) else Path(zoo).resolve().name,
        broken=there.broken,
        set_aside=tuple((entry.name, entry.excluded) for entry in selected if entry.excluded is not None),
        without_seed=sum(entry.seed is None for entry in there.entries) if half else 0,
        level=level,
        seed=seed,
        half=half,
        attacks=tuple(attacks),
        environment=environment(),
    )


def named(names: Sequence[str]) -> dict[str, Detector]:
    """The built-in detectors of these names; ValueError with a hint for an unknown one."""
    if not names:
        raise ValueError("no detector given")
    for name in names:
        if name not in DETECTORS:
            close = difflib.get_close_matches(name, DETECTORS, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ValueError(f"unknown detector {name!r}; {hint}known detectors: {', '.join(DETECTORS)}")
    return {name: DETECTORS[name] for name in names}


def select(entries: Sequence[Entry], *, half: Half | None = None, attacks: Sequence[str] = ()) -> list[Entry]:
    """The entries of one half and of some attacks; see `evaluate`.

    Raises:
        ValueError: an attack that no entry has, or none of that half.
    """
    known = {entry.attack for entry in entries}
    for attack in attacks:
        if attack not in known:
            raise ValueError(
                f"no model of the zoo has the attack {attack!r}; it has: {', '.join(sorted(known))}"
            )
    wanted = [entry for entry in entries if not attacks or entry.attack in attacks or _ordinary(entry)]
    if half is not None:
        parity = ("even", "odd").index(half)
        wanted = [entry for entry in wanted if entry.seed is not None and entry.seed % 2 == parity]
    if not wanted:
        raise ValueError(f"no model of the zoo is known to be trained with an {half} seed")
    return wanted


def _ordinary(entry: Entry) -> bool:
    return entry.label == "clean" and entry.attack == "clean"


def _require_picklable(judge: Judge) -> None:
    try:
        pickle.dumps(judge)
    except Exception as error:  # pickling runs other people's code
        raise ValueError(
            f"the zoo or a detector cannot be sent to another process ({error}); use workers=0, "
            "give the zoo's path, or make entries and detectors of functions that can be imported"
        ) from error


def _result(entry: Entry, answer: Answer) -> Result:
    return Result(
        model=entry.name,
        backdoored=entry.label == "backdoored",
        attack=entry.attack,
        true_targets=entry.targets,
        group=entry.group,
        seed=entry.seed,
        detector=answer.detector,
        detection=answer.detection,
        error=answer.error,
    )
