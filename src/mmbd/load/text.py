"""Untrusted text made fit for a message: names from a hostile file may hold anything."""

from __future__ import annotations

from collections.abc import Iterable

from mmbd.render.text import clean_text as shown

__all__ = ["listed", "shown"]


def listed(names: Iterable[str], most: int = 5) -> str:
    """The first `most` names, comma-separated, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(shown(name) for name in every[:most]) + more
