"""Hostile files: what mmbd says of each, who executes them, which scanners see it. One table.

    python -m benchmarks.hostile FOLDER [--scanners NAME=PYTHON ...] [--out results/hostile.json]

The corpus (`corpus.py`) is written into FOLDER/files. Every file goes through `mmbd inspect` and `mmbd scan`,
whose answers are judged (`judging.py`), through the format's own loader in a child process, which shows that
its payload is live, and through other scanners, each in an environment of its own:

    python -m venv venvs/picklescan && venvs/picklescan/bin/pip install picklescan
    python -m benchmarks.hostile FOLDER --scanners picklescan=venvs/picklescan/bin/python

All that a payload does is to create one empty file in a temporary folder. What has been done is kept in the
results and not done again, so that a run goes on where it ended, or is put together of parts; --only takes
words in titles.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.hostile import judging, loaders, tools
from benchmarks.hostile.case import Case
from benchmarks.hostile.corpus import corpus

OUT = Path("benchmarks/results/hostile.json")
OFTEN = 25  # files, after which results are written
Results = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scanners", nargs="*", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--without", nargs="*", default=[], help="mmbd, loaders")
    parser.add_argument("--only", default="", help="words in the titles of the files")
    parser.add_argument("--part", default="1/1", help="such as 2/3: the second third of the files")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    cases = [case for case in corpus() if arguments.only in case.title]
    part, parts = map(int, arguments.part.split("/"))
    cases = cases[len(cases) * (part - 1) // parts : len(cases) * part // parts]
    folder = arguments.folder.resolve()
    files = folder / "files"
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir(parents=True)
    paths = {case.title: case.target(case.write(files, number)) for number, case in enumerate(cases)}
    results: Results = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    results.setdefault("versions", {})["python"] = platform.python_version()
    results.setdefault("files", {})
    for case in cases:
        row = results["files"].setdefault(case.title, {})
        row |= {"family": case.family, "expected": case.expected}
    if "mmbd" not in arguments.without:
        ask_mmbd(cases, paths, results, folder, arguments.out)
    if "loaders" not in arguments.without:
        ask_loaders(cases, paths, results, folder, arguments.out)
    for name, python in (text.partition("=")[::2] for text in arguments.scanners):
        ask_scanner(name, python, cases, paths, results, folder, arguments.out)
    save(results, arguments.out)
    print(table(results), table(results, live=True), sep="\n\n")
    wrong = {title: row["faults"] for title, row in results["files"].items() if row.get("faults")}
    print(json.dumps(wrong, indent=1))


def each(
    cases: list[Case], results: Results, key: str, out: Path, ask: Callable[[Case], Mapping[str, Any]]
) -> None:
    """Ask for every file that has no answer of this kind yet."""
    left = [case for case in cases if key not in results["files"][case.title]]
    for number, case in enumerate(left, 1):
        results["files"][case.title] |= ask(case)
        if number % OFTEN == 0:
            save(results, out)
            print(f"{key}: {number} of {len(left)}", file=sys.stderr, flush=True)


def save(results: Results, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    partial.write_text(json.dumps(results, indent=1) + "\n")
    partial.rename(out)


def ask_mmbd(cases: list[Case], paths: dict[str, Path], results: Results, folder: Path, out: Path) -> None:
    scratch = folder / "mmbd"
    shutil.rmtree(scratch, ignore_errors=True)
    files = {path.name for path in (folder / "files").iterdir()}
    with tools.serving(sys.executable, tools.NEEDED, scratch) as server:

        def ask(case: Case) -> dict[str, Any]:
            codes, wrong, cost, canary = {}, [], [0.0, 0.0], False
            for command, words in tools.MMBD.items():
                answer = server.ask("mmbd.cli:main", "mmbd", [*words, str(paths[case.title])])
                codes[command] = answer["code"]
                canary |= answer["canary"]
                cost = [max(cost[0], answer["seconds"]), max(cost[1], answer["megabytes"])]
                wrong += [
                    f"{command}: {one}" for one in judging.faults(case, command, answer, paths[case.title])
                ]
            if {path.name for path in (folder / "files").iterdir()} != files:
                wrong.append("changed the folder of the files")
            word = tools.EXECUTES if canary else tools.CRASHES if wrong else tools.FLAGS
            word = tools.SILENT if not codes["inspect"] and word == tools.FLAGS else word
            return {"mmbd": word, "codes": codes, "cost": cost, "faults": wrong}

        each(cases, results, "mmbd", out, ask)


def ask_loaders(cases: list[Case], paths: dict[str, Path], results: Results, folder: Path, out: Path) -> None:
    scratch = folder / "loaders"
    shutil.rmtree(scratch, ignore_errors=True)
    with tools.serving(sys.executable, loaders.MODULES, scratch) as server:

        def run(name: str, case: Case) -> str:
            if not name:
                return "-"
            path = paths[case.title]
            if not path.is_file() and name != "hub_load":
                return "-"
            call = f"benchmarks.hostile.loaders:{name}"
            return tools.EXECUTES if server.ask(call, "loader", [str(path)], 60.0)["canary"] else "does not"

        def ask(case: Case) -> dict[str, Any]:
            default = loaders.DEFAULTS.get(case.loader, "")
            return {
                "loader": run(case.loader, case),
                "loader by default": run(default, case) if default else "-",
            }

        each(cases, results, "loader", out, ask)


def ask_scanner(
    name: str,
    python: str,
    cases: list[Case],
    paths: dict[str, Path],
    results: Results,
    folder: Path,
    out: Path,
) -> None:
    tool, scratch = tools.SCANNERS[name], folder / name
    shutil.rmtree(scratch, ignore_errors=True)
    results["versions"][name] = tools.version(python, tool.package)
    with tools.serving(python, tool.modules, scratch) as server:

        def ask(case: Case) -> dict[str, Any]:
            answer = server.ask(tool.call, name, [*tool.arguments, str(paths[case.title])], 60.0)
            said = f"{answer['code']} {(answer['errors'] or answer['out'])[-160:]}"
            return {name: tool.word(answer), f"{name} said": said}

        each(cases, results, name, out, ask)


def table(results: Results, *, live: bool = False) -> str:
    """By family: how many files, how many of them are live in their own loader, and what each tool did.

    A cell has the files that the tool flags, those it is silent on, and those without an answer: it says that
    it could not look, has a traceback, or does not end. With `live` of the live ones alone.
    """
    rows = [row for row in results["files"].values() if not live or row.get("loader") == tools.EXECUTES]
    families: dict[str, list[Any]] = {}
    for row in rows:
        families.setdefault(row["family"], []).append(row)
    families["all but honest"] = [row for row in rows if row["family"] != "honest"]
    names = [name for name in ("mmbd", *tools.SCANNERS) if any(name in row for row in rows)]
    lines = [f"| family | files | live | {' | '.join(names)} |", "|---|" + "---|" * (2 + len(names))]
    for family, held in families.items():
        alive = sum(row.get("loader") == tools.EXECUTES for row in held)
        cells = [_cell([row[name] for row in held if name in row]) for name in names]
        lines.append(f"| {family} | {len(held)} | {alive} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(words: list[str]) -> str:
    flagged, silent = words.count(tools.FLAGS), words.count(tools.SILENT)
    executed = words.count(tools.EXECUTES)
    cell = f"{flagged} / {silent} / {len(words) - flagged - silent - executed}"
    return f"{cell}, executes {executed}" if executed else cell


if __name__ == "__main__":
    main()
