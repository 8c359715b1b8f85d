"""Names that a user may mistype: the message that helps."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from mmbd.base.text import clean_text


def unknown(kind: str, given: object, known: Iterable[str]) -> str:
    """The message for a name that is not in a table: what was given, what is close, what is known.

    >>> unknown("null", "jiont", ["joint", "bootstrap"])
    "unknown null 'jiont'; did you mean 'joint'? known: joint, bootstrap"
    """
    names = list(known)
    close = difflib.get_close_matches(str(given), names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"unknown {kind} {clean_text(given)!r}; {hint}known: {', '.join(names)}"
