"""The process that makes boxes: it forks one for each job, watches it, and says how it ended.

It has all modules loaded and one thread, and never sees what a stranger wrote: a box locks itself up before
it is given that, and is gone afterwards. It ends with its parent, and its boxes end with it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from mmbd.base.errors import Failed, NotEvaluable, Refused
from mmbd.base.sandbox import locks, talk

# A job: gets what it may ask with, and the request; returns the parts of its result.
Job = Callable[["Inside", dict[str, Any]], Sequence[talk.Bytes]]
MOST_REQUEST = 64 << 10
ANYTHING = {talk.GIVEN: 1 << 62}  # bytes; the parent is no stranger
END = b"end"  # of the box that is there
KINDS: dict[str, type[Exception]] = {
    "Refused": Refused,
    "Failed": Failed,
    "NotEvaluable": NotEvaluable,
    "MemoryError": MemoryError,
}


class Inside:
    """What a job in a box may use of the world: what it is given, and wishes that its parent may grant."""

    def __init__(self, ends: talk.Ends) -> None:
        self._ends = ends

    def given(self) -> bytearray:
        """The next thing that the parent gives."""
        return self._ends.receive(ANYTHING)[1]

    def given_bytes(self) -> bytes:
        """The next thing that the parent gives, where it is not to be written to."""
        return self._ends.receive_bytes(ANYTHING)

    def wish(self, words: bytes) -> bytearray:
        """What the parent gives to these words; Failed with its words where it gives nothing."""
        self._ends.send(talk.WISH, [words])
        answer = self.given()
        if answer.startswith(talk.FAILURE):
            raise Failed(answer[1:].decode("utf-8", "replace"))
        del answer[:1]
        return answer


def serve(control: socket.socket, parent: int) -> None:
    """Make a box for every request on `control`, one after the other, until that is closed."""
    locks.die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle
    _close_but([control.fileno()])
    if "torch" in sys.modules:  # whatever its threads were doing in the parent, there are none here
        sys.modules["torch"].set_num_threads(1)
    gc.freeze()
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, MOST_REQUEST, 2)
        if not request:
            return
        if request == END:  # of a box that has ended by itself meanwhile
            continue
        wanted: dict[str, Any] = json.loads(request)
        until = time.monotonic() + wanted["seconds"]
        server = os.getpid()
        with talk.Ends(*descriptors) as ends:
            child = os.fork()
            if not child:
                _live(ends, wanted, server)
        control.send(json.dumps(_watch(child, until, control)).encode())


def _watch(child: int, until: float, control: socket.socket) -> dict[str, Any]:
    """Wait for the end of a box, or end it when its time is over or its parent says so; how it ended."""
    waiting = select.poll()
    waiting.register(control.fileno(), select.POLLIN)
    ended = _end_of(child)
    if ended is not None:
        waiting.register(ended, select.POLLIN)
    late, found, status = False, 0, 0
    while not found:
        left = until - time.monotonic()
        events = dict(waiting.poll(max(0, 1000 * left if ended is not None else min(1000 * left, 20))))
        found, status = os.waitpid(child, os.WNOHANG)
        late = not found and time.monotonic() >= until
        if not found and (late or control.fileno() in events):
            os.kill(child, signal.SIGKILL)
            found, status = os.waitpid(child, 0)
    if ended is not None:
        os.close(ended)
    return {"code": os.waitstatus_to_exitcode(status), "late": late}


def _end_of(child: int) -> int | None:
    """What can be read from once a child has ended; None on kernels before 5.3."""
    try:
        return os.pidfd_open(child)
    except OSError:
        return None


def _close_but(kept: Sequence[int]) -> None:
    """Close every descriptor but these; the standard ones lead nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    start = 3
    for descriptor in [*sorted(kept), 1 << 20]:
        os.closerange(start, descriptor)
        start = descriptor + 1


def _live(ends: talk.Ends, wanted: dict[str, Any], parent: int) -> NoReturn:
    """The whole life of a box."""
    try:
        locks.die_with_parent(parent)
        _close_but([ends.comes, ends.goes])
        module, _, name = wanted["job"].partition(":")
        job: Job = getattr(importlib.import_module(module), name)
        sys.dont_write_bytecode = True
        limits = locks.Limits(wanted["memory"], wanted["seconds"], wanted["threads"])
        try:
            missing = locks.lock(limits, locks.libraries(own=wanted["own"]))
            ends.send(talk.LOCKS, [json.dumps(missing).encode()])
            ends.send(talk.RESULT, job(Inside(ends), wanted["request"]))
        except Exception as error:
            kind = next((name for name, each in KINDS.items() if isinstance(error, each)), "")
            words = str(error) if kind else f"{type(error).__name__}: {error}"
            ends.send(talk.FAILURE, [json.dumps([kind, words[: talk.MOST_WORDS // 8]]).encode()])
        os._exit(0)
    finally:
        os._exit(70)


def main(descriptor: int, parent: int, modules: Sequence[str]) -> None:
    """The server in a process of its own, with what a forked one has: these modules."""
    for module in modules:
        importlib.import_module(module)
    with socket.socket(fileno=descriptor) as control:
        serve(control, parent)
