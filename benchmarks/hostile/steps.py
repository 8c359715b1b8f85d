"""What a message must have: what to do next, and nothing that steers a terminal."""

from __future__ import annotations

import re
import unicodedata

# A next step is one of these verbs where it tells somebody to do it: at the beginning of a part of
# a sentence, or after "or", "and", "then" - and not inside one, where "save" or "name" may be told
# of somebody else.
VERBS = (
    "save",
    "scan",
    "name",
    "give",
    "download",
    "ask",
    "unpack",
    "raise",
    "allow",
    "run",
    "merge",
    "make",
    "mend",
    "see",
    "copy",
    "put",
    "load",
    "write",
    "use",
    "take",
    "lower",
    "choose",
    "set",
    "check",
    "install",
    "convert",
    "leave",
    "try",
    "fetch",
    "export",
    "return",
)
STEP = re.compile(
    rf"(?:[.:;,]\s+|\b(?:or|and|then|first|trust it|trust this file),?\s+)"
    rf"(?:{'|'.join(VERBS)})\b(?! (?:is|are|was|has)\b)",
    re.IGNORECASE,
)
# Steps that are no orders: what may stand in for what this file cannot give, and what to name.
OTHERS = (
    "Reference models of the same domain can take its place",
    "--entry NAME (entry= in Python) can name: ",
)
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def steers(text: str) -> list[str]:
    """Characters that could steer a terminal, hide, or turn the direction of the text."""
    return sorted({ascii(one) for one in text if unicodedata.category(one) in HIDDEN} - {"'\\n'"})


def has_step(message: str) -> bool:
    return any(other in message for other in OTHERS) or bool(STEP.search(" ".join(message.split())))
