"""One file of the corpus: what is in it, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

FAILED, REFUSED = frozenset({2}), frozenset({3})
EITHER = FAILED | REFUSED
TOKEN = "{}"  # where the file's number goes in a name of its own


@dataclass(frozen=True)
class Case:
    """A file, and the exit codes that `mmbd scan` may give for it.

    Attributes:
        kind: what sort of file it is; kinds are counted and sampled apart.
        name: what is odd about it, unique in its kind.
        content: its bytes, or what puts something at the path.
        codes: never 0 or 1: nothing here is a model with enough classes for a verdict.
        suffix: how the file's name ends.
        flags: what the user says of it.
        says: words that the message must have.
        file: a whole name instead, with "{}" for the number that tells it from the others.
        megabytes: how much more memory the process may take for it.
    """

    kind: str
    name: str
    content: bytes | Callable[[Path], object]
    codes: frozenset[int] = EITHER
    suffix: str = ".pt"
    flags: tuple[str, ...] = ()
    says: str = ""
    file: str | None = None
    megabytes: float = 100.0

    def called(self, number: int) -> str:
        """The name of the file as number so many of the corpus."""
        token = f"f{number:04d}"
        return f"{token}{self.suffix}" if self.file is None else self.file.replace(TOKEN, token)

    def write(self, folder: Path, number: int) -> str:
        """Write it; returns the file's name."""
        name = self.called(number)
        if isinstance(self.content, bytes):
            (folder / name).write_bytes(self.content)
        else:
            self.content(folder / name)
        return name


def several(
    kind: str,
    contents: Mapping[str, bytes | Callable[[Path], object]],
    codes: frozenset[int] = EITHER,
    **same: object,
) -> list[Case]:
    """Cases that are alike but for name and content."""
    return [Case(kind, name, data, codes, **same) for name, data in contents.items()]


def written(make: Callable[[], bytes]) -> Callable[[Path], object]:
    """Content that is only made when the file is written, as it takes its time."""
    return lambda path: path.write_bytes(make())
