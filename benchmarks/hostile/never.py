"""What reading a file may never bring about, by Python's own audit events."""

from __future__ import annotations

import os

# Whatever starts something, reaches out, or changes anything on the disk.
NEVER = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "os.kill",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.chmod",
    "os.chown",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.putenv",
    "subprocess.",
    "pty.",
    "socket.",
    "urllib.",
    "ftplib.",
    "smtplib.",
    "http.",
    "webbrowser.",
    "ctypes.dlopen",
    "ctypes.call_function",
    "shutil.",
    "tempfile.",
    "pickle.find_class",
    "code.__new__",
    "builtins.input",
    "sqlite3.",
    "signal.",
)
# Flags with which a file is opened to be changed.
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
