"""Mutation of every reader: what one change in a valid file brings about.

    python -m benchmarks.mutation [--seconds 3600] [--seed 0] [--out results/mutation.json]

Small valid models of every format are changed by bytes and as their containers have it (JSON, zip,
safetensors, protocol buffers, pickles), and read by `mmbd.load` without the sandbox, in a process that is
forked for some hundred of them. A mutant is a seed and a number. Recorded are ends by a signal, hangs,
processor time beyond 10 s, memory beyond 500 MB more, other exceptions than the three that there are,
messages without the file's name or a way out, and whatever no reader has to do (processes, sockets, files
written, globals of pickles), by audit events. Runs go on where they ended; `--only N` reads one mutant.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import select
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from benchmarks.mutation import models, reading

OUT = Path("benchmarks/results/mutation.json")
BATCH = 400  # mutants a process
PROCESSOR, WALL = 30.0, 900.0  # seconds before a mutant is taken to hang
MEMORY = 4 << 30  # bytes of address space beyond what there is


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--only", type=int, help="read one mutant, and say what came of it")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    watched = reading.Watched()
    with tempfile.TemporaryDirectory() as place:
        for group in models.formats().values():  # what is imported late
            for number, model in enumerate(group):
                found = reading.read(model, Path(place) / f"warm{number}", watched)
                assert found["outcome"] in ("read", "Refused", "NotEvaluable"), found
        if arguments.only is not None:
            name, model = models.mutant(arguments.seed, arguments.only)
            print(name, json.dumps(reading.read(model, Path(place) / "one", watched), indent=1))
            return
        run(arguments.seconds, arguments.seed, arguments.out, Path(place), watched)


def run(seconds: float, seed: int, out: Path, place: Path, watched: reading.Watched) -> None:
    totals = _totals(out, seed)
    begun, before = time.monotonic(), totals["seconds"]
    while totals["seconds"] < seconds:
        batch(totals, place, watched)
        totals["seconds"] = round(before + time.monotonic() - begun, 1)
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = out.with_suffix(".partial")
        partial.write_text(json.dumps(totals, indent=1) + "\n")
        partial.rename(out)
        print(
            f"{totals['seconds']:.0f} s, {totals['mutants']} mutants, {len(totals['findings'])} findings",
            flush=True,
        )


def _totals(out: Path, seed: int) -> dict[str, Any]:
    if out.exists():
        found = json.loads(out.read_text())
        if found["seed"] == seed:
            return found
    versions = {"python": sys.version.split()[0], "torch": torch.__version__}
    return {
        "seed": seed,
        "versions": versions,
        "seconds": 0.0,
        "mutants": 0,
        "outcomes": {},
        "slowest": [],
        "largest": [],
        "findings": [],
    }


def batch(totals: dict[str, Any], place: Path, watched: reading.Watched) -> None:
    """Read so many mutants in a process of their own, or fewer where it ends early."""
    first = totals["mutants"]
    comes, goes = os.pipe()
    child = os.fork()
    if not child:
        os.close(comes)
        _work(first, totals["seed"], place, goes, watched)
        os._exit(0)
    os.close(goes)
    number, held = first, b""
    begun = time.monotonic(), _processor(child)
    while number < first + BATCH:
        ready, _, _ = select.select([comes], [], [], 1.0)
        if not ready:
            took = time.monotonic() - begun[0], _processor(child) - begun[1]
            if took[0] > WALL or took[1] > PROCESSOR:
                os.kill(child, signal.SIGKILL)
                _finding(totals, number, f"hang: {took[1]:.0f} s of processor time")
                number += 1
                break
            continue
        part = os.read(comes, 1 << 16)
        if not part:
            break
        *lines, held = (held + part).split(b"\n")
        for line in lines:
            _noted(totals, number, json.loads(line))
            number += 1
            begun = time.monotonic(), _processor(child)
    os.close(comes)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL
    if killed or (os.WIFEXITED(status) and os.WEXITSTATUS(status)):
        end = f"signal {os.WTERMSIG(status)}" if killed else f"exit code {os.WEXITSTATUS(status)}"
        _finding(totals, number, f"crash: {end}")
        number += 1
    totals["mutants"] = number


def _work(first: int, seed: int, place: Path, goes: int, watched: reading.Watched) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    for number in range(first, first + BATCH):
        name, model = models.mutant(seed, number)
        found = reading.read(model, place / f"m{number}", watched)
        os.write(goes, json.dumps({"format": name, **found}).encode() + b"\n")


def _noted(totals: dict[str, Any], number: int, found: dict[str, Any]) -> None:
    outcomes = Counter(totals["outcomes"].setdefault(found["format"], {}))
    outcomes[found["outcome"]] += 1
    totals["outcomes"][found["format"]] = dict(outcomes)
    for fault in found["faults"]:
        _finding(totals, number, fault, found["format"])
    for key, table in (("seconds", "slowest"), ("megabytes", "largest")):
        totals[table].append([round(found[key], 2), found["format"], number])
        totals[table] = sorted(totals[table], reverse=True)[:10]


def _finding(totals: dict[str, Any], number: int, what: str, kind: str | None = None) -> None:
    """Record a fault; ones that differ in names and numbers alone are one, with how often it came."""
    kind = kind or models.mutant(totals["seed"], number)[0]
    alike = re.sub(r"'[^']*'|\S*/\S*|\d+|\S*\.(?:safetensors|h5)", "_", what)[:100]
    for known in totals["findings"]:
        if known["format"] == kind and known["alike"] == alike:
            known["times"] += 1
            return
    totals["findings"].append({"number": number, "format": kind, "what": what, "alike": alike, "times": 1})
    print(f"{number} {kind}: {what}", flush=True)


def _processor(process: int) -> float:
    """Seconds of processor time that a process has had."""
    try:
        parts = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
