"""Which class of one list is which of another: by name, and by number only where names say nothing.

Two sets of samples may list the same classes in another order, and one name spelled otherwise must
not let the order decide for all the others.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from mmbd.base.errors import Failed
from mmbd.base.text import listed

SHOWN = 12  # names of each list in a message
RENAME = "Rename the samples' classes (their folders) as those, or number them from 0"
DIGITS = 7  # of a number that is a class


def places(given: Sequence[str], known: Sequence[str], whose: str = "the classifier") -> list[int]:
    """The number in `known` of every class in `given`.

    Names decide, whatever their order; capitals, blanks, "-" and "_" make no difference where the
    names stay apart without them. Samples in folders called 0, 1, ... (also 00000) have their
    classes' numbers. Where it is `known` that has only numbers, the order decides if there are as
    many classes on both sides.

    Raises:
        Failed: the names do not say it; shows both lists, and says what to do.
    """
    if tuple(given) == tuple(known):
        return list(range(len(known)))
    for form in (str, _plain):
        place = {form(name): number for number, name in enumerate(known)}
        names = [form(name) for name in given]
        twice = [name for name, times in Counter(map(form, known)).items() if times > 1]
        if len(set(names)) == len(names) and set(names) <= set(place) - set(twice):
            return [place[name] for name in names]
    own, theirs = numbers(given), numbers(known)
    if own is not None and theirs is not None and set(own) <= set(theirs):
        place = {number: index for index, number in enumerate(theirs)}  # 00 is 0
        return [place[number] for number in own]
    strange = _without(given, known)
    if len(strange) == len(given):
        if own is not None and max(own, default=0) < len(known):
            return own
        if theirs == list(range(len(known))) and len(given) == len(known):
            return list(range(len(known)))
    raise Failed(
        f"the classes of the samples are not those of {whose}: the samples have {len(given)} "
        f"classes ({listed(given, SHOWN)}), {whose} {len(known)} ({listed(known, SHOWN)}). "
        f"{_advice(strange, given, known)}{RENAME}"
    )


def _advice(strange: Sequence[str], given: Sequence[str], known: Sequence[str]) -> str:
    if not strange:
        return "Some names occur twice. "
    if len(strange) == len(given):
        return "Not one name is the same. "
    left = _without(known, given)
    hint = f", which may be one of {listed(left, SHOWN)}" if left else ""
    return f"Unknown to it: {listed(strange, SHOWN)}{hint}. "


def _without(names: Sequence[str], others: Sequence[str]) -> list[str]:
    there = set(map(_plain, others))
    return [name for name in names if _plain(name) not in there]


def _plain(name: str) -> str:
    """A name without what people write one way or the other."""
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name).casefold()).strip()


def numbers(names: Sequence[str]) -> list[int] | None:
    """Names that are different whole numbers from 0; None if they are not."""
    if not all(name.isascii() and name.isdecimal() and len(name) <= DIGITS for name in names):
        return None
    found = [int(name) for name in names]
    return found if len(set(found)) == len(found) else None
