"""Fleets whose models are files of any bytes, and a work that needs no network."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from mmbd.base.pool import Outcome, attempt
from mmbd.detectors.scan import ScanOptions
from mmbd.model.info import ModelInfo
from mmbd.results.finding import Column, Finding, Test
from mmbd.results.report import Report
from mmbd.results.store import Store
from mmbd.workflows.fleet.asked import Task
from mmbd.workflows.fleet.digests import Digests
from mmbd.workflows.fleet.entry import Entry
from mmbd.workflows.fleet.fleet import Allowed, Run, run
from mmbd.workflows.fleet.work import Done, done

ALLOWED = Allowed(600.0)
HOW = ScanOptions("mm-bd-bootstrap")


def models(folder: Path, *words: str) -> list[Entry]:
    """Files called m0, m1 and so on, with these words in them, long at rest."""
    found: list[Entry] = []
    for number, word in enumerate(words):
        path = folder / f"m{number}.safetensors"
        write(path, word)
        found.append(Entry(path.name, path, scanning=HOW))
    return found


def write(path: Path, word: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(word)


def report(
    path: Path, verdict: str, p_value: float = 0.5, classes: int = 6, sha256=None, scale: float = 1.0
) -> Report:
    bad = verdict == "backdoored"
    finding = Finding(
        verdict,
        targets=(2,) if bad else (),
        reason="cannot tell" if verdict == "not evaluable" else None,
        decided_by="test",
        tests=(Test("test", p_value=p_value),),
        columns=(Column("maximum margin", tuple((label + 1) * scale for label in range(classes)), "logits"),),
        settings={"method": "fast", "maximum_margins": {}},
    )
    info = ModelInfo(path.name, str(path), sha256)
    return Report("mm-bd", 1, 0.05, tuple(f"c{label}" for label in range(classes)), finding, info)


def reads(task: Task) -> Done:
    """The verdict is the word in the file; some words do harm to whoever reads them."""
    path = task.entry.path
    word = path.read_text()
    if word == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "crash":
        os._exit(7)
    if word == "hang":
        time.sleep(600)
    if word == "eat":
        kept = [bytearray(64 << 20) for _ in range(1000)]
        return len(kept)  # never reached
    if word == "raise":
        raise RuntimeError("a bug")
    if word.startswith("once "):  # kills its worker the first time
        mark = path.with_suffix(".seen")
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        word = "clean"
    verdict, *more = word.split()
    scale = float(more[0]) if more and more[0].replace(".", "").isdecimal() else 1.0
    digest = Digests().model(path)
    bad = verdict == "backdoored"
    made = report(path, verdict, 1e-6 if bad else 0.5, sha256=digest, scale=scale)
    return done(task.entry, task.key, made, made.exit_code, 0.1)


@dataclass
class Here:
    """An engine in this process, with room for one task at a time."""

    work: object = reads
    made: list[str] = field(default_factory=list)
    waiting: deque = field(default_factory=deque)

    @property
    def busy(self) -> int:
        return len(self.waiting)

    @property
    def room(self) -> int:
        return 1 - len(self.waiting)

    def submit(self, task: Task) -> None:
        self.waiting.append(task)

    def wait(self, seconds=None) -> list[Outcome]:
        if not self.waiting:
            return []
        task = self.waiting.popleft()
        self.made.append(task.entry.name)
        return [Outcome(task, *attempt(self.work, task))]

    def close(self) -> None:
        self.waiting.clear()


def ran(entries: list[Entry], store: Store, engine: Here | None = None, **how) -> tuple[Run, list[str]]:
    """A run, and the names of the models that were scanned."""
    engine = engine or Here()
    return run(entries, store, lambda: engine, allowed=how.pop("allowed", ALLOWED), **how), engine.made
