"""Calls functions in children of one process that has imported what they need: run by path, with any Python.

    python forking.py MODULE...

The modules are imported once. Every line on standard input is JSON: `call` ("module:function"), `arguments`
(which become sys.argv), `name` (sys.argv[0]), `folder` (a new one, for the child's home and temporary files,
which is its working folder, too), `canary` (a path), `seconds` and `memory` (bytes of address space more than
there is). The answer is a line of JSON: `code` (negative for a signal), `late`, `canary` (whether it is
there), `out`, `errors`, `seconds` (of processor time), `megabytes` (more than the parent has), and `left`
(what the child left in its folder). It needs the standard library alone, as it runs in the environments of
other tools.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

MOST = 4 << 20  # characters of output that are kept of each stream
FILE = 1 << 28  # bytes that a child may write into one file


def main() -> None:
    sys.path.pop(0)  # this file's folder
    for name in sys.argv[1:]:
        importlib.import_module(name)
    gc.freeze()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the modules print is no answer
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(done(json.loads(line))), file=answers, flush=True)


def done(task: dict[str, Any]) -> dict[str, Any]:
    folder = Path(task["folder"])
    (folder / "tmp").mkdir(parents=True)
    outputs = [folder.with_suffix(end) for end in (".out", ".err")]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = os.fork()
    if not child:
        _child(task, folder, outputs)
    until, late = time.monotonic() + task["seconds"], False
    while True:
        found, status, used = os.wait4(child, os.WNOHANG)
        if found:
            break
        if time.monotonic() > until:
            late = True
            with contextlib.suppress(OSError):
                os.killpg(child, signal.SIGKILL)
            _, status, used = os.wait4(child, 0)
            break
        time.sleep(0.005)
    with contextlib.suppress(OSError):
        os.killpg(child, signal.SIGKILL)  # what it has started and left behind
    time.sleep(0.01)
    texts = [path.read_text("utf-8", "replace") for path in outputs]
    for path in outputs:
        path.unlink()
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    return {
        "code": os.waitstatus_to_exitcode(status),
        "late": late,
        "canary": os.path.lexists(task["canary"]),
        "out": texts[0][-MOST:],
        "errors": texts[1][-MOST:],
        "seconds": round(used.ru_utime + used.ru_stime, 3),
        "megabytes": round((used.ru_maxrss - before) / 1024, 1),
        "left": [name for name in left if name != "tmp"],
    }


def _child(task: dict[str, Any], folder: Path, outputs: list[Path]) -> NoReturn:
    code: object = 1
    try:
        os.setsid()
        for number, path in enumerate(outputs, 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(folder)
        places = dict.fromkeys(("HOME", "HF_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), str(folder))
        os.environ.update(places, TMPDIR=str(folder / "tmp"), MMBD_CANARY=task["canary"])
        pages = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limits = {
            resource.RLIMIT_AS: pages + task["memory"],
            resource.RLIMIT_CPU: int(task["seconds"]) + 5,
            resource.RLIMIT_FSIZE: FILE,
            resource.RLIMIT_CORE: 0,
        }
        for which, limit in limits.items():
            resource.setrlimit(which, (limit, limit))
        module, _, name = task["call"].partition(":")
        sys.argv = [task["name"], *task["arguments"]]
        code = getattr(importlib.import_module(module), name)()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    if isinstance(code, str):
        with contextlib.suppress(Exception):
            os.write(2, code.encode())
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    main()
