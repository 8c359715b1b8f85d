"""One file of the corpus: what is in it, who would run it, and what must come of it here."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REFUSED, BROKEN, STOPPED, READ = "refused", "broken", "stopped", "read"
CODES = {
    REFUSED: {"inspect": {3}, "scan": {3}},
    BROKEN: {"inspect": {2}, "scan": {2}},
    STOPPED: {"inspect": {2, 3}, "scan": {2, 3}},  # one of the two, as the damage has it
    READ: {"inspect": {0}, "scan": {0, 2, 3}},  # a scan may have to be told more, or can say nothing
}
Content = bytes | Mapping[str, bytes] | Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """A file, or a folder of files.

    Args:
        family: what sort of file it is.
        name: what is odd about it, unique in its family.
        content: the bytes; of a folder those of each file; or what puts something at a path.
        expected: "refused" (exit code 3), "broken" (2), "stopped" (2 or 3), or "read": harmless, as nothing
            of what is planted is looked at.
        suffix: how the name ends.
        loader: a function in `loaders`, the format's own, that a payload would run in; "" for none.
        main: of a folder, the file in it that is read; "" for the folder.
        file: a whole name instead of one made of number and suffix; "{}" stands for the number.
    """

    family: str
    name: str
    content: Content
    expected: str = REFUSED
    suffix: str = ".pt"
    loader: str = ""
    main: str = ""
    file: str = ""

    @property
    def title(self) -> str:
        return f"{self.family}: {self.name}"

    def target(self, path: Path) -> Path:
        """What is scanned of what was written to `path`: a file with others beside it, or all of a folder."""
        return path / self.main if self.main else path

    def write(self, folder: Path, number: int) -> Path:
        """Put it into a folder; returns its path."""
        path = folder / (self.file.replace("{}", f"{number:03d}") or f"h{number:03d}{self.suffix}")
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        elif isinstance(self.content, Mapping):
            path.mkdir()
            for name, data in self.content.items():
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes(data)
        else:
            self.content(path)
        return path


def several(family: str, contents: Mapping[str, Content], expected: str = REFUSED, **same: Any) -> list[Case]:
    """Cases that are alike but for name and content."""
    return [Case(family, name, content, expected, **same) for name, content in contents.items()]


def later(make: Callable[[], bytes]) -> Callable[[Path], object]:
    """Content that is made only when the file is written, as it takes its time."""
    return lambda path: path.write_bytes(make())


def sample(cases: Iterable[Case], each: int, seed: int = 0) -> list[Case]:
    """So many of every family, the same for the same seed."""
    families: dict[str, list[Case]] = {}
    for case in cases:
        families.setdefault(case.family, []).append(case)
    source = random.Random(seed)
    return [case for held in families.values() for case in source.sample(held, min(each, len(held)))]
