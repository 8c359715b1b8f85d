"""Untrusted text made fit for a message: names from a hostile file may hold anything."""

from __future__ import annotations

from collections.abc import Iterable

from mmbd.render.text import clean_text as shown

__all__ = ["listed", "shown"]


def listed(names: Iterable[str], most: int = 5, room: int | None = None) -> str:
    """The first `most` names, comma-separated, and how many more there are.

    With `room`, no more of them than take so many characters, but for the first.
    """
    every = list(names)
    words = [shown(name) for name in every[:most]]
    while room is not None and len(words) > 1 and sum(map(len, words)) + 2 * len(words) > room:
        words.pop()
    more = f" and {len(every) - len(words)} more" if len(every) > len(words) else ""
    return ", ".join(words) + more
