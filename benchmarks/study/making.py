"""What the study zoos share: a command line, a job of a plan that is drawn, and how all of them are made."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmbd.zoo import plan as plans
from mmbd.zoo.job import Job
from mmbd.zoo.make import make


def arguments(about: str | None, count: int) -> argparse.Namespace:
    """What a study zoo is told on its command line: DATA, OUT, and which numbers to make."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--workers", type=int, default=1)
    return parser.parse_args()


def planned(
    number: int,
    source: str,
    data: dict[str, Any],
    network: tuple[str, dict[str, Any]],
    recipe: dict[str, Any],
    attack: dict[str, Any] | None,
) -> Job:
    """The one job of a plan, as it would be written in TOML."""
    arch, arguments = network
    table: dict[str, Any] = {
        "seeds": [number],
        "recipe": recipe,
        "data": {source: data},
        "arch": {arch: arguments},
    }
    if attack is not None:
        table["attack"] = {f"{attack['kind']}-{attack['sources']}": attack}
    (job,) = plans.jobs(table)
    return job


def made(jobs: Sequence[Job], out: Path, *, root: Path, workers: int) -> None:
    """Make them all, a line each."""
    summary = make(
        jobs,
        out,
        root=root,
        workers=workers,
        progress=lambda step: print(
            f"[{step.done}/{step.total}] {step.note} {step.latest.failure or 'done'}", flush=True
        ),
    )
    print(f"{summary.made} made, {summary.kept} there already, {len(summary.failures)} failed")
