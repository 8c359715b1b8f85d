"""The rule of the house: a room knows only the rooms below it."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import mmbd

SOURCE = Path(mmbd.__file__).parent

# From the ground up; a room imports from itself and from rooms before it, and from no other.
ROOMS = [
    "base",
    "nets",
    "model",
    "data",
    "search",
    "training",
    "formats",
    "results",
    "triggers",
    "null",
    "attacks",
    "detectors",
    "mitigators",
    "zoo",
    "workflows",
    "evaluation",
    "render",
    "cli",
]
MOST_ROOMS = 18
# One line each that asks the face of the package to save a result, for those who write report.save(...).
THROUGH_THE_FACE = {"results.report", "evaluation.run"}
FACE = {"__init__.py", "__main__.py", "py.typed"}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name, without `mmbd.`; "" is the package itself."""
    return {_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def _name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, known: dict[str, Path]) -> Iterator[tuple[str, int]]:
    """The package's modules that a file imports anywhere, also lazily and for types; with lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} imports relatively: write the whole name"
            found = [(node.module or "", alias.name) for alias in node.names]
        else:
            continue
        for module, name in found:
            if module.split(".")[0] == "mmbd":
                inside = module.removeprefix("mmbd").removeprefix(".")
                deeper = f"{inside}.{name}".removeprefix(".")
                yield (deeper if deeper in known else inside), node.lineno


def arrows() -> Iterator[tuple[str, str, int]]:
    """Who imports whom, and on which line."""
    known = modules()
    for name, path in known.items():
        if name not in ("", "__main__"):
            for target, line in imports(path, known):
                yield name, target, line


def room(module: str) -> str:
    return module.split(".")[0]


def test_the_top_of_the_package_holds_rooms_and_its_face_only() -> None:
    top = {path.name for path in SOURCE.iterdir() if path.name != "__pycache__"}
    assert {path for path in top if (SOURCE / path).is_file()} == FACE
    assert top - FACE == set(ROOMS)
    assert len(ROOMS) <= MOST_ROOMS


def test_a_room_knows_only_the_rooms_below_it() -> None:
    floor = {name: number for number, name in enumerate(ROOMS)}
    broken = [
        f"{source} imports {target or 'the package itself'} in line {line}: {room(source)} must not "
        f"know {room(target) or 'the face of the package'}"
        for source, target, line in arrows()
        if floor.get(room(target), len(ROOMS)) > floor[room(source)]
        and not (target == "" and source in THROUGH_THE_FACE)
    ]
    assert not broken, "\n".join(broken)


def test_no_files_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for source, target, _ in arrows():
        if source != target and target:
            graph[source].add(target)
    done: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in done:
            for target in sorted(graph[module]):
                walk(target, (*way, module))
            done.add(module)

    for module in sorted(graph):
        walk(module, ())
