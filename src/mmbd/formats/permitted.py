"""The formats that a policy allows: what is of another one is not read at all.

A file is held against the list before it is parsed. Files beside it that hold weights (shards, a hub folder's
`pytorch_model.bin`) have to be of an allowed format by their names' suffixes, whatever the file is that names
them; what is there then is read as this format or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mmbd.base.errors import Refused
from mmbd.base.text import clean_text
from mmbd.formats.table import FORMATS, PICKLE


def of_kind(kind: str, allowed: Sequence[str] | None) -> None:
    """Refused where a file of this kind, as `identify` says it, is not of an allowed format."""
    if allowed is None or kind in allowed:
        return
    what = "a Python pickle" if kind == PICKLE else FORMATS[kind].title
    raise _refused(f"this is {what}", allowed)


def beside(names: Iterable[str], allowed: Sequence[str] | None) -> None:
    """Refused where one of the files beside a model holds weights in a format that is not allowed."""
    if allowed is None:
        return
    for name in names:
        kinds = [kind for kind, row in FORMATS.items() if name.lower().endswith(row.suffixes)]
        weights = [kind for kind in kinds if not name.lower().endswith(".json")]
        if weights and not set(weights) & set(allowed):
            raise _refused(f"{clean_text(name, 80)} beside it is {FORMATS[weights[0]].title}", allowed)


def _refused(what: str, allowed: Sequence[str]) -> Refused:
    return Refused(
        f"the policy allows {', '.join(allowed) or 'no format at all'}; {what}, which was not read"
    )
