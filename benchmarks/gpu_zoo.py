"""Train, attack, scan and mitigate in one run of ten minutes on one GPU; one small JSON file.

    python -m benchmarks.gpu_zoo DATA OUT [--plan FILE] [--budget 570] [--device cuda]

DATA is a folder with the data sets as the hub's Parquet files. Models go to OUT, what was found to
OUT/gpu_zoo.json, written whole after every model. Start it again and it goes on, by what is kept in
OUT/results.sqlite. When the budget, in seconds, is used up it stops, and the file says what is left.
Without a GPU the same code takes a plan of two tiny models.

Half a minute of every model is training: data on the device, channels-last, bfloat16, compiled
once for all models where there is a compiler. The repair gets 20 clean images a class from the
test set; its figures are on up to 5000 others.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import mmbd
from mmbd.base.environment import environment
from mmbd.base.jsonable import jsonable
from mmbd.base.writing import write_text
from mmbd.data.dataset import some, split
from mmbd.evaluation.metrics import Rate
from mmbd.results.store import NAME, Key, Store
from mmbd.triggers import files
from mmbd.workflows import repair as fixing
from mmbd.zoo import cards
from mmbd.zoo import plan as plans
from mmbd.zoo.job import Job
from mmbd.zoo.make import finished, make
from mmbd.zoo.own import cards_in
from mmbd.zoo.samples import load

HERE = Path(__file__).parent
PLANS = {"cuda": HERE / "gpu_zoo.toml", "cpu": HERE / "gpu_zoo_tiny.toml"}
RESULT = "gpu_zoo.json"
BUDGET = 570.0  # of ten minutes, with time to start and to write
VERSION = 1  # of what is found out about a model: raise it to have all found out again
MITIGATOR, IMAGES, MEASURED = "mm-bm", 20, 5000


class OutOfTime(Exception):
    """The budget is used up."""


@dataclass(frozen=True)
class Clock:
    """How much of a budget of seconds is left; `check` stands in for every progress hook."""

    budget: float
    started: float = field(default_factory=time.monotonic)

    def left(self) -> float:
        return self.budget - (time.monotonic() - self.started)

    def check(self, *_: Any) -> None:
        if self.left() <= 0:
            raise OutOfTime(f"the budget of {self.budget:g} s is used up")


def run(jobs: Sequence[Job], root: Path, out: Path, budget: float) -> dict[str, Any]:
    """Do what is left of `jobs` while there is time; returns what the file then says."""
    clock = Clock(budget)
    out.mkdir(parents=True, exist_ok=True)
    store = Store(out / NAME)
    rows = {job.name: row for job in jobs if (row := _kept(store, out, job)) is not None}
    failed: dict[str, str] = {}
    for job in jobs:
        if job.name in rows:
            continue
        usual = max((row["seconds"]["training"] for row in rows.values()), default=0.0)
        if clock.left() <= usual:  # it would be lost in training
            break
        try:
            rows[job.name] = row = jsonable(model(job, root, out, clock))
            print(store.put(_key(finished(out, job)), json.dumps(row)) or line(row), flush=True)
        except OutOfTime:
            break
        except Exception as error:  # one broken model stops nothing
            failed[job.name] = f"{type(error).__name__}: {error}"
            print(f"{job.name}: FAILED: {failed[job.name]}", flush=True)
        _write(out, jobs, rows, failed, clock)
    return _write(out, jobs, rows, failed, clock)


def model(job: Job, root: Path, out: Path, clock: Clock) -> dict[str, Any]:
    """Everything about one model; its training is skipped where its files are there already."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        clock.check()
        started = time.perf_counter()
        test = load(job.data, root.resolve()).test
        seconds = {"data": time.perf_counter() - started}
        summary = make([job], out, root=root, on_epoch=clock.check)
        clock.check()
        for reason in summary.failures.values():
            raise RuntimeError(reason)
        card = cards.read(cards.path(out, job.name))
        seconds["training"] = card["seconds"]
        loaded = mmbd.load(out / card["file"], device=job.device)
        started = time.perf_counter()
        report = mmbd.scan(loaded, progress=clock.check)
        seconds["scan"] = time.perf_counter() - started
        repair = None
        if card["label"] == "backdoored":
            learn, rest = split(test, IMAGES, seed=job.seed)
            _, repair = fixing.fix(
                loaded.classifier,
                learn,
                some(rest, MEASURED, seed=job.seed),
                method=MITIGATOR,
                backdoor=files.load(out / card["trigger_file"]),
                seed=job.seed,
                progress=clock.check,
            )
            seconds["mitigation"] = repair.record.seconds
    taken = (
        "name",
        "label",
        "data",
        "arch",
        "attack",
        "seed",
        "sources",
        "targets",
        "poisoned",
        "accuracy",
        "train_accuracy",
        "asr",
        "samples",
        "versions",
        "hardware",
    )
    return {
        **{key: card[key] for key in taken},
        "draw": job.draw,
        "seconds": {phase: round(value, 2) for phase, value in seconds.items()},
        "scan": {
            "verdict": report.verdict,
            "reason": report.reason,
            "targets": list(report.targets),
            "p_value": report.p_value,
            "null": report.finding.decided_by,
            "p_values": {test.name: test.p_value for test in report.finding.tests},
            "statistics": list(report.statistics),
            "evaluations": report.finding.facts.get("evaluations"),
        },
        "mitigation": repair
        and {
            "method": MITIGATOR,
            "mitigated": repair.record.changed,
            "reason": repair.record.reason,
            "images": repair.record.samples,
            "accuracy": repair.accuracy,
            "asr": repair.attack_success,
            "held_out": repair.held_out,
            "triggered": repair.triggered,
        },
        "warnings": sorted({f"{item.category.__name__}: {item.message}" for item in said}),
    }


def line(row: Mapping[str, Any]) -> str:
    """One model in one line."""
    scan, repair = row["scan"], row["mitigation"]
    asr = "" if row["asr"] is None else f" ASR {row['asr']:.1%}"
    after = ""
    if repair and repair["asr"]:
        after = f"; repaired: ACC {repair['accuracy'][1]:.1%} ASR {repair['asr'][1]:.1%}"
    times = ", ".join(f"{phase} {value:.0f} s" for phase, value in row["seconds"].items())
    return (
        f"{row['name']}: ACC {row['accuracy']:.1%}{asr}; {scan['verdict']} "
        f"{scan['targets']} of {row['targets']}{after}  ({times})"
    )


def _write(
    out: Path, jobs: Sequence[Job], rows: Mapping[str, Any], failed: Mapping[str, str], clock: Clock
) -> dict[str, Any]:
    excluded = cards.excluded(cards_in(out).values())
    known = [job.name for job in jobs]
    content = {
        "environment": dict(environment()),
        "budget": clock.budget,
        "seconds": round(clock.budget - clock.left(), 1),
        "left": [name for name in known if name not in rows and name not in failed],
        "failed": dict(failed),
        "excluded": excluded,
        "summary": summary([row for name, row in rows.items() if name not in excluded]),
        "models": dict(rows),
    }
    write_text(out / RESULT, json.dumps(jsonable(content), indent=1, allow_nan=False) + "\n")
    return content


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rates with exact 95 % intervals over models that count, and what the repairs did."""
    bad = [row for row in rows if row["label"] == "backdoored"]
    found = [bool(set(row["scan"]["targets"]) & set(row["targets"])) for row in bad]
    alarms = [row["scan"]["verdict"] == "backdoored" for row in rows if row["label"] == "clean"]
    repairs = [row["mitigation"] for row in bad if row["mitigation"]["asr"]]
    rates = {"detected": Rate.of(sum(found), len(found)), "false_alarms": Rate.of(sum(alarms), len(alarms))}
    return {
        **{name: vars(rate) for name, rate in rates.items()},
        "repaired": len(repairs),
        "asr": _means([repair["asr"] for repair in repairs]),
        "accuracy": _means([repair["accuracy"] for repair in repairs]),
    }


def _means(pairs: Sequence[Sequence[float]]) -> list[float] | None:
    """The mean before and the mean after."""
    return [sum(side) / len(pairs) for side in zip(*pairs, strict=True)] if pairs else None


def _key(card: Mapping[str, Any]) -> Key:
    settings = {"mitigator": MITIGATOR, "images": IMAGES, "measured": MEASURED}
    return Key(
        card["sha256"], card["digests"]["test"], "gpu-zoo", VERSION, json.dumps(settings), seed=card["seed"]
    )


def _kept(store: Store, out: Path, job: Job) -> dict[str, Any] | None:
    """What an earlier run found about a model that is there."""
    card = finished(out, job)
    stored = None if card is None else store.get(_key(card))
    return None if stored is None else json.loads(stored.value)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--plan", type=Path, help="default: by device, gpu_zoo[_tiny].toml")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    plan = given.plan or PLANS[torch.device(given.device).type]
    jobs = plans.read(plan, device=given.device)
    content = run(jobs, given.data, given.out, given.budget)
    print(
        f"{given.out / RESULT}: {len(content['models'])} models, "
        f"{len(content['failed'])} failed, {len(content['left'])} left; "
        f"{content['seconds']:.0f} s"
    )


if __name__ == "__main__":
    main()
