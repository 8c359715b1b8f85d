"""The server behind `own_process`: imports once, and forks a child for every command; see there.

Run as `python fork_server.py DESCRIPTOR`, of a socket that brings three descriptors and a line of JSON
for every child, and takes its exit code back. The child falls through to the end of this file, so that
its interpreter ends as that of `python -m mmbd` does.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import runpy
import socket
import sys
import warnings
from typing import Any

# What a command takes, and nothing that has begun to compute: threads do not survive a fork.
NEEDED = (
    "mmbd.cli.commands mmbd.detectors.scan mmbd.evaluation mmbd.mitigators mmbd.render.save mmbd.workflows "
    "scipy.optimize scipy.stats torch.fx.experimental.symbolic_shapes"
)


def serve(requests: socket.socket) -> dict[str, Any] | None:
    """The task of the child in which this returns; None at the end of the server."""
    while True:
        _, descriptors, _, _ = socket.recv_fds(requests, 1, 3)
        if not descriptors:
            return None
        line = b""
        while not line.endswith(b"\n"):
            line += requests.recv(1 << 16)
        child = os.fork()
        if not child:
            requests.close()
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
                os.close(descriptor)
            return json.loads(line)
        for descriptor in descriptors:
            os.close(descriptor)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        requests.sendall(b"%d\n" % code)


def begin(task: dict[str, Any]) -> None:
    """Make this process one that has just been started for the task."""
    written = {"errors": "backslashreplace", "buffering": 1}
    streams = {"stdin": ("r", {}), "stdout": ("w", {}), "stderr": ("w", written)}
    for number, (name, (mode, options)) in enumerate(streams.items()):
        stream = None  # as Python has it for a descriptor that is closed
        if number in task["closed"]:
            os.close(number)
        else:
            stream = open(number, mode, closefd=False, **options)  # noqa: SIM115 - as long as it runs
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.chdir(task["cwd"])
    os.environ.clear()
    os.environ.update(task["env"])
    for which, limit in task["limits"]:
        resource.setrlimit(which, (limit, limit))
    if task["warnings"] is not None:
        warnings.simplefilter(task["warnings"])
        sys.warnoptions.append(task["warnings"])  # processes of its own have them from there
    sys.argv = ["mmbd", *task["arguments"]]


del sys.path[0]  # this file's folder: the command has none of its own there either
for name in NEEDED.split():
    importlib.import_module(name)
gc.freeze()  # what is there is not looked through, and so copied, in every child
task = serve(socket.socket(fileno=int(sys.argv[1])))
if task is not None:
    begin(task)
    runpy.run_module("mmbd", run_name="__main__", alter_sys=True)
