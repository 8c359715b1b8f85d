"""The command line in a process of its own, without the seconds that it takes to import torch.

The first call starts one server, which imports what the command needs and runs none of it. Every call
forks a child of it, with descriptors, working folder, environment and limits of its own, that does
`python -m mmbd ARGUMENTS` to the end of the process: what is printed, written, left behind and exited with
is that of a process, whose interpreter has only begun earlier. What imports, or what comes before them,
is tested with `subprocess`.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import IO

GUARD = 600  # seconds; only against hanging
SERVER = Path(__file__).with_name("fork_server.py")


def mmbd(
    *arguments: object,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdout: int | IO[bytes] | None = None,
    closed: Sequence[int] = (),
    limits: Mapping[int, int] | None = None,
    warnings: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `mmbd ARGUMENTS` and wait for its end.

    Args:
        cwd: its working folder; by default this process's.
        env: its whole environment; by default this process's. Python's own variables come too late.
        stdout: where standard output goes; by default it is captured.
        closed: which of the descriptors 0, 1 and 2 it begins without.
        limits: limits of the process, by `resource.RLIMIT_...`.
        warnings: what happens to warnings, as after Python's -W.
    """
    task = {
        "arguments": [str(argument) for argument in arguments],
        "cwd": str(cwd or Path.cwd()),
        "env": dict(os.environ if env is None else env),
        "closed": list(closed),
        "limits": list((limits or {}).items()),
        "warnings": warnings,
    }
    server = _server()
    out, errors = os.pipe(), os.pipe()
    with Path(os.devnull).open("rb") as nothing, ThreadPoolExecutor(2) as readers:
        said = [readers.submit(_read, pipe[0]) for pipe in (out, errors)]
        there = out[1] if stdout is None else stdout if isinstance(stdout, int) else stdout.fileno()
        try:
            socket.send_fds(server, [b"."], [nothing.fileno(), there, errors[1]])
            server.sendall(json.dumps(task).encode() + b"\n")
        finally:
            os.close(out[1])
            os.close(errors[1])
        code = int(_line(server))
        printed, complained = (each.result(GUARD) for each in said)
    return subprocess.CompletedProcess(
        ["mmbd", *task["arguments"]], code, printed if stdout is None else None, complained
    )


def _read(descriptor: int) -> str:
    with open(descriptor, encoding="utf-8", errors="replace") as pipe:
        return pipe.read()


def _line(server: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        more = server.recv(64)
        assert more, "the server of processes has ended"
        line += more
    return line


@cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair()
    ours.settimeout(GUARD)
    command = [sys.executable, SERVER, str(theirs.fileno())]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=one_thread)
    theirs.close()

    def end() -> None:
        ours.close()  # which ends it
        process.wait()

    atexit.register(end)
    return ours
