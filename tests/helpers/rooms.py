"""The rooms of the package from the ground up, and who imports whom, read from the source."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mmbd

SOURCE = Path(mmbd.__file__).parent
# A room imports from itself and from rooms before it, and from no other.
ROOMS = (
    *("base", "nets", "model", "data", "search", "training", "formats", "results", "triggers", "null"),
    *("attacks", "detectors", "mitigators", "zoo", "workflows", "evaluation", "render", "cli"),
)
LOADERS = {"import_module", "__import__"}  # what imports a module by a text


@dataclass(frozen=True)
class Arrow:
    """One import: by its file and line, from a module to a module; "" is the face of the package."""

    file: Path
    line: int
    source: str
    target: str

    def __str__(self) -> str:
        known = f"mmbd.{self.target}" if self.target else "mmbd itself"
        return f"{self.file}:{self.line}: mmbd.{self.source} imports {known}"


def room(module: str) -> str:
    """The room of a module, by its dotted name without `mmbd.`; inner folders belong to their room."""
    return module.split(".")[0]


def modules(folder: Path) -> dict[str, Path]:
    """Every module of a package by its dotted name without the package's."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def arrows(folder: Path = SOURCE) -> list[Arrow]:
    """Every import among the rooms, lazy ones and those for types too; not those of the face."""
    known = modules(folder)
    return [
        Arrow(path, line, name, target)
        for name, path in known.items()
        if name not in ("", "__main__")
        for target, line in _imports(path, known)
    ]


def _imports(path: Path, known: dict[str, Path]) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} imports relatively: write the whole name"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in LOADERS:
            found = [str(text.value) for text in node.args if isinstance(text, ast.Constant)]
        for name in found:
            top, _, inside = name.partition(".")
            while inside and inside not in known:  # a name in a module, or one in the face
                inside = inside.rpartition(".")[0]
            if top == "mmbd":
                yield inside, node.lineno


def broken(found: Iterable[Arrow], order: Sequence[str] = ROOMS) -> list[Arrow]:
    """Those that lead up, to a room that is none, or to the face."""
    floor = {name: number for number, name in enumerate(order)}
    return [
        arrow
        for arrow in found
        if floor.get(room(arrow.target), len(order)) > floor.get(room(arrow.source), -1)
    ]


def circle(found: Iterable[Arrow]) -> list[Arrow]:
    """The arrows of some circle of files; none where there is no circle."""
    leaving: dict[str, list[Arrow]] = defaultdict(list)
    for arrow in found:
        if arrow.source != arrow.target and arrow.target:
            leaving[arrow.source].append(arrow)
    done: set[str] = set()

    def walk(module: str, way: list[Arrow]) -> list[Arrow]:
        on_the_way = [arrow.source for arrow in way]
        if module in on_the_way:
            return way[on_the_way.index(module) :]
        if module not in done:
            for arrow in leaving[module]:
                if met := walk(arrow.target, [*way, arrow]):
                    return met
            done.add(module)
        return []

    return next((met for module in sorted(leaving) if (met := walk(module, []))), [])
