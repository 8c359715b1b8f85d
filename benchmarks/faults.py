"""What a fleet survives: workers and drivers killed at random moments, full disks, models that do harm.

    python -m benchmarks.faults [--models 400] [--kills 50] [--seed 0] [--out benchmarks/results/faults.json]

The models are small perceptrons, the detector is `head`, the cheapest there is, so that most kills come
between two steps of the driver. Every worker writes down which model it begins; when a driver is killed, what
the store holds then is written down. At the end nothing of that may be missing or another, and no model
may have been begun again after its result was kept. Drivers and their workers are forked from this process,
which has imported torch, and not started anew as those of `mmbd fleet`: hundreds of starts would take hours.
The clock that jumps is in `tests/workflows/test_fleet_faults.py`: this script leaves the machine's own alone.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mmbd.base import pool
from mmbd.base.environment import environment
from mmbd.base.errors import Failed
from mmbd.detectors.scan import ScanOptions
from mmbd.formats.options import LoadOptions
from mmbd.formats.spec import Spec, save
from mmbd.results import claims
from mmbd.results.fleet import METHOD, VERSION, Fleet, Row
from mmbd.results.store import Store
from mmbd.workflows.fleet import below, fleet
from mmbd.workflows.fleet.asked import Task
from mmbd.workflows.fleet.entry import Entry
from mmbd.workflows.fleet.plan import plan
from mmbd.workflows.fleet.work import Done, Work

HOW = ScanOptions("head")
ALLOWED = fleet.Allowed(600.0, 1 << 30)
WORKERS = 2


@dataclass
class Watched:
    """Work that writes down what it begins, and does harm where a model's name says so."""

    log: Path
    inner: Work

    def __call__(self, task: Task) -> Done:
        with self.log.open("a") as file:
            file.write(f"{task.entry.name}\n")
        harm = task.entry.name.partition("-")[0]
        if harm == "hang":
            time.sleep(3600)
        if harm == "eat":
            _ = [bytearray(64 << 20) for _ in range(100)]
        if harm == "crash":
            ctypes.string_at(0)
        return self.inner(task)


def make(folder: Path, count: int, *, prefix: str = "m") -> list[Entry]:
    """Perceptrons that differ in their weights, at rest."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = Spec("mlp", (1, 4, 4), 8, {"hidden": (16,)})
    for number in range(count):
        save(folder / f"{prefix}-{number:04}.safetensors", spec.network(), spec)
    return [Entry(name, path, LoadOptions(), HOW) for name, path in below.models(folder)]


def driver(entries: list[Entry], store: Path, log: Path, before: Callable[[], object] = lambda: None) -> int:
    """A driver in a process of its own; its number."""
    if child := os.fork():
        return child
    code = 70
    try:
        before()
        engine = pool.Pool(Watched(log, Work(sandboxed=False)), WORKERS, limit=20.0, memory=ALLOWED.memory)
        run = fleet.run(entries, Store(store), lambda: engine, allowed=ALLOWED)
        code = 71 if run.trouble else run.code
    finally:
        os._exit(code)


def kept(store: Path) -> dict[str, str]:
    """Every result in a store, by its key."""
    return {repr(key): one.value for key, one in Store(store).items() if key.method == "head"}


def state(store: Path, log: Path) -> dict[str, Any]:
    """What there is at the end, and whether it is sound."""
    with sqlite3.connect(store) as connection:
        sound = connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    history = Fleet.read(Store(store)).history
    return {
        "models": len(history),
        "rows more than models": sum(map(len, history.values())) - len(history),
        "results": len(kept(store)),
        "begun": len(log.read_text().splitlines()),
        "claims left": len(Store(store).values(claims.METHOD, claims.VERSION)),
        "sound": sound,
    }


def children(process: int) -> list[int]:
    """The workers of a driver."""
    try:
        return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def kills(folder: Path, entries: list[Entry], count: int, chance: random.Random) -> dict[str, Any]:
    """SIGKILL of workers and drivers at random moments."""
    store, log = folder / "kills.sqlite", folder / "kills.log"
    done, lost, again = Counter[str](), 0, 0
    snapshots: list[tuple[dict[str, str], int, set[str]]] = []
    log.touch()
    process = driver(entries, store, log)
    while True:
        if done.total() < count:
            time.sleep(chance.expovariate(2.0))
            if os.waitpid(process, os.WNOHANG)[0]:
                break
            workers = children(process)
            if workers and chance.random() < 0.5:
                done["worker"] += 1
                os.kill(chance.choice(workers), signal.SIGKILL)
                continue
            done["driver"] += 1
            os.kill(process, signal.SIGKILL)
        code = os.waitpid(process, 0)[1]
        if code != signal.SIGKILL:
            break
        before, started = kept(store), len(log.read_text().splitlines())
        finished = {row.name for row in Fleet.read(Store(store)).latest}
        process = driver(entries, store, log)
        snapshots.append((before, started, finished))
    final, begun = kept(store), log.read_text().splitlines()
    for before, started, finished in snapshots:
        lost += sum(final.get(key) != value for key, value in before.items())
        again += sum(name in finished for name in begun[started:])
    words = Counter(row.word for row in Fleet.read(Store(store)).latest)
    told = {"killed": dict(done), "lost": lost, "made again": again, "verdicts": dict(words)}
    return {**told, **state(store, log)}


def two(folder: Path, entries: list[Entry]) -> dict[str, Any]:
    """Two fleets on one store."""
    store, log = folder / "two.sqlite", folder / "two.log"
    for process in [driver(entries, store, log) for _ in range(2)]:
        os.waitpid(process, 0)
    return state(store, log)


def full(folder: Path, entries: list[Entry]) -> dict[str, Any]:
    """A store that may not grow beyond 200 kB, and the next run without that limit."""
    store, log = folder / "full.sqlite", folder / "full.log"

    def little() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))

    code = os.waitstatus_to_exitcode(os.waitpid(driver(entries, store, log, little), 0)[1])
    first = kept(store)
    os.waitpid(driver(entries, store, log), 0)
    final = kept(store)
    lost = sum(final.get(key) != value for key, value in first.items())
    return {"stopped": code == 71, "kept first": len(first), "lost": lost, **state(store, log)}


def read_only(entries: list[Entry]) -> str:
    """What is said of a store where nothing can be written, before anything is scanned."""
    try:
        fleet.run(entries, Store("/proc/results.sqlite"), lambda: None, allowed=ALLOWED)  # pyright: ignore
    except Failed as error:
        return str(error)
    return "nothing"


def harm(folder: Path) -> dict[str, Any]:
    """Models that hang, eat memory, crash the interpreter, or change while they are scanned, among others."""
    for kind in ("hang", "eat", "crash", "change"):
        make(folder / "harm", 1, prefix=kind)
    entries = make(folder / "harm", 4, prefix="ok")
    store, log = folder / "harm.sqlite", folder / "harm.log"
    changing, stop = next(one.path for one in entries if one.name.startswith("change")), threading.Event()
    process = driver(entries, store, log)

    def write() -> None:
        spec = Spec("mlp", (1, 4, 4), 8, {"hidden": (16,)})
        while not stop.wait(0.002):
            save(changing, spec.network(), spec)

    writer = threading.Thread(target=write)
    writer.start()
    os.waitpid(process, 0)
    stop.set()
    writer.join()
    rows = Fleet.read(Store(store)).latest
    told = {row.name.partition("-")[0]: [row.word, (row.reason or "")[:160]] for row in rows}
    return {"told": told, **state(store, log)}


def sizes(folder: Path, entries: list[Entry]) -> dict[str, Any]:
    """The most memory of a driver, for a quarter of the models and for all, and what skipping takes."""
    found: dict[str, Any] = {}
    for count in (len(entries) // 4, len(entries)):
        reading, writing = os.pipe()
        store = folder / f"sizes-{count}.sqlite"
        if not (child := os.fork()):
            work = Watched(folder / "sizes.log", Work(sandboxed=False))
            begin = partial(pool.Pool, work, WORKERS)
            fleet.run(entries[:count], Store(store), begin, allowed=ALLOWED)
            os.write(writing, str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss).encode())
            os._exit(0)
        os.waitpid(child, 0)
        found[f"MB of a driver with {count} models"] = round(int(os.read(reading, 100)) / 1024, 1)
    wall, spent = time.perf_counter(), time.process_time()
    skipped = plan(entries, Store(store), limits=str(ALLOWED))
    found["skipped"] = skipped.skipped.total()
    found["seconds to skip them"] = round(time.perf_counter() - wall, 3)
    found["processor seconds to skip them"] = round(time.process_time() - spent, 3)
    return found


def shown(folder: Path) -> dict[str, Any]:
    """`mmbd fleet show` at 10,000 rows, in a process of its own."""
    store = Store(folder / "many.sqlite")
    one = next(iter(Fleet.read(Store(folder / "kills.sqlite")).latest))
    rows = [Row(**{**one.__dict__, "name": f"model-{n:05}", "sha256": f"{n:064x}"}) for n in range(10_000)]
    store.alone(lambda held: [held.put(row.key, row.to_json()) for row in rows])
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "mmbd", "fleet", "show", str(store.path)]
    done = subprocess.run(command, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "rows": len(store.values(METHOD, VERSION)),
        "seconds": round(time.perf_counter() - wall, 2),
        "processor seconds": round(spent, 2),
        "last line": done.stdout.decode().splitlines()[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", type=int, default=400)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    pool.get_context = lambda _: multiprocessing.get_context("fork")
    found: dict[str, Any] = {"environment": environment(), "models": given.models, "seed": given.seed}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        entries = make(folder / "models", given.models)
        parts: dict[str, Callable[[], Any]] = {
            "kills": lambda: kills(folder, entries, given.kills, random.Random(given.seed)),
            "two fleets": lambda: two(folder, entries[:100]),
            "full disk": lambda: full(folder, entries[:100]),
            "read-only": lambda: read_only(entries),
            "harm": lambda: harm(folder),
            "sizes": lambda: sizes(folder, entries),
            "show": lambda: shown(folder),
        }
        for name, part in parts.items():
            began = time.perf_counter()
            found[name] = part()
            print(f"{name}, {time.perf_counter() - began:.0f} s: {json.dumps(found[name])}", flush=True)
            if given.out:
                given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
