"""Untrusted text made harmless, and numbers written for people; every renderer uses these."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable

# Control, format (bidi overrides, zero-width), surrogate, private, unassigned; line, paragraph.
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def clean_text(value: object, limit: int = 80) -> str:
    r"""One line of visible characters, whatever a model, class or file is called.

    Characters that could steer a terminal, hide, or turn the direction of the text are written as
    escapes (a newline as \\n, ESC as \\x1b); other spaces become plain ones; at most three
    combining marks follow each other; what is longer than `limit` characters ends in "...".
    Escaping for a format (HTML, SARIF) is up to that format's renderer.
    """
    shown: list[str] = []
    length = marks = 0
    for character in str(value):
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks > 3:
            continue
        if category in _HIDDEN:
            character = character.encode("unicode_escape", "backslashreplace").decode("ascii")
        elif category == "Zs":
            character = " "
        shown.append(character)
        length += len(character)
        if length > limit:
            break
    text = "".join(shown)
    return text if len(text) <= limit else text[: max(limit - 3, 0)] + "..."


def harmless(text: str, kept: str = "\n\t") -> str:
    r"""Text of any length with every hidden character as an escape, but for those in `kept`.

    For output whose lines are our own; what others named goes through `clean_text` first, so that
    it cannot break a line.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character in kept or unicodedata.category(character) not in _HIDDEN
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text
    )


def number(value: float | None) -> str:
    """Four significant digits; "-" for None and what is not finite."""
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        digits = 0 if value == 0 else max(0, 3 - math.floor(math.log10(abs(value))))
        return f"{value:.{min(digits, 6)}f}"
    return f"{value:.3g}"


def brief(value: float | None, digits: int = 4) -> str:
    """At most so many significant digits, and no trailing zeros."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}g}"


def probability(value: float | None, log10: float | None = None) -> str:
    """A p-value with two significant digits, from its logarithm where it underflows."""
    if value is None or not math.isfinite(value):
        return "-"
    if value < 1e-300:
        if log10 is None or not math.isfinite(log10):
            return "<1e-300"
        exponent = math.floor(log10)
        return f"{10 ** (log10 - exponent):.1f}e{exponent}"
    return f"{value:#.2g}" if value < 0.1 else f"{value:.2f}"


def count(value: int | None) -> str:
    """Whole numbers with a comma every three digits."""
    return "-" if value is None else f"{value:,}"


def seconds(value: float) -> str:
    """A duration: 0.42 s, 12.3 s, 4 min 10 s, 1 h 2 min."""
    if value < 1:
        return f"{value:.2g} s"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def size(value: int | None) -> str:
    """A file's size in decimal units."""
    if value is None:
        return "-"
    amount = float(value)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB"


def listed(names: Iterable[str], most: int = 5, room: int | None = None) -> str:
    """The first `most` names, comma-separated, and how many more there are.

    With `room`, no more of them than take so many characters, but for the first.
    """
    every = list(names)
    words = [clean_text(name) for name in every[:most]]
    while room is not None and len(words) > 1 and sum(map(len, words)) + 2 * len(words) > room:
        words.pop()
    more = f" and {len(every) - len(words)} more" if len(every) > len(words) else ""
    return ", ".join(words) + more
