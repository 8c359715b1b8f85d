"""Real sandboxes: what gets out of one is one checked message, whatever is tried inside."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import escapes
from mmbd.base.errors import Failed, NotEvaluable, Refused
from mmbd.base.sandbox import client, landlock, locks, system_calls
from mmbd.base.sandbox.client import Gone, Sandbox

pytestmark = pytest.mark.skipif(not client.available(), reason=client.NO_SYSTEM)
SHORT = locks.Limits(seconds=2.0)
GUARD = 600  # seconds


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox(forked=True)
    yield made
    made.close()


def do(sandbox: Sandbox, job: Any, limits: locks.Limits | None = None, **request: Any) -> client.Answer:
    limits = limits or locks.Limits()
    return sandbox.do(f"helpers.escapes:{job.__name__}", request, limits=limits, most=1 << 20)


def still_works(sandbox: Sandbox) -> bool:
    return do(sandbox, escapes.fine).result == escapes.ANSWER


def test_a_job_computes_takes_wishes_and_answers(sandbox: Sandbox) -> None:
    def grant(wish: str) -> bytes:
        return f"{wish}!".encode()

    job = "helpers.escapes:fine"
    request = {"takes": True, "wishes": True}
    given = os.urandom(3 << 20)
    answer = sandbox.do(job, request | {"takes": False}, [], limits=locks.Limits(), most=1 << 20, grant=grant)
    assert answer.result == escapes.ANSWER + b"more!"
    answer = sandbox.do(job, {"takes": True}, [given], limits=locks.Limits(), most=4 << 20)
    assert answer.result == escapes.ANSWER + given


def test_what_the_system_lacks_is_said(sandbox: Sandbox) -> None:
    missing = do(sandbox, escapes.fine).missing
    assert ("landlock" in missing) == (landlock.abi() == 0)
    assert set(missing) <= {"landlock", "seccomp", "namespaces"} | {
        f"landlock for {part}" for part in ("TCP ports", "signals and abstract sockets")
    }


@pytest.mark.parametrize(
    ("job", "kind", "words"),
    [
        (escapes.refuses, Refused, "^a program$"),
        (escapes.cannot_judge, NotEvaluable, "^no logits$"),
        (escapes.breaks, Failed, r"sandbox raised KeyError: 'what\\x1b\[2J'$"),
    ],
)
def test_errors_inside_come_out_as_they_are(
    sandbox: Sandbox, job: Any, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words) as raised:
        do(sandbox, job)
    assert type(raised.value) is kind
    assert still_works(sandbox)


def test_a_wish_that_is_not_granted_fails_with_its_words(sandbox: Sandbox) -> None:
    def grant(wish: str) -> bytes:
        raise Failed(f"no {wish} for you")

    with pytest.raises(Failed, match=r"^no more for you$"):
        sandbox.do("helpers.escapes:fine", {"wishes": True}, limits=locks.Limits(), most=1 << 20, grant=grant)


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (escapes.opens_socket, "PermissionError"),
        (escapes.runs_program, "PermissionError"),
        (escapes.starts_process, "PermissionError"),
        (escapes.writes, "PermissionError"),
        (escapes.deletes, "PermissionError"),
        (escapes.kills, "PermissionError"),
        (escapes.traces, "PermissionError"),
        (escapes.signals_by_descriptor, "PermissionError"),
        (escapes.limits_another, "PermissionError"),
        (escapes.never_ends, "it took longer than 2.0 s and was ended"),
        (escapes.sleeps, "it took longer than 2.0 s and was ended"),
        (escapes.crashes, "it crashed"),
        (escapes.aborts, "it crashed"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_escapes_fail(sandbox: Sandbox, job: Any, words: str, tmp_path: Path) -> None:
    mine = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    kept = tmp_path / "kept"
    if job is not escapes.writes:
        kept.write_text("mine")
    limits = SHORT if "longer" in words else locks.Limits()
    try:
        with pytest.raises(Failed, match=words):
            do(sandbox, job, limits, path=str(kept), pid=mine.pid)
        assert mine.poll() is None
    finally:
        mine.communicate(b"\n", timeout=GUARD)
    assert not mine.returncode
    if job is escapes.writes:
        assert not kept.exists()
    else:
        assert kept.read_text() == "mine"
    assert still_works(sandbox)


@pytest.mark.skipif(not landlock.abi(), reason="this kernel has no landlock")
@pytest.mark.parametrize("path", ["", "/etc/passwd", "/proc/self/environ", "/proc/{own}/maps"])
def test_other_files_are_not_read(sandbox: Sandbox, path: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with pytest.raises(Failed, match="PermissionError"):
        do(sandbox, escapes.reads, path=path.format(own=os.getpid()) or str(secret))


def test_memory_has_a_limit(sandbox: Sandbox) -> None:
    with pytest.raises(Failed, match=r"wanted more memory .* --no-sandbox"):
        do(sandbox, escapes.takes_memory)
    assert still_works(sandbox)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="has no second set of numbers")
def test_calls_of_another_kind_of_machine_end_it(sandbox: Sandbox) -> None:
    with pytest.raises(Failed, match="it crashed"):
        do(sandbox, escapes.calls_by_other_numbers)


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (escapes.garbage, "no answer: it does not begin as a message does"),
        (escapes.huge, "no answer: it claims 1,152,921,504,606,846,976 bytes"),
        (escapes.short, "no answer: it ends in the middle"),
        (escapes.no_failure, "no answer: it is no JSON"),
        (escapes.other_failure, "no answer: its failure is none"),
        (escapes.wishes_unasked, "no answer: it does not begin"),
        (escapes.silent, "it gave no answer"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_no_answer_is_a_failure_that_says_so(sandbox: Sandbox, job: Any, words: str) -> None:
    with pytest.raises(Failed, match=words) as raised:
        do(sandbox, job)
    assert "--no-sandbox" in str(raised.value)
    assert still_works(sandbox)


def test_only_the_first_answer_counts(sandbox: Sandbox) -> None:
    assert do(sandbox, escapes.answers_twice).result == escapes.ANSWER
    assert still_works(sandbox)


def test_without_its_server_it_says_so() -> None:
    made = Sandbox(forked=True)
    os.kill(made._process, signal.SIGKILL)
    os.waitpid(made._process, 0)
    with pytest.raises(Gone, match="is gone"):
        do(made, escapes.fine)
    made.close()


PARENT = """
import os, sys, threading, time
sys.path[:0] = sys.argv[1:]
from mmbd.base.sandbox import locks
from mmbd.base.sandbox.client import Sandbox
def sleeps(inside, request):
    time.sleep(1e6)
made = Sandbox(forked=True)
do = lambda: made.do("__main__:sleeps", {}, limits=locks.Limits(seconds=900.0), most=9)
threading.Thread(target=do, daemon=True).start()
children = lambda pid: open(f"/proc/{pid}/task/{pid}/children").read().split()
while not children(made._process):
    time.sleep(0.01)
print(made._process, *children(made._process), flush=True)
os.kill(os.getpid(), 9)
"""


def test_it_dies_with_its_parent() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARENT, str(Path(client.__file__).parents[3])],
        capture_output=True,
        text=True,
        timeout=GUARD,
    )
    server, box = map(int, done.stdout.split())
    for pid in (server, box):
        while Path(f"/proc/{pid}/cmdline").is_file() and Path(f"/proc/{pid}/cmdline").read_bytes():
            pass  # on its way


@pytest.mark.parametrize("machine", system_calls.MACHINES)
def test_the_filter_is_short_enough_and_ends_in_a_verdict(machine: str) -> None:
    code = system_calls.filter_for(machine, 1)
    assert len(code) % 8 == 0
    assert len(code) // 8 <= 4096
    assert code[-8:-6] == b"\x06\0"
