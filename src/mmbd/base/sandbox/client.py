"""Jobs on what strangers wrote, done in a process that is locked up and gone afterwards.

Ordinarily the process that makes the boxes is forked when a command starts: that takes hundredths of a
second, and nothing runs beside it yet. Where other threads of Python run, one is started anew, which takes
as long as importing torch.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from mmbd.base.errors import Failed
from mmbd.base.sandbox import locks, server, system_calls, talk
from mmbd.base.text import clean_text, seconds

GRACE = 10.0  # seconds beyond a limit, in which the server says what happened
NO_SYSTEM = "boxes are built on Linux alone, on x86-64 and 64-bit ARM"
WAY_OUT = (
    "Do not use the file unless you know where it comes from; where you do, --no-sandbox (in Python "
    "sandbox=False) reads it without these limits"
)
MOST_WISH = 4 << 10  # bytes
Grant = Callable[[str], talk.Bytes]


@dataclass(frozen=True)
class Answer:
    """What came out of a box: the bytes of the result, unchecked, and the locks that it did not have."""

    result: bytearray
    missing: tuple[str, ...]


class Gone(Failed):
    """There is no server any more: somebody ended it, or the thread that had started it is over."""


class _Mute(Exception):
    """A box without an answer; `silent` if it just ended, or had to be ended, and how it did tells why."""

    def __init__(self, words: str, *, silent: bool = False) -> None:
        super().__init__(words)
        self.silent = silent


def available() -> bool:
    """Whether this system may have boxes; one that has then says itself which locks it lacks."""
    return sys.platform == "linux" and system_calls.known()


class Sandbox:
    """Has jobs done, one after the other, each in a process of its own that a server process makes.

    `close` ends the server; so does the end of this process, however that comes.
    """

    def __init__(self, modules: Sequence[str] = (), *, forked: bool | None = None) -> None:
        """Start the server.

        Args:
            modules: what it is to have loaded; a forked one has all that this process has.
            forked: whether it is forked; by default where this is Python's only thread.

        Raises:
            Failed: this system cannot have boxes.
        """
        if not available():
            raise Failed(f"no sandbox: {NO_SYSTEM}")
        self._turn = threading.Lock()
        self.owner = os.getpid()  # a process that it forks later must not use the same server
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        alone = threading.active_count() == 1
        with theirs:
            start = _fork if forked or (forked is None and alone) else _spawn
            self._process = start(theirs, modules)

    def do(
        self,
        job: str,
        request: Mapping[str, Any],
        given: Sequence[talk.Bytes] = (),
        *,
        limits: locks.Limits,
        most: int,
        grant: Grant | None = None,
        own: bool = False,
        advice: str = WAY_OUT,
    ) -> Answer:
        """Have a job done in a box of its own.

        Args:
            job: the function that does it, as "module:name"; see `server.Job`.
            request: what it is told, as JSON.
            given: what it is given, in this order.
            limits: of the box.
            most: bytes of the result.
            grant: what the box gets to a wish; raises Failed where nothing.
            own: whether the box may read whatever modules are imported from.
            advice: what to do where it gives no answer, for the error.

        Raises:
            Refused, NotEvaluable: as the job raised it.
            Failed: so did the job; or the box was ended for the time or the memory that it took or for
                what it tried, or what it gave is no answer.
            Gone: there is no server any more.
        """
        header: dict[str, Any] = {"job": job, "request": request, "own": own}
        header |= {"memory": limits.memory, "seconds": limits.seconds, "threads": limits.threads}
        until = time.monotonic() + limits.seconds + GRACE
        with self._turn, _pipes() as (ours, theirs):
            try:
                with theirs:
                    wanted = json.dumps(header).encode()
                    socket.send_fds(self._control, [wanted], [theirs.comes, theirs.goes])
            except OSError as error:
                raise Gone(f"the process that makes sandboxes is gone ({error}): start again") from None
            try:
                return _talk(ours, given, most, grant, until)
            except _Mute as error:
                mute = error
            finally:
                ended = self._end(until)
            why = (_why(ended, limits) if mute.silent else None) or str(mute)
        raise Failed(f"read in a sandbox, {why}. {advice}")

    def _end(self, until: float) -> dict[str, Any]:
        """End the box, unless it has ended; returns what the server says of its end."""
        self._control.settimeout(max(GRACE, until - time.monotonic()))
        try:
            self._control.send(server.END)
            return json.loads(self._control.recv(talk.MOST_WORDS) or b"{}")
        except (OSError, ValueError):
            return {}

    def close(self) -> None:
        """End the server, and the box that it may have."""
        self._control.close()
        with suppress(OSError):
            os.kill(self._process, signal.SIGKILL)
            os.waitpid(self._process, 0)


def _fork(theirs: socket.socket, _: Sequence[str]) -> int:
    parent = os.getpid()
    with warnings.catch_warnings():
        # Of other threads, which may hold locks. Those of numerical libraries wait, and hold none.
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if process:
        return process
    try:
        server.serve(theirs, parent)
    finally:
        os._exit(0)


def _spawn(theirs: socket.socket, modules: Sequence[str]) -> int:
    code = (
        "import json, sys; given = json.loads(sys.argv[1]); sys.path[:] = given['path']; "
        "from mmbd.base.sandbox import server; "
        "server.main(given['control'], given['parent'], given['modules'])"
    )
    given: dict[str, Any] = {"control": theirs.fileno(), "parent": os.getpid()}
    given |= {"path": sys.path, "modules": [*modules]}
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    process = subprocess.Popen(  # noqa: S603 - this same Python, and its own code
        [sys.executable, "-P", "-c", code, json.dumps(given)],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        env=os.environ | one,
        start_new_session=True,
    )
    process.returncode = 0  # `close` waits for it
    return process.pid


@contextmanager
def _pipes() -> Generator[tuple[talk.Ends, talk.Ends]]:
    """This process's ends of two pipes, and the box's, which whoever gets them closes."""
    down, up = talk.pipe(), talk.pipe()
    with talk.Ends(up[0], down[1]) as ours:
        os.set_blocking(ours.comes, False)
        os.set_blocking(ours.goes, False)
        yield ours, talk.Ends(down[0], up[1])


def _talk(
    ours: talk.Ends, given: Sequence[talk.Bytes], most: int, grant: Grant | None, until: float
) -> Answer:
    """Give the box what it is to have, grant its wishes, and take its answer."""
    expected = {talk.FAILURE: talk.MOST_WORDS, talk.RESULT: most}
    if grant is not None:
        expected[talk.WISH] = MOST_WISH
    try:
        first = ours.receive({talk.LOCKS: MOST_WISH, talk.FAILURE: talk.MOST_WORDS}, until)
        if first[0] == talk.FAILURE:
            raise _failure(first[1])
        missing = tuple(clean_text(name) for name in _texts(first[1]))
        with suppress(BrokenPipeError):  # it may have failed meanwhile, and says so
            for part in given:
                ours.send(talk.GIVEN, [part], until)
        while True:
            sign, said = ours.receive(expected, until)
            if sign == talk.RESULT:
                return Answer(said, missing)
            if sign == talk.FAILURE:
                raise _failure(said)
            ours.send(talk.GIVEN, _granted(grant, said), until)
    except (EOFError, BrokenPipeError, talk.Late):
        raise _Mute("it gave no answer", silent=True) from None
    except talk.Garbled as error:
        raise _Mute(f"what came out of it is no answer: {error}") from None


def _granted(grant: Grant | None, wish: bytearray) -> list[talk.Bytes]:
    try:
        words = wish.decode("utf-8")
        return [talk.RESULT, grant(words) if grant is not None else b""]
    except UnicodeDecodeError:
        raise talk.Garbled("its wish is no text") from None
    except Failed as error:
        return [talk.FAILURE, str(error).encode("utf-8", "replace")]


def _failure(said: bytearray) -> Exception:
    found = _texts(said)
    if len(found) != 2 or found[0] not in ("", *server.KINDS):
        raise talk.Garbled("its failure is none")
    if found[0] == "MemoryError":
        return _Mute("it wanted more memory than anything of its size needs")
    words = clean_text(found[1], talk.MOST_WORDS)
    return server.KINDS[found[0]](words) if found[0] else Failed(f"reading it in a sandbox raised {words}")


def _texts(said: bytearray) -> list[str]:
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        raise talk.Garbled("it is no JSON") from None
    if type(found) is not list or not all(type(each) is str for each in found):
        raise talk.Garbled("it is no list of texts")
    return found


def _why(ended: Mapping[str, Any], limits: locks.Limits) -> str | None:
    """Why a box ended without a word, by what the server says."""
    code = ended.get("code")
    if ended.get("late") or code == -signal.SIGXCPU:
        return f"it took longer than {seconds(limits.seconds)} and was ended"
    if code == -signal.SIGKILL:
        return "it was killed (for want of memory?)"
    if isinstance(code, int) and code < 0:
        return f"it crashed ({signal.strsignal(-code) or -code})"
    return None
