"""The files in a model file's own folder that it may name: plain names alone, regular files, within a limit.

Some formats keep tensors in other files and say which. Whoever wrote the file chose these names; a path
to anywhere else, a link or a device must not be followed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.base.text import clean_text, count
from mmbd.formats.options import MAX_BYTES

FLAGS = reading.FLAGS | getattr(os, "O_NOFOLLOW", 0)
ABSENT = "which is not there: fetch that, too"
NO_FOLDER = "but it came without a folder: give its path"


@dataclass(frozen=True)
class Beside:
    """What may be read beside a model file.

    Args:
        folder: where that file lies; None where it came from memory and nothing is beside it.
        max_bytes: of all the files beside it together.
        digests: the SHA-256 of every file that was read, by name.
    """

    folder: Path | None = None
    max_bytes: int = MAX_BYTES
    digests: dict[str, str] = field(default_factory=dict[str, str])
    _read: dict[str, bytes] = field(default_factory=dict[str, bytes])

    def read(self, name: str) -> bytes:
        """The whole of the file of this name; read once, however often it is asked for.

        Raises:
            Failed: no plain name, nothing there, no regular file (a link is none), or too large.
        """
        if name not in self._read:
            self._read[name] = data = self._content(name)
            self.digests[name] = hashlib.sha256(data).hexdigest()
        return self._read[name]

    def optional(self, name: str) -> bytes | None:
        """As `read`, or None where there is nothing of this name, or no folder."""
        try:
            return self.read(name)
        except Failed as error:  # wherever the file is opened, its words come back
            if str(error).endswith((ABSENT, NO_FOLDER)):
                return None
            raise

    def _content(self, name: str) -> bytes:
        said = clean_text(name, 80)
        if not name or name in (".", "..") or any(sign in name for sign in "/\\\0:"):
            raise Failed(
                f"the file names {said!r} beside it, expected the plain name of a file in its own folder: "
                "do not use it, or write it anew with its data beside it"
            )
        if self.folder is None:
            raise Failed(f"the file needs {said!r} beside it, {NO_FOLDER}")
        try:
            descriptor = os.open(self.folder / name, FLAGS)
        except FileNotFoundError:
            raise Failed(f"the file needs {said!r} beside it, {ABSENT}") from None
        except (OSError, ValueError) as error:  # a link, not for this user, no name in this encoding
            why = getattr(error, "strerror", None) or error
            raise Failed(
                f"{said!r}, which the file needs, cannot be opened ({clean_text(str(why), 100)}): put the "
                "file itself there, no link, and make it readable"
            ) from None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise Failed(
                f"{said!r}, which the file needs, is {reading.kind(status.st_mode)}, no file: put the "
                "file itself there"
            )
        with os.fdopen(descriptor, "rb") as file:
            left = self.max_bytes - sum(map(len, self._read.values()))
            if status.st_size > left:
                raise Failed(
                    f"{said!r}, which the file needs, has {count(status.st_size)} bytes, where "
                    f"{count(max(0, left))} are left of the limit: allow for more with --max-bytes"
                )
            data = file.read(status.st_size + 1)
        if len(data) != status.st_size:
            raise Failed(f"{said!r} changed while it was being read: scan again when nothing writes to it")
        return data


NOTHING = Beside()
