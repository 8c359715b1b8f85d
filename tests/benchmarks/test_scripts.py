"""Every script says what it does; those that make models make them by `mmbd.zoo`."""

from __future__ import annotations

import json
import pkgutil
import sys
from importlib import import_module
from pathlib import Path

import pytest

import benchmarks
from benchmarks import make_examples
from benchmarks.study import measure, zoo
from helpers import digit_zoos
from mmbd.zoo import plan
from mmbd.zoo.make import make

FOLDER = Path(benchmarks.__file__).parent
EXAMPLES = FOLDER.parent / "examples" / "models" / "models.json"
LIBRARIES = {
    "format_networks",
    "study.making",
    "study.marked_models",
    "study.ways",
    "paper.cleansing",
    "paper.common",
    "paper.ensembles",
    "paper.published",
    "paper.rivals",
    "study.intervals",
}
# Of which only the package itself is run.
WHOLE = ("hostile.", "mutation.")
NAMES = [
    name.removeprefix("benchmarks.")
    for _, name, package in pkgutil.walk_packages([str(FOLDER)], "benchmarks.")
    if not package
]
SCRIPTS = sorted(
    name for name in set(NAMES) - LIBRARIES if not name.startswith(WHOLE) or name.endswith("__main__")
)


def run(script, monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, arguments)])
    script.main()


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_can_be_asked_for_help(name, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        run(import_module(f"benchmarks.{name}"), monkeypatch, "--help")
    assert end.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_the_plan_of_the_examples_has_the_bundled_ones():
    names = {make_examples.name(job) for job in plan.read(make_examples.PLAN)}
    assert names == {card["name"] for card in json.loads(EXAMPLES.read_text())}


def test_a_rung_that_falls_short_is_followed_by_the_next(tmp_path, monkeypatch):
    ladder = """
[attack.faint-1]
kind = "badnet"
count = 1
[attack.faint-2]
kind = "badnet"
count = 140
[attack.faint-3]
kind = "badnet"
count = 140
size = 5

[[grid]]
attack = "clean"
[[grid]]
attack = ["faint-1", "faint-2", "faint-3"]
"""
    monkeypatch.setattr(make_examples, "ENOUGH", 0.8)
    run(make_examples, monkeypatch, tmp_path, tmp_path / "out", "--plan", digit_zoos.plan(tmp_path, ladder))
    clean, bad = json.loads((tmp_path / "out" / "models.json").read_text())
    assert (clean["name"], clean["attack"], clean["rungs_that_fell_short"]) == ("clean-mlp", None, [])
    (short,) = bad["rungs_that_fell_short"]
    assert short["asr"] < 0.8 <= bad["attack"]["asr"]
    assert bad["attack"]["poisoned_images"] == 140
    made = sorted(path.name for path in (tmp_path / "out").glob("*.safetensors"))
    assert made == [clean["file"], bad["file"]]
    rungs = sorted(path.stem for path in (tmp_path / "out" / "zoo").glob("*faint*[0-9].safetensors"))
    assert rungs == ["digits-mlp-faint-1-0", "digits-mlp-faint-2-0"]


def test_a_study_plan_follows_from_its_number():
    numbers = [first + number for first in (0, 1000, 2000, 3000, 4000) for number in range(30)]
    jobs = {number: zoo.plan(number) for number in numbers}
    assert jobs == {number: zoo.plan(number) for number in numbers}
    assert len({job.name for job in jobs.values()}) == len(numbers)
    for number, job in jobs.items():
        pooled = 3000 <= number < 4000
        assert job.seed == number
        assert (job.attack.kind == "clean") == (pooled or number % 3 != 2)
        assert job.arch.kind in zoo.COST
    assert {job.attack.kind for job in jobs.values()} >= {"badnet", "unicolor", "blend", "warp"}


def test_statistics_are_measured_once(tmp_path, monkeypatch):
    grid = '[[grid]]\nattack = ["clean", "badnet-M"]\n'
    folder, out = tmp_path / "zoo", tmp_path / "statistics.jsonl"
    make(plan.read(digit_zoos.plan(tmp_path, grid)), folder, root=tmp_path)
    run(measure, monkeypatch, folder, out)
    entries = [json.loads(line) for line in out.read_text().splitlines()]
    assert {entry["attack"] for entry in entries} == {None, "badnet-M"}
    assert all(len(entry["statistics"]) == len(entry["faint"]) == 10 for entry in entries)
    monkeypatch.setattr(measure, "measured", lambda *_: pytest.fail("measured again"))
    out.unlink()
    run(measure, monkeypatch, folder, out)
    assert [json.loads(line) for line in out.read_text().splitlines()] == entries
