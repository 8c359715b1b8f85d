"""One mutant, read as `mmbd.load` reads it: what came of it, and everything that should not have."""

from __future__ import annotations

import resource
import shutil
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

import mmbd
from benchmarks.hostile.never import NEVER, WRITING
from benchmarks.hostile.steps import has_step, steers
from benchmarks.hostile.valid import Valid
from mmbd.base.errors import Failed, NotEvaluable, Refused

SECONDS = 10.0  # of processor time
MEGABYTES = 500.0  # more than the process has had


class Watched:
    """What the process does while it is on, of what no reader has to do."""

    def __init__(self) -> None:
        self.on, self.seen = False, list[str]()
        sys.addaudithook(self._hook)  # for as long as the process lives

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event.startswith(NEVER) and not (event == "ctypes.dlopen" and arguments == (None,)):
            self.seen.append(f"{event} {arguments!r:.200}")
        elif event == "open" and _writes(arguments[2]) and "__pycache__" not in str(arguments[0]):
            self.seen.append(f"open {arguments!r:.200}")


def _writes(flags: object) -> bool:
    return isinstance(flags, int) and bool(flags & WRITING)


def peak() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read(model: Valid, folder: Path, watched: Watched) -> dict[str, Any]:
    """Write a model's files into a folder that is new for it, load it, and take them away.

    Returns:
        `outcome`: "read", "Refused", "Failed" or "NotEvaluable"; `faults`: what is wrong, in words; `seconds`
        of processor time; `megabytes` more than the process has had before.
    """
    folder.mkdir()
    path = model.write(folder)
    before, start = peak(), time.process_time()
    outcome, message, faults = "read", "", list[str]()
    watched.seen.clear()
    watched.on = True
    try:
        loaded = mmbd.load(path, **model.options, sandbox=False)
        _asked(loaded)
    except (Refused, Failed, NotEvaluable) as error:
        outcome, message = type(error).__name__, str(error)
    except BaseException as error:  # whatever it is, it is a fault
        outcome = "raised"
        places = [
            f"{Path(each.filename).name}:{each.lineno}" for each in traceback.extract_tb(error.__traceback__)
        ]
        faults.append(f"traceback: {type(error).__name__}: {str(error)[:200]} at {' '.join(places[-5:])}")
    finally:
        watched.on = False
    seconds, more = time.process_time() - start, peak() - before
    if message:
        faults += [f"message with {one}" for one in steers(message)]
        if not message.startswith(str(folder)):
            faults.append(f"message without the file's name: {message[:300]}")
        if not has_step(message):
            faults.append(f"message without a way out: {message[-300:]}")
        if len(message) > 5000:
            faults.append(f"message of {len(message)} characters")
    faults += [f"did: {each}" for each in watched.seen[:3]]
    if seconds > SECONDS:
        faults.append(f"took {seconds:.1f} s")
    if more > MEGABYTES:
        faults.append(f"took {more:.0f} MB")
    if sorted(each.name for each in folder.iterdir()) != sorted(model.files):
        faults.append("left something on disk")
    shutil.rmtree(folder, ignore_errors=True)
    return {"outcome": outcome, "faults": faults, "seconds": seconds, "megabytes": more}


def _asked(loaded: Any) -> None:
    """One forward and backward pass, which may fail but not crash."""
    classifier = loaded.classifier
    inputs = torch.rand(2, *classifier.domain.shape, requires_grad=True)
    with suppress(Exception):
        answers = classifier.model(inputs)
        if isinstance(answers, torch.Tensor) and answers.requires_grad:
            torch.autograd.grad(answers.sum(), inputs, allow_unused=True)
