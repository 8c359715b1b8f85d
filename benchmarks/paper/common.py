"""What the scripts share: make the models of a plan, run a detector over them, print two columns.

Every script takes the same options; models and answers are kept, so a run can be killed and
continued, and scripts over the same models share them:

    python -m benchmarks.paper.table1 DATA ZOO [--plan rivals] [--scale small|paper] [--detector mm-bd]
                                      [--out FILE]

DATA is a folder with the data sets as the hub's Parquet files; models go to ZOO/<plan>-<scale>,
answers beside them. Ours and the paper's figures stand side by side; ours are on networks and
training lengths of their own (see the plan), so they are neighbours, not copies.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import mmbd
from benchmarks.paper.rivals import SETTINGS
from mmbd.base.progress import Progress
from mmbd.detectors import DETECTORS, Detector
from mmbd.evaluation.metrics import Rate
from mmbd.evaluation.run import Evaluation
from mmbd.results.finding import Finding
from mmbd.zoo import plan as plans
from mmbd.zoo.make import make
from mmbd.zoo.own import cards_in

PLANS = Path(__file__).parent / "plans"
T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """The command line of every script."""

    data: Path
    zoo: Path
    scale: str
    detectors: tuple[str, ...]
    half: Any
    workers: int
    only_made: bool
    out: Path | None
    plan: str
    meta: Path | None
    only_stored: bool


def options(about: str, *, plan: str = "classical", detectors: Sequence[str] = ("mm-bd",)) -> Options:
    """Parse the command line; `plan` and `detectors` are what the script takes by default."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--scale", choices=("small", "paper"), default="small")
    parser.add_argument("--plan", default=plan, help=f"whose models (default: {plan})")
    parser.add_argument("--detector", action="append", help=f"default: {', '.join(detectors)}")
    parser.add_argument("--meta", type=Path, help="the shadow models of the detector meta")
    parser.add_argument("--half", choices=("even", "odd"), help="only models with such seeds")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only-made", action="store_true", help="train nothing: use what is there")
    parser.add_argument(
        "--only-stored", action="store_true", help="ask no detector: show the answers that are there"
    )
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    given = parser.parse_args()
    return Options(
        given.data,
        given.zoo,
        given.scale,
        tuple(given.detector or detectors),
        given.half,
        given.workers,
        given.only_made or given.only_stored,
        given.out,
        given.plan,
        given.meta,
        given.only_stored,
    )


def models(chosen: Options, plan: str) -> Path:
    """The folder with the models of a plan, made as far as they are not there yet."""
    name = f"{plan}-{chosen.scale}"
    folder = chosen.zoo / name
    if not chosen.only_made:
        file = PLANS / f"{name}.toml"
        make(
            plans.read(file),
            folder,
            root=chosen.data,
            workers=chosen.workers,
            text=file.read_text(),
            progress=_say,
        )
    return folder


def _say(progress: Progress) -> None:
    failure = progress.latest.failure
    outcome = "done" if failure is None else f"FAILED: {failure}"
    print(f"[{progress.done}/{progress.total}] {progress.note} {outcome}", flush=True)


def judged(chosen: Options, plan: str) -> Evaluation:
    """Every detector's answers about the models of a plan."""
    folder = models(chosen, plan)
    asked: dict[str, Any] = {name: (name, SETTINGS.get(name, {})) for name in chosen.detectors}
    if "meta" in asked:
        if chosen.meta is None:
            raise SystemExit("the detector meta needs its shadow models: give --meta FILE")
        asked["meta"] = ("meta", {"shadow_models": str(chosen.meta)})
    with _silenced(asked if chosen.only_stored else ()):
        return mmbd.evaluate(
            folder,
            asked,
            half=chosen.half,
            workers=0 if chosen.only_stored else chosen.workers,
            results=folder.with_name(f"{folder.name}-answers"),
        )


@contextmanager
def _silenced(names: Iterable[str]) -> Generator[None]:
    """These detectors fail instead of running; answers that are stored are found as ever."""
    kept = {name: DETECTORS[name] for name in names}

    def unasked(row: Detector) -> Detector:
        @wraps(row.find)
        def find(*_: Any, **__: Any) -> Finding:
            raise RuntimeError("not asked yet")

        return replace(row, find=find)

    try:
        DETECTORS.update({name: unasked(row) for name, row in kept.items()})
        yield
    finally:
        DETECTORS.update(kept)


def cards(chosen: Options, plan: str) -> list[dict[str, Any]]:
    """The cards of a plan's models."""
    return [dict(card) for card in cards_in(models(chosen, plan)).values()]


def pick(items: Iterable[T], what: str, wanted: Callable[[T], bool]) -> T:
    """The first of the items that is wanted; ends the script where there is none."""
    found = next((item for item in items if wanted(item)), None)
    if found is None:
        raise SystemExit(f"none of the models is {what}, made and with an attack that works")
    return found


def mean(values: Iterable[float]) -> float | None:
    """The mean; None of nothing."""
    found = list(values)
    return fmean(found) if found else None


def share(hits: Sequence[bool]) -> str:
    """A rate with n and its exact 95 % interval."""
    found = Rate.of(sum(hits), len(hits))
    return (
        "-"
        if found.share is None
        else (
            f"{100 * found.share:.0f} % ({found.hits}/{found.n}; "
            f"{100 * found.low:.0f}-{100 * found.high:.0f})"
        )
    )


def show(title: str, headings: Sequence[str], rows: Sequence[Sequence[Any]], chosen: Options) -> None:
    """Print a table, and write it as JSON where the command line says so.

    Raises:
        ValueError: two columns have the same heading, of which JSON would keep one.
    """
    if len(set(headings)) < len(headings):
        raise ValueError(f"two columns are called alike: {', '.join(headings)}")
    texts = [list(headings), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(row[place]) for row in texts) for place in range(len(headings))]
    print(f"\n{title}\n")
    for row in texts:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
    if chosen.out is not None:
        from mmbd.base.environment import environment

        content = {
            "title": title,
            "scale": chosen.scale,
            "half": chosen.half,
            "environment": dict(environment()),
            "rows": [dict(zip(headings, map(_plain, row), strict=True)) for row in rows],
        }
        chosen.out.write_text(json.dumps(content, indent=1) + "\n")


def _plain(cell: Any) -> Any:
    return cell if cell is None or isinstance(cell, str | int | float) else str(cell)


def _text(cell: Any) -> str:
    if cell is None:
        return "-"
    return f"{cell:.3g}" if isinstance(cell, float) else str(cell)
