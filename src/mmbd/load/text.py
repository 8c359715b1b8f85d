"""Untrusted text made fit for a message: names from a hostile file may hold anything."""

from __future__ import annotations

from collections.abc import Iterable


def shown(text: str, limit: int = 80) -> str:
    """`text` on one line: control, bidirectional and surrogate characters escaped, cut at `limit`."""
    head = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:limit])
    return head if len(text) <= limit else head + "..."


def listed(names: Iterable[str], most: int = 5) -> str:
    """The first `most` names, comma-separated, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(shown(name) for name in every[:most]) + more
