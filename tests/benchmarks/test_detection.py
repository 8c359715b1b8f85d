"""What `benchmarks/detection.py` counts, against figures worked out by hand."""

from __future__ import annotations

import json
import sys

from benchmarks import detection
from helpers import digit_zoos, toy_zoos
from mmbd.evaluation.tables import Result
from mmbd.results.finding import Column, Test
from mmbd.zoo import plan
from mmbd.zoo.make import make


def result(target, statistics, gains, p_values):
    """One model's: clean where the target is None."""
    columns = (Column("maximum margin", statistics, "logits"), Column("universal-perturbation gain", gains))
    answer = toy_zoos.report(True, (0,), 1.0, 0.01, columns=columns, classes=3)
    tests = tuple(Test(name, p_value=p) for name, p in p_values.items())
    answer = answer.revised(tests=tests, decided_by=None)
    targets = () if target is None else (target,)
    return Result("m", target is not None, "badnet", targets, "g", 0, "mm-bd", answer)


MODELS = [
    # The margins point at class 1, margins and gains together at class 0.
    result(0, (5.0, 6.0, 1.0), (9.0, 2.0, 1.0), {"joint": 0.01, "population": 0.04}),
    result(1, (5.0, 6.0, None), (9.0, 2.0, 1.0), {"joint": 0.03, "population": 0.06}),
    result(None, (5.0, 6.0, 1.0), (1.0, 1.0, 1.0), {"joint": 0.02, "population": 0.5}),
]


def test_each_null_is_asked_about_its_own_class():
    joint = detection.figures(MODELS, "joint")
    assert joint["detection"].startswith("0.500 (1/2;")  # the second is another class
    assert joint["false positives"].startswith("1.000 (1/1;")
    assert joint["AUC"].startswith("0.500 (")
    alone = detection.figures(MODELS, "population")
    assert alone["detection"].startswith("0.000 (0/2;")  # another class; not flagged
    assert alone["false positives"].startswith("0.000 (0/1;")
    assert alone["AUC"].startswith("1.000 (")


def test_a_null_without_p_values_has_no_line():
    assert detection.figures(MODELS, "bootstrap") is None


def test_both_searches_over_a_zoo(tmp_path, monkeypatch, capsys):
    zoo, out = tmp_path / "zoo", tmp_path / "out.json"
    grid = '[[grid]]\ndata = "digits"\nattack = ["clean", "badnet-M"]\n'
    make(plan.read(digit_zoos.plan(tmp_path, grid)), zoo, root=tmp_path)
    arguments = [str(zoo), "--answers", str(tmp_path / "answers"), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["detection.py", *arguments])
    detection.main()
    rows = json.loads(out.read_text())["rows"]
    assert {name.partition(" / ")[2] for name in rows if name.startswith("all / ")} == {
        "fast / combined",
        "fast / population",
        "fast / bootstrap",
        "fast / authors",
        "fast / paper",
        "paper / bootstrap",
        "paper / authors",
        "paper / paper",
    }
    assert min(rows["paper, mean seconds"], rows["fast, mean seconds"]) > 0
    assert len(capsys.readouterr().out.splitlines()) >= 8
