"""What somebody's code would try in a sandbox, each a job; and what may come out instead of an answer."""

from __future__ import annotations

import ctypes
import json
import math
import os
import signal
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

import torch

from mmbd.base.errors import NotEvaluable, Refused
from mmbd.base.sandbox import talk
from mmbd.base.sandbox.server import Inside

ANSWER = b"an answer"


def fine(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    """What a job may do: compute, start threads, import, take, wish, answer."""
    import xml.dom.minidom  # noqa: F401 - which nobody has imported before

    thread = threading.Thread(target=lambda: torch.ones(9).sum())
    thread.start()
    thread.join()
    wished = inside.wish(b"more") if request.get("wishes") else b""
    return [ANSWER, bytes(inside.given()) if request.get("takes") else b"", bytes(wished)]


def refuses(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    raise Refused("a program")


def cannot_judge(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    raise NotEvaluable("no logits")


def breaks(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    raise KeyError("what\x1b[2J")


# Escapes. Where they worked, they would answer.


def opens_socket(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    socket.socket()
    return [ANSWER]


def runs_program(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    os.execv("/bin/sh", ["sh", "-c", f"touch {request['path']}"])


def starts_process(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    os.fork()
    return [ANSWER]


def writes(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    Path(request["path"]).write_text("here")
    return [ANSWER]


def reads(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    return [Path(request["path"]).read_bytes()]


def deletes(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    Path(request["path"]).unlink()
    return [ANSWER]


def kills(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    os.kill(request["pid"], signal.SIGTERM)
    return [ANSWER]


def traces(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    attach = 16
    if ctypes.CDLL(None, use_errno=True).ptrace(attach, request["pid"], None, None) < 0:
        raise PermissionError(ctypes.get_errno(), "ptrace")
    return [ANSWER]


def takes_memory(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    return [ANSWER, bytes([len(bytearray(20 << 30)) & 1])]


def never_ends(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    while True:
        pass


def sleeps(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    time.sleep(1e6)
    return [ANSWER]


def signals_by_descriptor(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    import fcntl

    own = 8
    fcntl.fcntl(inside._ends.comes, own, request["pid"])
    return [ANSWER]


def limits_another(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    import resource

    resource.prlimit(request["pid"], resource.RLIMIT_NOFILE, (3, 3))
    return [ANSWER]


def calls_by_other_numbers(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    ctypes.CDLL(None).syscall(0x40000000 | 39)  # getpid of x32
    return [ANSWER]


def crashes(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    ctypes.string_at(0)
    return [ANSWER]


def aborts(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    os.abort()


# What comes out of it, once it does as somebody's code wants.


def raw(inside: Inside, data: bytes) -> list[bytes]:
    os.write(inside._ends.goes, data)
    os._exit(0)


def garbage(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    return raw(inside, b"<html>" * 99)


def huge(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    return raw(inside, talk.HEAD.pack(talk.RESULT, 1 << 60))


def short(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    return raw(inside, talk.HEAD.pack(talk.RESULT, 99) + ANSWER)


def no_failure(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    return raw(inside, talk.HEAD.pack(talk.FAILURE, 3) + b"{}[")


def other_failure(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    words = json.dumps(["SystemExit", "0"]).encode()
    return raw(inside, talk.HEAD.pack(talk.FAILURE, len(words)) + words)


def wishes_unasked(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    return raw(inside, talk.HEAD.pack(talk.WISH, 3) + b"all")


def silent(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    os._exit(0)


def answers_twice(inside: Inside, request: dict[str, Any]) -> list[bytes]:
    inside._ends.send(talk.RESULT, [ANSWER])
    inside._ends.send(talk.RESULT, [b"another"])
    return [math.inf.hex().encode(), struct.pack("<d", math.nan)]
