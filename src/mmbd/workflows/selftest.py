"""Known answers: whether this installation, on this machine, still scans as it should.

Two small CIFAR-10 classifiers ship with the package, one clean and one with a badnet, beside what a
default scan said of them where they were made (`benchmarks/make_selftest.py`). The third known answer
is a pair of hostile files, written on the fly, of which nothing may run.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch

from mmbd.base.devices import usable
from mmbd.base.environment import environment
from mmbd.base.text import clean_text
from mmbd.detectors.scan import ScanOptions
from mmbd.formats.options import LoadOptions
from mmbd.workflows import scan_file as gate

SEED = 0
COLUMNS = ("maximum margin", "universal-perturbation gain")
# How far numbers may lie from those kept, as shares of the largest of their column. On one machine, other
# batches and instruction sets moved them by 9e-6, another library for convolutions by 1.6e-3.
ROUNDING, MOST = 1e-5, 0.02


@dataclass(frozen=True)
class Check:
    """One known answer: its name, whether it came out, what came out, and the seconds it took."""

    name: str
    passed: bool
    said: str
    seconds: float


@dataclass(frozen=True)
class Selftest:
    """What `selftest` found.

    Attributes:
        checks: one for every known answer.
        environment: versions and machine, by name.
        seconds: in all.
    """

    checks: tuple[Check, ...]
    environment: Mapping[str, str]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every known answer came out."""
        return all(check.passed for check in self.checks)

    def to_json(self) -> str:
        """All of it, as a JSON object."""
        checks = [vars(check) for check in self.checks]
        fields = {"passed": self.passed, "checks": checks, "environment": dict(self.environment)}
        return json.dumps(fields | {"seconds": self.seconds}, indent=1)


def selftest(*, device: torch.device | str = "cpu") -> Selftest:
    """Scan what the answers are known of: a backdoored network, a clean one and hostile files.

    It takes seconds, needs no network and no data, and writes nothing but to a temporary folder. An
    error on the way is an answer that did not come out.

    Args:
        device: where the networks run.

    Raises:
        ValueError: there is no such device.
    """
    usable(device)
    start = time.perf_counter()
    outcomes: dict[str, gate.Outcome] = {}
    checks = (
        _check("backdoored network", lambda: _network("backdoored", device, outcomes)),
        _check("clean network", lambda: _network("clean", device, outcomes)),
        _check("hostile files", _hostile),
        _check("numbers", lambda: _numbers(outcomes)),
    )
    return Selftest(checks, environment(), time.perf_counter() - start)


def _check(name: str, act: Callable[[], tuple[bool, str]]) -> Check:
    start = time.perf_counter()
    try:
        passed, said = act()
    except Exception as error:
        passed, said = False, gate.raised(error)
    return Check(name, passed, said, time.perf_counter() - start)


@contextmanager
def _shipped(name: str) -> Generator[Path]:
    with as_file(files("mmbd.workflows").joinpath("known_answers", name)) as path:
        yield path


def _answers() -> dict[str, Any]:
    with _shipped("answers.json") as path:
        return json.loads(path.read_text(encoding="utf-8"))


def _network(name: str, device: torch.device | str, outcomes: dict[str, gate.Outcome]) -> tuple[bool, str]:
    """Whether a shipped network is judged as is known, and in which words."""
    known = _answers()["models"][name]
    with _shipped(f"{name}.safetensors") as path:
        if hashlib.sha256(path.read_bytes()).hexdigest() != known["made"]["sha256"]:
            return False, "the file is not the one that was shipped"
        outcome = gate.scan_file(path, LoadOptions(device=device), ScanOptions(seed=SEED))
    outcomes[name] = outcome
    found, expected = (
        _verdict(verdict, targets)
        for verdict, targets in (
            (outcome.report.verdict, outcome.report.targets),
            (known["verdict"], known["targets"]),
        )
    )
    p = "" if outcome.report.p_value is None else f", p = {outcome.report.p_value:.2g}"
    if found == expected:
        return True, f"{found}{p}"
    reason = f" ({clean_text(outcome.report.reason, 400)})" if outcome.report.reason else ""
    return False, f"{found}{p}{reason}; expected {expected}"


def _verdict(verdict: str, targets: Any) -> str:
    return f"{verdict}, target class {', '.join(map(str, targets))}" if targets else verdict


def _numbers(outcomes: Mapping[str, gate.Outcome]) -> tuple[bool, str]:
    """Whether statistics are those that were kept, and if they differ, what else does."""
    answers = _answers()
    furthest = 0.0
    for name, known in answers["models"].items():
        if name not in outcomes:
            return False, f"the {name} network was not scanned"
        for column, kept in known["statistics"].items():
            measured = outcomes[name].report.finding.column(column)
            found = [] if measured is None else [value for value in measured.values if value is not None]
            if len(found) != len(kept):
                return False, f"the {name} network has classes without a {column}"
            largest = max(map(abs, kept))
            away = [abs(value - wanted) / largest for value, wanted in zip(found, kept, strict=True)]
            furthest = max(furthest, *away)
    if furthest <= ROUNDING:
        return True, f"equal to those kept, but for rounding ({furthest:.1g} of the largest)"
    return furthest <= MOST, (
        f"up to {furthest:.2g} of the largest away from those kept, where {MOST:g} is allowed; "
        f"{_difference(answers['made_by'])}"
    )


def _difference(made_by: Mapping[str, str]) -> str:
    """What is different here from where the kept numbers were made."""
    here = environment()
    others = [
        f"{what} {made_by[what]}, here {here[what].partition(',')[0] if what == 'processor' else here[what]}"
        for what in ("mmbd", "torch", "processor")
        if not here[what].startswith(made_by[what])
    ]
    if not others:
        return "they were made with the same versions and processor"
    return f"they were made with {'; '.join(others)}"


class Hostile:
    """What pickles as a call that writes a file, `marker`."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return open, (str(self.marker), "w")


def hostile_files(folder: Path, marker: Path) -> list[Path]:
    """A checkpoint and a bare pickle in `folder`, which write `marker` when Python unpickles them."""
    checkpoint, bare = folder / "checkpoint.pt", folder / "pickle.pkl"
    torch.save({"weight": torch.zeros(2, 2), "more": Hostile(marker)}, checkpoint)
    bare.write_bytes(pickle.dumps({"more": Hostile(marker)}))
    return [checkpoint, bare]


def _hostile() -> tuple[bool, str]:
    """Whether files that would run code are refused, and nothing in them is run."""
    with tempfile.TemporaryDirectory(prefix="mmbd-selftest-") as name:
        marker = Path(name) / "has-run"
        paths = hostile_files(Path(name), marker)
        loading = LoadOptions(arch="mlp", input_shape=(1, 4, 4))
        refused = sum(gate.scan_file(path, loading, ScanOptions()).code == gate.REFUSED for path in paths)
        ran = marker.exists()
    said = "CODE IN THEM WAS RUN" if ran else "nothing in them was run"
    return refused == len(paths) and not ran, f"{refused} of {len(paths)} refused, {said}"
