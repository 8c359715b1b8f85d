"""`mmbd fleet`: every model of a folder or a manifest into a store of reports, again and again."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App

from mmbd.cli import fleet_show, streams
from mmbd.cli.detecting import scan_options
from mmbd.cli.loading import DEFAULT_LOADING, Loading
from mmbd.cli.options import (
    HOW,
    INPUT,
    OUTPUT,
    Outs,
    Plain,
    Texts,
    Usage,
    at_least,
    duration,
    level_between,
    size,
)
from mmbd.cli.progress import watching
from mmbd.workflows import scan_file as gate

if TYPE_CHECKING:
    from mmbd.base.progress import Progress
    from mmbd.workflows.fleet.plan import Plan

LIMIT = 3600.0  # seconds
INTERRUPTED = 130

fleet = App(name="fleet", help_format="markdown", group_parameters=HOW)


@fleet.default
def scan(
    models: Annotated[Path, INPUT],
    /,
    *,
    store: Annotated[Path, OUTPUT],
    loading: Annotated[Loading, INPUT] = DEFAULT_LOADING,
    data: Annotated[Path | None, INPUT] = None,
    per_class: Annotated[int | None, INPUT] = None,
    shard: Annotated[str | None, INPUT] = None,
    detector: str = "mm-bd",
    option: Texts = None,
    null: str | None = None,
    level: float = 0.05,
    seed: int = 0,
    seeds: int = 1,
    budget: str | None = None,
    limit: float = LIMIT,
    memory: str | None = None,
    workers: int | None = None,
    engine: Literal["processes", "ray"] = "processes",
    again: Literal["failed", "all"] | None = None,
    out: Annotated[Outs, OUTPUT] = None,
    quiet: Annotated[bool, Plain, OUTPUT] = False,
) -> int:
    """Scan every model below a folder, or of a manifest, and keep the reports in a store.

    A second run scans only what is new or changed: results are known by the digests of file, data and
    settings. Whatever stops a run, what it has kept is whole, and the next one goes on from there. Ctrl-C has
    the models under way finished; a second one ends them at once. Exit codes: the worst of the models,
    scanned now or before: 1 over 3 over 2 over 0; 4 usage, 130 interrupted. "mmbd fleet show" prints what a
    store holds, "mmbd fleet merge" joins stores.

    Args:
        models: A folder, or a manifest (.toml) that says of every model what its file does not, which data
            and references it goes with, and its labels.
        store: The SQLite file that keeps reports and history; on a local disk.
        loading: What the files do not say; a manifest goes before that.
        data: Clean samples of the models' task, as for "mmbd scan"; with a folder of models.
        per_class: How many of these samples to use of each class.
        shard: Scan one part of n only, as i/n, from 1/n to n/n: for Slurm arrays, jobs and shell loops. Each
            may have a store of its own.
        detector: The detector to ask, of those that "mmbd list detectors" shows.
        option: An option of the detector, as key=value; may be repeated.
        null: The test that decides, of those that "mmbd list nulls" shows.
        level: The false-positive rate asked for.
        seed: The number that every random choice follows from.
        seeds: How many seeds to scan with.
        budget: The time for one model, such as 90s or 10m, for MM-BD: the best answer that fits.
        limit: The seconds that the scan of one model may take; one that takes longer fails.
        memory: The memory that the scan of one model may take, such as 4GB (default: any).
        workers: How many models are scanned side by side, each by a process with one thread (default:
            one a processor).
        engine: What does the scans: processes of this machine, or a Ray cluster (pip install 'mmbd[ray]').
        again: Scan again what has a result: "failed" what failed, "all" everything.
        out: A file for the index of the whole store, in the form of its suffix: .html, .csv, .parquet or
            .jsonl; or a folder (a name that ends in /) for the page with a report of each model; may be
            repeated.
        quiet: Print the totals alone, and no progress.
    """
    at_least(1, per_class=per_class, seeds=seeds, workers=workers)
    level_between(level)
    if not limit > 0:
        raise Usage(f"--limit {limit:g}: expected more than 0 seconds")
    part = _shard(shard)
    most, time = size("--memory", memory), duration("--budget", budget)
    how = scan_options(
        detector, {"null": null}, option, level=level, seed=seed, seeds=seeds, limit=limit, budget=time
    )
    # The driver reads no model; the workers have sandboxes of their own.
    known = replace(replace(loading, sandbox=False).options(), sandbox=None if loading.sandbox else False)
    from mmbd.cli import fleet_outputs
    from mmbd.render import fleet_text
    from mmbd.results.store import Store
    from mmbd.workflows.fleet import entry, fleet

    outputs = fleet_outputs.plan(out, store)
    found = entry.share(fleet.entries(models, known, how, data=data, per_class=per_class), part)
    allowed = fleet.Allowed(limit, most)
    count = workers or fleet.cores()
    begin: Callable[[], Any] = partial(fleet.processes, count, allowed, sandboxed=loading.sandbox)
    if engine == "ray":
        from mmbd.workflows.fleet import cluster

        begin = partial(cluster.begin, workers, allowed, sandboxed=loading.sandbox)
    with (
        _interrupts() as stop,
        watching(str(models), shown=not quiet, line=None if quiet else _line) as progress,
    ):
        ran = fleet.run(
            found,
            Store(store),
            begin,
            allowed=allowed,
            again=again or "",
            progress=progress,
            stop=stop,
            planned=(lambda made: None) if quiet else _tell,
        )
    streams.say(fleet_text.totals(ran.rows))
    if ran.trouble:
        streams.complain(f"failed: {ran.trouble}")
    done = outputs.write()
    if ran.left and stop():
        streams.complain(f"interrupted: {ran.left} not scanned yet; the same command goes on from here")
        return INTERRUPTED
    return gate.worst([ran.code] if done else [ran.code, gate.FAILED])


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count) <= 10**6):
        raise Usage(f"--shard {text!r}: expected i/n with i from 1 to n, such as 1/8")
    return int(number), int(count)


@contextmanager
def _interrupts() -> Generator[Callable[[], bool]]:
    """Inside, the first Ctrl-C (or SIGTERM) is remembered, and tells so; the second one is raised at once."""
    asked = False

    def handle(*_: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        streams.complain("stopping once the models under way are finished; Ctrl-C again ends them at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _line(progress: Progress) -> str:
    from mmbd.render.fleet_text import line

    return f"[{progress.done}/{progress.total}] " + (
        "done by another fleet on this store" if progress.latest is None else line(progress.latest)
    )


def _tell(made: Plan) -> None:
    """What is skipped and what is to be scanned, and why."""
    from mmbd.render.fleet_text import line

    for what, reasons in (("skipped", made.skipped), ("to scan", made.new)):
        if reasons:
            told = ", ".join(f"{number:,} {why}" for why, number in sorted(reasons.items()))
            streams.say(f"{what}: {reasons.total():,} ({told})")
    for row in made.unread:
        streams.say(line(row))


fleet.command(fleet_show.show, group_parameters=HOW)
fleet.command(fleet_show.merge, group_parameters=HOW)
