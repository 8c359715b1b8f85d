"""A few hostile files of every family, and some hundred mutants: an answer, a way out, and nothing runs.

All of them, beside other scanners, are what `python -m benchmarks.hostile` and `benchmarks.mutation` are for;
hub folders, for which a library takes seconds to import, are in `test_hub_folders.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.hostile import corpus, folders, foreign, judging
from benchmarks.hostile.case import READ, Case, sample
from benchmarks.hostile.payload import VARIABLE
from benchmarks.mutation import models, reading
from helpers.planted_files import planted
from mmbd.cli import main

EACH, MUTANTS, SEED = 3, 500, 3
Asked = tuple[int, str, str]
Ask = Callable[..., Asked]


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """All but what needs a library of the hub's, and what takes seconds to write."""
    makers = [make for make in corpus.MAKERS if make not in (folders.cases, foreign.honest)]
    found = [case for make in makers for case in make()]
    return [*found, *folders._shards()]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    def call(*arguments: object) -> Asked:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*map(str, arguments)])
        out, errors = capsys.readouterr()
        return int(str(ended.value.code)), out, errors

    return call


def test_there_are_hundreds_with_a_name_each_the_same_every_time(cases: list[Case]) -> None:
    titles = [case.title for case in cases]
    assert len(titles) == len(set(titles)) > 600
    assert [case.content for case in corpus.MAKERS[0]()] == [
        case.content for case in cases[: len(corpus.MAKERS[0]())]
    ]


def test_a_few_of_every_family_are_answered_and_do_nothing(
    cases: list[Case], ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary, files = tmp_path / "canary", tmp_path / "files"
    files.mkdir()
    monkeypatch.setenv(VARIABLE, str(canary))
    monkeypatch.chdir(tmp_path)
    wrong: list[str] = []
    chosen = [case for case in sample(cases, EACH, SEED) if not callable(case.content) or case.main]
    for number, case in enumerate(chosen):
        path = case.target(case.write(files, number))
        before = sorted(files.rglob("*"))
        for command, words in (("inspect", ("--json",)), ("scan", ("--quiet",))):
            if command == "scan" and case.expected == READ:
                continue
            code, out, errors = ask(command, "--no-sandbox", *words, "--", path)
            answer = {"code": code, "out": out, "errors": errors, "canary": canary.exists()}
            answer |= {"late": False, "seconds": 0.0, "megabytes": 0.0, "left": []}
            wrong += [f"{case.title}: {one}" for one in judging.faults(case, command, answer, path)]
        assert sorted(files.rglob("*")) == before
    assert len({case.family for case in chosen}) >= 12
    assert wrong == []


def test_a_payload_is_one() -> None:
    """What would be an empty test otherwise: a pickle of the corpus, loaded as Python does."""
    import pickle

    (data,) = (case.content for case in corpus.MAKERS[0]() if case.name == "exec, alone")
    assert isinstance(data, bytes)
    with pytest.raises(KeyError, match=VARIABLE):  # it asks where the canary goes
        pickle.loads(data)


def test_bad_files_do_not_keep_the_others_in_their_folder(
    cases: list[Case], ask: Ask, tmp_path: Path
) -> None:
    planted(tmp_path / "good.safetensors", gain=20.0)
    bad = [case for case in sample(cases, 1, SEED + 1) if isinstance(case.content, bytes) and not case.file]
    for number, case in enumerate(bad):
        case.write(tmp_path, number)
    code, out, _ = ask("inspect", "--no-sandbox", "--json", "--", tmp_path)
    found = {Path(row["file"]).name: row["state"] for row in json.loads(out)}
    assert code == 3
    assert found.pop("good.safetensors") == "readable"
    assert len(found) >= 5
    code, out, _ = ask("scan", "--quiet", "--no-sandbox", "--", tmp_path)
    lines = out.strip().split("\n")
    assert len(lines) == len(found) + 1
    (good,) = (line for line in lines if "good.safetensors" in line)
    assert code == 1
    assert good.startswith("backdoored: ")


def test_mutants_are_read_or_it_is_said_why_not(tmp_path: Path) -> None:
    watched = reading.Watched()
    for name, group in models.formats(small=True).items():  # what is imported late
        for number, model in enumerate(group):
            reading.read(model, tmp_path / f"{name} {number}", watched)
    wrong: list[str] = []
    read = 0
    for number in range(MUTANTS):
        name, model = models.mutant(SEED, number, small=True)
        found = reading.read(model, tmp_path / f"m{number}", watched)
        read += found["outcome"] == "read"
        wrong += [f"{number} {name}: {fault}" for fault in found["faults"]]
    assert wrong == []
    assert MUTANTS // 20 < read < MUTANTS // 2
