"""What a file is, told by its content alone; its name only serves to point out a mismatch."""

from __future__ import annotations

from pathlib import PurePath

from mmbd.formats import checkpoints, refusals
from mmbd.formats.advice import broken
from mmbd.formats.pickles import opcodes as pickles
from mmbd.formats.table import FORMATS, PICKLE

SMALLEST = 16  # bytes of a file that could hold a model
# Names that promise something though no checkpoint needs to have them: suffix -> formats.
OTHER_SUFFIXES = {".zip": ("zip",), ".pkl": (PICKLE,), ".pickle": (PICKLE,)}


def identify(head: bytes, size: int) -> str:
    """The format of a file of `size` bytes that starts with `head` (its first megabyte, or all).

    Returns:
        A name in FORMATS, or PICKLE for a pickle that torch did not write.

    Raises:
        Failed: too short, or plainly not what was meant (a Git LFS pointer, a web page).
        Refused: a known format that is not weights, or an unknown one.
    """
    if size < SMALLEST:
        # A pickle can do harm in ten bytes. Half of torch's own first one is no program, though.
        if not head[2:].startswith(checkpoints.MAGIC[:-1]) and pickles.names_in([head]).complete:
            return PICKLE
        raise broken(f"the file has {size} bytes, too few for any model: it was cut short")
    refusals.reject_other_things(head)
    for name, row in FORMATS.items():
        if row.recognise(head):
            return name
    if head[:1] == b"\x80":
        return PICKLE
    refusals.reject_other_formats(head)
    # Pickles of protocol 0 and 1 have no magic: what can be walked through to its end is one.
    if pickles.names_in([head]).complete:
        return PICKLE
    unknown = f"of no format that mmbd knows (its first bytes are {head[:8].hex(' ')})"
    raise refusals.refusal(unknown, refusals.OTHER)


def mismatch(name: str, kind: str) -> tuple[str, ...]:
    """A note if the name promises another format than the content keeps."""
    suffix = PurePath(name).suffix.lower()
    promised = OTHER_SUFFIXES.get(suffix) or [
        key for key, row in FORMATS.items() if name.lower().endswith(row.suffixes)
    ]
    if not promised or kind in promised:
        return ()
    title = FORMATS[kind].title if kind in FORMATS else "a Python pickle"
    return (f"the file is {title} though it is named {suffix}",)
