"""What two scans side by side on one machine lose against one alone, by how torch's threads wait.

    python -m benchmarks.side_by_side [--model cnn] [--turns 3] [--out FILE.json]

Every scan is a process of its own. A turn runs one scan alone and then two at once, in every setting, so that
other work on the machine meets all of them; the median of the turns' ratios counts. `loss` is by how much
longer two scans at once take than one alone with half of the cores, which on an idle machine is each one's
share. `gain` is by how much sooner two scans at once are done than one after the other with all cores. The
command line waits passively unless OMP_WAIT_POLICY says otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

CORES = len(os.sched_getaffinity(0))
SETTINGS: dict[str, dict[str, str]] = {
    "torch's own: all cores, spinning": {},
    "all cores, passive waiting": {"OMP_WAIT_POLICY": "passive"},
    "half of the cores each": {"OMP_NUM_THREADS": str(max(1, CORES // 2))},
}


def one(model: str) -> None:
    """Scan once, when told to; prints the seconds of the scan alone."""
    import mmbd
    from benchmarks.scan_speed import SHAPE, network

    classifier = mmbd.Classifier(network(model, 10), input_shape=SHAPE)
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    mmbd.scan(classifier, restarts=1, universal=False, null="bootstrap")
    print(time.perf_counter() - start, flush=True)


def scans(model: str, count: int, setting: dict[str, str]) -> float:
    """The seconds that so many scans take that begin at once: the mean of them."""
    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in names} | setting
    command = [sys.executable, "-m", "benchmarks.side_by_side", "--one", model]
    started = [
        subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=environment) for _ in range(count)
    ]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return sum(float(process.communicate()[0]) for process in started) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="cnn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--one", metavar="MODEL")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.one:
        one(given.one)
        return
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in SETTINGS}
    for turn in range(given.turns):
        for name, setting in SETTINGS.items():
            seconds[name].append((scans(given.model, 1, setting), scans(given.model, 2, setting)))
            print(turn, name, *(f"{value:.2f} s" for value in seconds[name][-1]), flush=True)
    alone = [pair[0] for pair in seconds["half of the cores each"]]
    found: dict[str, Any] = {}
    for name, pairs in seconds.items():
        found[name] = {
            "alone": median(pair[0] for pair in pairs),
            "two at once": median(pair[1] for pair in pairs),
            "loss": median(pair[1] / own for pair, own in zip(pairs, alone, strict=True)) - 1,
            "gain": 1 - median(pair[1] / (2 * pair[0]) for pair in pairs),
        }
    from mmbd.base.environment import environment

    load = os.getloadavg()
    result = {"model": given.model, "turns": given.turns, "cores": CORES, "load": load, "settings": found}
    text = json.dumps(result | {"environment": environment()}, indent=1)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
