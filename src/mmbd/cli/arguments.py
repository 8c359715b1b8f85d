"""What the command line holds before it is parsed: names that look like options, and numbers.

A shell writes the names of files where options stand, and a name is whatever its author chose:
`mmbd scan *` in a folder with a file called --help would print help and end well.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from mmbd.base.text import clean_text
from mmbd.cli.options import Usage

END = "--"
LISTS = ("--mean", "--std")


def refuse_names(given: Sequence[str]) -> None:
    """Check that nothing before "--" that would be taken as an option is the name of a file.

    Raises:
        Usage: it is; the message says how to write the name.
    """
    for word in _before_end(given):
        if len(word) > 1 and word.startswith("-") and os.path.lexists(word):
            shown = clean_text(word, 200)
            raise Usage(
                f"{shown} is an option and the name of a file here: write ./{shown} for the file, "
                "or put -- before the names of files (mmbd scan -- *); for the option, run this "
                "in another folder"
            )
    if given.count(END) == 1 and os.path.lexists(END):
        raise Usage(
            "there is a file called -- here: write ./-- for it, or put another -- before the names "
            "of files (mmbd scan -- *)"
        )


def joined(given: Sequence[str]) -> list[str]:
    """The arguments with the numbers after --mean and --std as one word each, commas between.

    The first word that is no number ends such a list, so that files may follow it.

    Raises:
        Usage: a word after the first number is a number and the name of a file.
    """
    words = _before_end(given)
    rest = list(given[len(words) :])
    found: list[str] = []
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        if word not in LISTS:
            found.append(word)
            continue
        numbers: list[str] = []
        while place < len(words) and _is_numbers(words[place]):
            if numbers and os.path.lexists(words[place]):
                name = clean_text(words[place], 200)
                raise Usage(
                    f"{name} after {word} is a number and the name of a file here: write ./{name} "
                    f"for the file, or {word}={','.join([*numbers, words[place]])} for numbers"
                )
            numbers.append(words[place])
            place += 1
        found += [f"{word}={','.join(numbers)}"] if numbers else [word]
    return found + rest


def _before_end(given: Sequence[str]) -> Sequence[str]:
    return given[: given.index(END)] if END in given else given


def _is_numbers(word: str) -> bool:
    try:
        return bool([float(part) for part in word.replace(",", " ").split()])
    except ValueError:
        return False
