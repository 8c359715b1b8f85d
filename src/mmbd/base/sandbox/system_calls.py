"""The system calls that a process in a box is denied, as a filter that the kernel runs (seccomp-BPF).

A deny list, and so no proof: what is on it has no use in reading a file or searching a network and could
reach another process, the network, a file or the kernel's rarer parts. Calls that are newer than the list
do not exist for the process. Linux on x86-64 and on 64-bit ARM.
"""

from __future__ import annotations

import os
import struct

# A call's name, its number on x86-64, and on 64-bit ARM; a dash where it does not exist.
PROCESSES = """fork 57 -, vfork 58 -, execve 59 221, execveat 322 281, ptrace 101 117, process_vm_readv 310
270, process_vm_writev 311 271, kcmp 312 272, kill 62 129, tkill 200 130, rt_sigqueueinfo 129 138,
rt_tgsigqueueinfo 297 240, pidfd_open 434 434, pidfd_getfd 438 438, pidfd_send_signal 424 424,
process_madvise 440 440, process_mrelease 448 448, setpgid 109 154, setsid 112 157, setpriority 141 140,
sched_setscheduler 144 119, sched_setparam 142 118, sched_setattr 314 274, sched_setaffinity 203 122,
ioprio_set 251 30, migrate_pages 256 238, move_pages 279 239"""
NETWORK = """socket 41 198, socketpair 53 199, connect 42 203, bind 49 200, listen 50 201, accept 43 202,
accept4 288 242, sendto 44 206, sendmsg 46 211, sendmmsg 307 269, recvmsg 47 212, recvmmsg 299 243, shutdown
48 210, setsockopt 54 208"""
FILES = """creat 85 -, unlink 87 -, unlinkat 263 35, rename 82 -, renameat 264 38, renameat2 316 276, mkdir
83 -, mkdirat 258 34, rmdir 84 -, link 86 -, linkat 265 37, symlink 88 -, symlinkat 266 36, mknod 133 -,
mknodat 259 33, chmod 90 -, fchmod 91 52, fchmodat 268 53, chown 92 -, fchown 93 55, lchown 94 -, fchownat
260 54, truncate 76 45, ftruncate 77 46, fallocate 285 47, utime 132 -, utimes 235 -, utimensat 280 88,
futimesat 261 -, setxattr 188 5, lsetxattr 189 6, fsetxattr 190 7, removexattr 197 14, lremovexattr 198 15,
fremovexattr 199 16, name_to_handle_at 303 264, open_by_handle_at 304 265, inotify_init 253 -, inotify_init1
294 26, inotify_add_watch 254 27, fanotify_init 300 262, fanotify_mark 301 263"""
MOUNTS = """mount 165 40, umount2 166 39, pivot_root 155 41, chroot 161 51, move_mount 429 429, open_tree
428 428, fsopen 430 430, fsconfig 431 431, fsmount 432 432, fspick 433 433, mount_setattr 442 442, swapon
167 224, swapoff 168 225, quotactl 179 60, quotactl_fd 443 443, unshare 272 97, setns 308 268"""
SHARED = """shmget 29 194, shmat 30 196, shmctl 31 195, shmdt 67 197, semget 64 190, semop 65 193, semctl 66
191, semtimedop 220 192, msgget 68 186, msgsnd 69 189, msgrcv 70 188, msgctl 71 187, mq_open 240 180,
mq_unlink 241 181, mq_timedsend 242 182, mq_timedreceive 243 183, mq_notify 244 184, mq_getsetattr 245 185,
memfd_create 319 279, memfd_secret 447 447"""
KERNEL = """io_uring_setup 425 425, io_uring_enter 426 426, io_uring_register 427 427, io_setup 206 0,
io_submit 209 2, bpf 321 280, perf_event_open 298 241, userfaultfd 323 282, add_key 248 217, request_key 249
218, keyctl 250 219, init_module 175 105, finit_module 313 273, delete_module 176 106, kexec_load 246 104,
kexec_file_load 320 294, reboot 169 142, syslog 103 116, acct 163 89, personality 135 92, sethostname 170
161, setdomainname 171 162, settimeofday 164 170, clock_settime 227 112, adjtimex 159 171, clock_adjtime 305
266, iopl 172 -, ioperm 173 -, modify_ldt 154 -, lookup_dcookie 212 18, vhangup 153 58, uselib 134 -,
nfsservctl 180 42"""
IDENTITY = """setuid 105 146, setgid 106 144, setreuid 113 145, setregid 114 143, setresuid 117 147,
setresgid 119 149, setfsuid 122 151, setfsgid 123 152, setgroups 116 159, capset 126 91"""
DENIED = ", ".join((PROCESSES, NETWORK, FILES, MOUNTS, SHARED, KERNEL, IDENTITY))
# Those that are looked at more closely; `filter_for` says how.
OTHERS = """clone 56 220, clone3 435 435, open 2 -, openat 257 56, openat2 437 437, fcntl 72 25, tgkill 234
131, prlimit64 302 261, ioctl 16 29"""
NEWEST = 450  # from here on both have the same numbers, and the list knows none

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # and the kernel's word for them
OTHER_ABI = 0x40000000  # x32, whose calls have other numbers

LOAD, AT_LEAST, EQUAL, ANY_BIT, MORE, RETURN = 0x20, 0x35, 0x15, 0x45, 0x25, 0x06
NUMBER, MACHINE, ARGUMENTS = 0, 4, 16  # where they lie in what the filter looks at
ALLOW, KILL = 0x7FFF0000, 0x80000000
NOT_PERMITTED, NO_SUCH_CALL = 0x00050000 | 1, 0x00050000 | 38  # EPERM, ENOSYS

THREAD = 0x00010000  # clone: a thread of this process and no process of its own
WRITES = 0o3 | 0o100 | 0o1000 | 0o20000000  # open: for writing, creating, cutting; a file without a name
OWNERS = (8, 10, 15)  # fcntl: who gets which signal (F_SETOWN, F_SETSIG, F_SETOWN_EX)
TYPING = (0x5412, 0x541C)  # ioctl: as if typed at the terminal (TIOCSTI, TIOCLINUX)


def numbers(listed: str, machine: str) -> dict[str, int]:
    """The numbers on this machine of calls that are listed as above, by name."""
    column = MACHINES[machine][0]
    rows = (entry.split() for entry in listed.split(","))
    return {name: int(each[column]) for name, *each in rows if each[column] != "-"}


def filter_for(machine: str, pid: int) -> bytes:
    """The filter for a process of this number, as an array of `struct sock_filter`.

    Args:
        machine: as `platform.machine()` says it, a name in MACHINES.
        pid: whose own threads may be signalled, as abort() does.
    """
    other = numbers(OTHERS, machine)
    code = [
        _does(LOAD, MACHINE),
        _if(EQUAL, MACHINES[machine][1], 1, 0),
        _does(RETURN, KILL),
        _does(LOAD, NUMBER),
        _if(AT_LEAST, OTHER_ABI, 0, 1),
        _does(RETURN, KILL),
        _if(MORE, NEWEST, 0, 1),
        _does(RETURN, NO_SUCH_CALL),
    ]
    for name in ("clone3", "openat2"):  # their flags lie in memory; without them, libraries take the older
        code += [_if(EQUAL, other[name], 0, 1), _does(RETURN, NO_SUCH_CALL)]
    for number in numbers(DENIED, machine).values():
        code += [_if(EQUAL, number, 0, 1), _does(RETURN, NOT_PERMITTED)]
    code += _argument(other["clone"], 0, [_if(ANY_BIT, THREAD, 0, 1)])
    code += _argument(other["openat"], 2, [_if(ANY_BIT, WRITES, 1, 0)])
    if "open" in other:
        code += _argument(other["open"], 1, [_if(ANY_BIT, WRITES, 1, 0)])
    code += _argument(other["tgkill"], 0, [_if(EQUAL, pid, 0, 1)])
    code += _argument(other["prlimit64"], 0, [_if(EQUAL, 0, 0, 1)])
    for name, values in (("fcntl", OWNERS), ("ioctl", TYPING)):
        left = range(len(values), 0, -1)
        code += _argument(
            other[name], 1, [_if(EQUAL, value, n, 0) for value, n in zip(values, left, strict=True)]
        )
    return b"".join([*code, _does(RETURN, ALLOW)])


def _argument(number: int, index: int, tests: list[bytes]) -> list[bytes]:
    """Allow this call where the tests end right behind themselves, deny it where they skip one more.

    The low half of an argument is all that the kernel itself looks at for these.
    """
    rest = [_does(RETURN, ALLOW), _does(RETURN, NOT_PERMITTED)]
    body = [_does(LOAD, ARGUMENTS + 8 * index), *tests, *rest]
    return [_if(EQUAL, number, 0, len(body)), *body]


def _does(code: int, value: int) -> bytes:
    return struct.pack("<HBBI", code, 0, 0, value)


def _if(code: int, value: int, yes: int, no: int) -> bytes:
    return struct.pack("<HBBI", code, yes, no, value)


def known(machine: str | None = None) -> bool:
    """Whether there is a filter for this machine."""
    return (machine or os.uname().machine) in MACHINES
