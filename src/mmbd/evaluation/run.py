"""Every detector on every model that counts: what to run, and what came of it."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

from mmbd.base.environment import environment
from mmbd.base.errors import Failed
from mmbd.base.progress import Progress, ProgressCallback
from mmbd.base.reading import named as named_path
from mmbd.base.workers import run as side_by_side
from mmbd.data.dataset import Dataset
from mmbd.detectors.detector import Detector
from mmbd.detectors.scan import LEVEL, ScanOptions, require_needs
from mmbd.evaluation.answers import Answer, Runner
from mmbd.evaluation.tables import Result, Tables, tables
from mmbd.formats.options import LoadOptions
from mmbd.formats.sandbox.reading import ready, stand
from mmbd.results.store import NAME, Store
from mmbd.zoo import Entry, Zoo
from mmbd.zoo.read import read

# A name in DETECTORS or a row of one's own, perhaps with options.
Asked = str | Detector | tuple[str | Detector, Mapping[str, Any]]
Half = Literal["even", "odd"]


@dataclass(frozen=True)
class Evaluation:
    """What was asked, and every answer.

    Args:
        results: one a model and detector, in the zoo's order.
        zoo: the zoo's name.
        broken: entries that the zoo's reader could not make sense of, with its reasons.
        excluded: models that count neither way, with the reasons.
        warnings: what has to be said of the stored results, such as a damaged file.
        without_seed: how many models were left out because halves were asked for.
        level, seed, half, attacks: as in `evaluate`.
        environment: versions and machine.
    """

    results: tuple[Result, ...]
    zoo: str
    broken: tuple[tuple[str, str], ...]
    excluded: tuple[tuple[str, str], ...]
    without_seed: int
    level: float
    seed: int
    half: Half | None
    attacks: tuple[str, ...]
    environment: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[tuple[str, str], ...]:
        """(what, why) of all that went wrong, each model that could not be opened once."""
        found = dict(self.broken)
        for result in self.results:
            if result.error is not None:
                what = f"{result.model}, {result.detector}" if result.opened else result.model
                found[what] = result.error
        return tuple(found.items())

    @property
    def not_evaluable(self) -> tuple[tuple[str, str], ...]:
        """(model and detector, why) of all that a detector gave no answer to, for a good reason."""
        found = [(result, result.report) for result in self.results if result.report is not None]
        return tuple(
            (f"{result.model}, {result.detector}", report.reason or "no reason given")
            for result, report in found
            if report.verdict == "not evaluable" and result.error is None
        )

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
    detectors: Sequence[str] | Mapping[str, Asked],
    *,
    level: float,
    seed: int,
    half: Half | None,
    attacks: Sequence[str],
    workers: int,
    limit: float | None,
    results: str | Path | None,
    progress: ProgressCallback | None,
    loading: LoadOptions,
    samples: Dataset | str | Path | None = None,
    per_class: int | None = None,
) -> Evaluation:
    """See `mmbd.evaluation.evaluate.evaluate`."""
    chosen = named(detectors, level=level, seed=seed)
    if per_class is not None and per_class < 1:
        raise ValueError(f"per_class must be at least 1, got {per_class}")
    if isinstance(zoo, Zoo):
        if loading.given:
            raise ValueError(f"{loading.given[0]} is for zoos that are read from a path")
        there = source = zoo
    else:
        reading = partial(read, Path(zoo).absolute(), loading)
        there = reading()
        source = partial(_elsewhere, reading, sandboxed=ready() is not None) if workers else there
    entries = _by_name(there)
    selected = select(there.entries, half=half, attacks=attacks)
    counted = [entry for entry in selected if entry.excluded is None]
    if not counted:
        raise Failed(f"nothing to evaluate: all {len(selected)} models are excluded")
    samples = Path(samples) if isinstance(samples, str) else samples
    own = next((entry.samples for entry in counted if entry.samples is not None), None)
    for how in chosen.values():
        require_needs(how, own if samples is None else samples)
    store, warnings = (None, ()) if results is None else _store(Path(results))
    runner = Runner(source, chosen, samples=samples, per_class=per_class, store=store)
    if workers:
        _require_picklable(runner)
    tasks = [(entry.name, name) for entry in counted for name in chosen]
    found: dict[tuple[str, str], Answer] = {}
    started = time.monotonic()
    outcomes = side_by_side(runner, tasks, workers=min(workers, len(tasks)), limit=limit)
    with closing(outcomes):
        for outcome in outcomes:
            model, name = outcome.task
            answer = outcome.result or Answer(name, None, outcome.failure or "no reason given")
            found[outcome.task] = answer
            if progress is not None:
                seconds = time.monotonic() - started
                note = f"{model}, {name}"
                progress(Progress("evaluation", len(found), len(tasks), "answers", seconds, note, answer))
    return Evaluation(
        results=tuple(_result(entries[model], found[model, name]) for model, name in tasks),
        zoo="zoo" if isinstance(zoo, Zoo) else Path(zoo).resolve().name,
        broken=there.broken,
        excluded=tuple((entry.name, entry.excluded) for entry in selected if entry.excluded is not None),
        without_seed=sum(entry.seed is None for entry in there.entries) if half else 0,
        level=level,
        seed=seed,
        half=half,
        attacks=tuple(attacks),
        environment=environment(),
        warnings=warnings,
    )


def _elsewhere(reading: Callable[[], Zoo], *, sandboxed: bool) -> Zoo:
    """The zoo as a worker reads it: its models in a sandbox, if those of its parent are."""
    if sandboxed:
        stand(forked=True)  # beside the worker is one thread, which waits for its parent's end
    return reading()


def named(
    detectors: Sequence[str] | Mapping[str, Asked], *, level: float = LEVEL, seed: int = 0
) -> dict[str, ScanOptions]:
    """How each detector is asked, by its name in the evaluation.

    Raises:
        ValueError: none given, an unknown one, options that it does not take, or a level that is none.
    """
    if not detectors:
        raise ValueError("no detector given")
    asked = detectors if isinstance(detectors, Mapping) else {name: name for name in detectors}
    found: dict[str, ScanOptions] = {}
    for name, one in asked.items():
        row, options = one if isinstance(one, tuple) else (one, {})
        found[name] = ScanOptions(row, level, seed, options=options)
    return found


def _by_name(zoo: Zoo) -> dict[str, Entry]:
    """The entries by name; Failed where there are none, or two of one name."""
    if not zoo.entries:
        causes = "; ".join(f"{name}: {why}" for name, why in zoo.broken[:3])
        raise Failed(f"no model of the zoo can be read ({causes or 'it is empty'})")
    entries = {entry.name: entry for entry in zoo.entries}
    if len(entries) < len(zoo.entries):
        names = [entry.name for entry in zoo.entries]
        twice = next(name for name in names if names.count(name) > 1)
        raise Failed(f"two models of the zoo are called {twice!r}; names must be unique")
    return entries


def _store(folder: Path) -> tuple[Store, tuple[str, ...]]:
    """The store in a folder of results, and what has to be said of it."""
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(folder / NAME)
    warnings = [store.repair()]
    if not store.path.exists() and any(folder.glob("*/*.json")):
        warnings.append(
            f"the answers that releases up to 0.1 kept as JSON files in {named_path(folder)} are not read "
            f"any more: all are computed again and kept in {NAME}"
        )
    return store, tuple(warning for warning in warnings if warning is not None)


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


def _require_picklable(runner: Runner) -> None:
    try:
        pickle.dumps(runner)
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
        report=answer.report,
        error=answer.error,
        opened=answer.opened,
    )
