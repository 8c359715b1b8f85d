"""A whole run of a fleet: from a folder or a manifest to a store of reports, by an engine."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mmbd.base.errors import Failed
from mmbd.base.pool import Pool
from mmbd.base.progress import ProgressCallback
from mmbd.base.text import size
from mmbd.detectors.scan import ScanOptions, require_needs
from mmbd.formats.options import LoadOptions
from mmbd.results.fleet import Fleet, Row
from mmbd.results.store import Store
from mmbd.workflows import scan_file as gate
from mmbd.workflows.fleet import below, groups, manifest
from mmbd.workflows.fleet.asked import Task
from mmbd.workflows.fleet.driver import Driver, Engine
from mmbd.workflows.fleet.entry import Entry
from mmbd.workflows.fleet.plan import Plan, plan
from mmbd.workflows.fleet.work import Done, Work

GRACE = 30.0  # seconds beyond a limit, in which a scan says itself that it took too long


@dataclass(frozen=True)
class Allowed:
    """What a scan may take.

    Args:
        seconds: a scan that takes longer fails, as a whole.
        memory: bytes beyond those that its process begins with; None for any.
    """

    seconds: float
    memory: int | None = None

    def __str__(self) -> str:
        return f"{self.seconds:g} s" + ("" if self.memory is None else f", {size(self.memory)}")


@dataclass(frozen=True)
class Run:
    """What a run did.

    Args:
        rows: the latest of each of its models.
        counts: of the scans, by what came of them.
        plan: what there was to do, and why not more.
        trouble: why it stopped early; "" where it did not.
        left: how many scans were not begun, as it was told to stop.
    """

    rows: tuple[Row, ...]
    counts: Counter[str]
    plan: Plan
    trouble: str
    left: int

    @property
    def code(self) -> int:
        """The exit code: the worst of all models; 2 at least where results could not be kept."""
        codes = [row.code for row in self.rows]
        return gate.worst([*codes, gate.FAILED] if self.trouble else codes)


def entries(
    path: Path,
    loading: LoadOptions,
    scanning: ScanOptions,
    *,
    data: Path | None = None,
    per_class: int | None = None,
) -> list[Entry]:
    """The models of a folder, or of a manifest in TOML.

    Raises:
        ValueError: nothing there, no models below it, or a manifest with anything wrong in it.
        Failed: a folder cannot be listed.
    """
    if path.is_file():
        if path.suffix.lower() != ".toml":
            raise ValueError(f"{path}: expected a folder of models, or a manifest whose name ends in .toml")
        if data is not None:
            raise ValueError("--data is for folders: a manifest says for every model where its data are")
        return manifest.read(path, loading, scanning)
    if not path.is_dir():
        raise ValueError(f"{path}: there is no such folder or manifest")
    require_needs(scanning, data)
    if not (found := below.models(path)):
        raise ValueError(f"{path}: no file below it has the name of a model's (see: mmbd list formats)")
    return [Entry(name, each, loading, scanning, data, per_class) for name, each in found]


def cores() -> int:
    """How many processors this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return max(1, len(usable(0)) if usable else os.cpu_count() or 1)


def processes(workers: int, allowed: Allowed, *, sandboxed: bool = True) -> Pool[Task, Done]:
    """Processes of this machine, one thread and one model each, so that none takes another's core."""
    limit = allowed.seconds + GRACE
    return Pool(Work(sandboxed), workers, limit=limit, memory=allowed.memory)


def run(
    models: Sequence[Entry],
    store: Store,
    engine: Callable[[], Engine],
    *,
    allowed: Allowed,
    again: str = "",
    progress: ProgressCallback | None = None,
    stop: Callable[[], bool] = lambda: False,
    planned: Callable[[Plan], None] = lambda plan: None,
) -> Run:
    """Scan what is new or changed, and keep it.

    Args:
        models: all of the fleet, or of one shard.
        store: with what earlier runs have kept.
        engine: begins what does the scans; not called where there is nothing to scan.
        allowed: what a scan may take.
        again: as of `plan.plan`.
        progress: called after every model; its `latest` is the row.
        stop: whether no scan is to be begun any more.
        planned: called with what there is to do, before anything is scanned.

    Raises:
        Failed: the store cannot be read or written.
    """
    store.alone(lambda held: None)
    made = plan(models, store, limits=str(allowed), again=again)
    planned(made)
    counts, trouble, left = Counter[str](), "", len(made.todo)
    if made.todo and not stop():
        with closing(engine()) as begun:
            driver = Driver(store, made, begun, str(allowed), progress, stop)
            driver.run()
        counts, trouble = driver.counts, driver.trouble
        left -= counts.total()
    if not trouble:
        groups.judge(models, store)
    return Run(tuple(_of(models, store)), counts, made, trouble, left)


def _of(models: Iterable[Entry], store: Store) -> list[Row]:
    """The latest rows of these models."""
    try:
        known = {row.name: row for row in Fleet.read(store).latest}
    except Failed:
        return []
    return [known[entry.name] for entry in models if entry.name in known]
