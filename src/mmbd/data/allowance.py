"""How much memory the samples of a file may take: a small file cannot ask for much.

Formats of data are compressed, and a few kilobytes can claim terabytes.
"""

from __future__ import annotations

from mmbd.base.errors import Failed
from mmbd.base.text import size as in_words

MOST = 8 << 30  # bytes, of whatever file; a memory limit, not a judgement
ALWAYS = 256 << 20  # bytes that any file may take
GROWTH = 200  # times its own size: no data of use is compressed as well


class Allowance:
    """The bytes that the samples in a file (or folder) of `size` bytes may take."""

    def __init__(self, size: int) -> None:
        self.most = min(MOST, max(ALWAYS, GROWTH * size))
        self.left = self.most

    def spend(self, count: int) -> None:
        """Take `count` bytes off; call it before they are allocated.

        Raises:
            Failed: so much is not left.
        """
        self.left -= count
        if self.left < 0:
            raise Failed(
                f"the samples would take more than {in_words(self.most)}, which is the most that "
                "a file of this size may: give fewer or smaller samples"
            )
