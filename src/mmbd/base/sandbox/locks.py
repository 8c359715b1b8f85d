"""What a process does to itself before it touches what a stranger wrote: every lock that the system has.

Locks stay, and pass to whatever the process starts. What the system lacks is named, so that whoever gets an
answer from the process knows how it was kept.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mmbd.base.sandbox import landlock, system_calls

DIE_WITH_PARENT, SET_SECCOMP, CAPABILITY_DROP, NO_NEW_PRIVILEGES = 1, 22, 24, 38  # of prctl
FILTER = 2
CAPSET = {"x86_64": 126, "aarch64": 91}
CAPABILITIES_3 = 0x20080522
USER, NETWORK, IPC = 0x10000000, 0x40000000, 0x08000000  # namespaces
SHARED_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
MOST_DESCRIPTORS = 256


@dataclass(frozen=True)
class Limits:
    """What a process in a box may take.

    Args:
        memory: bytes of address space beyond what it has at the start.
        seconds: of time on the clock, and of processor time for every thread.
        threads: how many threads it may compute with.
    """

    memory: int = 1 << 30
    seconds: float = 60.0
    threads: int = 1


def die_with_parent(parent: int) -> None:
    """End this process when the one that started it, number `parent`, ends; at once if it has already."""
    _libc().prctl(DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def lock(limits: Limits, readable: Iterable[str]) -> tuple[str, ...]:
    """Lock this process up for good; it must have one thread.

    Args:
        limits: what it may take.
        readable: the folders and files that it may still read: see `libraries`.

    Returns:
        The locks that this system does not have, in words; empty where it has all.

    Raises:
        OSError: limits cannot be set, or no_new_privs; nothing is safe then.
    """
    missing: list[str] = []
    _limit(limits)
    libc = _libc()
    if not _alone(libc):
        missing.append("namespaces")
    _drop_capabilities(libc)
    if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs cannot be set")
    try:
        missing += [f"landlock for {part}" for part in landlock.restrict(readable)]
    except OSError:
        missing.append("landlock")
    if not _filtered(libc):
        missing.append("seccomp")
    return tuple(missing)


def libraries(*, own: bool = False) -> list[str]:
    """What Python reads when it imports: its own and installed packages, and shared libraries.

    Args:
        own: whatever else modules are imported from, too.
    """
    found = [str(Path(os.__file__).parents[1])]  # with what Python itself shares, where it has its own
    for path in filter(None, sys.path):
        if own or Path(path).name in ("site-packages", "dist-packages", "lib-dynload"):
            found.append(path)
        elif (package := Path(path, "mmbd")) in Path(__file__).parents:
            found.append(str(package))
    return list(dict.fromkeys((*found, *SHARED_LIBRARIES)))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _limit(limits: Limits) -> None:
    import resource

    now = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    processor = round(limits.seconds * limits.threads) + 1
    for what, most in (
        (resource.RLIMIT_AS, now + limits.memory),
        (resource.RLIMIT_CPU, processor),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, MOST_DESCRIPTORS),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def _alone(libc: ctypes.CDLL) -> bool:
    """A network, shared memory and users of its own, where processes may have them."""
    return not libc.unshare(USER | NETWORK | IPC)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Give up what root may do; without rights, this changes nothing."""
    number = CAPSET.get(os.uname().machine)
    for capability in range(64):
        libc.prctl(CAPABILITY_DROP, capability, 0, 0, 0)
    if number is not None:
        libc.syscall(number, struct.pack("<Ii", CAPABILITIES_3, 0), struct.pack("<6I", *([0] * 6)))


def _filtered(libc: ctypes.CDLL) -> bool:
    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    machine = os.uname().machine
    if not system_calls.known(machine):
        return False
    code = system_calls.filter_for(machine, os.getpid())
    program = Program(len(code) // 8, code)
    return not libc.prctl(SET_SECCOMP, FILTER, ctypes.byref(program), 0, 0)
