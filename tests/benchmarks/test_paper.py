"""Every table and figure of the paper, from a plan to its rows, on digits in place of CIFAR-10."""

from __future__ import annotations

import json
import sys
from importlib import import_module

import pytest

from benchmarks.paper import common, mitigation_advanced, table6
from helpers import digit_zoos, toy_zoos
from mmbd.evaluation.tables import Result
from mmbd.results.finding import Column
from mmbd.results.store import Store
from mmbd.zoo.plan import read

# Data and attacks go by the names that the tables look for.
SET = '[data.{0}]\ntrain = "train.npz"\ntest = "test.npz"\n'
PLANS = {
    "classical": SET.format("gtsrb")
    + """
[attack.chessboard-M]
count = 140
amplitude = 0.5
[attack.1-pixel-M]
kind = "badnet"
count = 140

[[grid]]
data = "cifar10"
attack = ["clean", "badnet-M", "chessboard-M", "1-pixel-M"]
[[grid]]
data = "gtsrb"
attack = ["clean", "chessboard-M"]
""",
    "rivals": '[[grid]]\ndata = "cifar10"\nattack = ["clean", "badnet-M"]\n',
    "repairs": '[[grid]]\ndata = "cifar10"\nattack = "badnet-M"\n',
    "wanet": '[attack.wanet-M]\nkind = "wanet"\n[[grid]]\ndata = "cifar10"\nattack = "wanet-M"\n',
    "advanced": """
[attack.multi-trigger-1]
kind = "multi-trigger"
rate = 0.3

[[grid]]
data = "cifar10"
attack = ["clean", "multi-trigger-1"]
""",
    "domains": SET.format("speech")
    + """
[[grid]]
data = "speech"
attack = ["clean", "badnet-M"]
""",
    "adaptive": """
[attack.beta-1e-4]
kind = "adaptive"
count = 140
beta = 1e-4

[[grid]]
data = "cifar10"
attack = ["beta-1e-4"]
""",
    "all-to-all": """
[arch.wide]
kind = "mlp"
hidden = [256]
recipe = { epochs = 40 }

[attack.all-to-all]
rate = 0.5

[[grid]]
data = "cifar10"
arch = "wide"
attack = ["clean", "all-to-all"]
""",
    "imbalance": """
[attack.normal-60]
kind = "imbalance"
count = 60
target_count = 120

[[grid]]
data = "cifar10"
attack = ["normal-60"]
""",
}
# What stands in the first columns of each script's table.
ROWS = {
    "table1": [("cifar10 mlp", "mm-bd", which) for which in ("fixed", "tuned here", "paper, %")]
    + [("gtsrb mlp", "mm-bd", "fixed"), ("gtsrb mlp", "mm-bd", "tuned here")],
    "table2": [("cifar10 mlp", "mm-bd", 4), ("gtsrb mlp", "mm-bd", 2)],
    "table5": [("clean", 1), ("multi-trigger-1", 1)],
    "table6": [("speech attacked", 1), ("speech clean", 1)],
    "table7": [("mm-bd", level) for level in (0.05, 0.02, 0.01, 0.005)],
    "table9": [("cifar10", "mlp", "1-pixel-M", 1, 140, 1000)],
    "table11": [("gtsrb", "mlp", "chessboard-M"), ("gtsrb", "mlp", "clean")],
    "figure3": [("beta-1e-4", 1)],
    "figure4": [(10, 10)],
    "figure5": [("normal-60", "mm-bd")],
    "figure8": [(1.02,), (1.05,)],
    "figure9": [("(a) backdoored",), ("(a) clean",), ("(b) clean, by margin",), ("(b) clean, by logit",)],
    "table10": [("auto", "gtsrb", "chessboard-M", 1)],
    "mitigation_advanced": [("advanced", "multi-trigger-1", "auto", 1)],
    "warps": [("clean", 3)],
}
# The tables of all detectors, of one that needs no data and little time.
MM_BD = ("--plan", "classical", "--detector", "mm-bd")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, plans and, as the scripts go, the models and what was found of them."""
    folder = tmp_path_factory.mktemp("paper")
    digit_zoos.write(folder)
    (folder / "plans").mkdir()
    for name, text in PLANS.items():
        whole = digit_zoos.PLAN.replace("[data.digits]", "[data.cifar10]") + text
        (folder / "plans" / f"{name}-small.toml").write_text(whole)
    return folder


def table(folder, name, monkeypatch, *options, out=None):
    """What the script writes: its rows."""
    monkeypatch.setattr(common, "PLANS", folder / "plans")
    out = out or folder / f"{name}.json"
    arguments = [str(folder), str(folder / "zoo"), "--out", str(out), *options]
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    import_module(f"benchmarks.paper.{name}").main()
    content = json.loads(out.read_text())
    assert content["scale"] == "small"
    assert content["environment"]["torch"]
    return [tuple(row.values()) for row in content["rows"]]


@pytest.mark.parametrize("name", ROWS)
def test_the_table_has_its_rows(folder, name, monkeypatch):
    rows = table(folder, name, monkeypatch, *(MM_BD if name in ("table1", "table2") else ()))
    starts = {row[: len(wanted)] for wanted in ROWS[name] for row in rows}
    assert set(ROWS[name]) <= starts


def test_references_of_the_same_classes_decide_in_table_6():
    """A class's margins lie within a tenth of its own; the attacked model's low class trebles."""

    def result(seed: int, target: int | None = None) -> Result:
        numbers = [scale * (1 + 0.01 * (seed * 7 % 20) / 2) for scale in (1.0, 10.0, 100.0)]
        if target is not None:
            numbers[target] *= 3
        return Result(
            f"{seed}",
            target is not None,
            "clean" if target is None else "sound",
            () if target is None else (target,),
            "speech m5",
            seed,
            "mm-bd",
            toy_zoos.report(columns=(Column("maximum margin", tuple(numbers)),), classes=3),
        )

    compared = table6.with_references
    clean = [result(seed) for seed in range(21)]
    attacked = [result(3, 0), result(4, 1)]
    assert compared([*clean, *attacked]) == {"clean": [True, True], "sound": [True, True]}
    assert compared([*clean[:-1], *attacked]) == {}  # 18 are too few


def test_what_the_answers_say_is_what_the_table_says(folder, monkeypatch):
    rows = {row[:3]: row for row in table(folder, "table1", monkeypatch, *MM_BD)}
    store = Store(folder / "zoo" / "classical-small-answers" / "results.sqlite")
    assert len(store.keys()) == 6
    fixed = rows["cifar10 mlp", "mm-bd", "fixed"]
    assert fixed[3] == 0  # images a class
    assert fixed[4].startswith(("100 % (1/1", "0 % (0/1"))
    assert fixed[-2].partition("(")[2][1:3] == "/3"
    assert fixed[-1] == 0  # without an answer
    assert rows["cifar10 mlp", "mm-bd", "paper, %"][4] == 86.7


@pytest.mark.parametrize("file", sorted(common.PLANS.glob("*.toml")), ids=lambda file: file.stem)
def test_every_plan_is_one(file):
    assert read(file)


def test_columns_that_would_hide_each_other():
    with pytest.raises(ValueError, match="called alike: n, paper, paper"):
        common.show("", ("n", "paper", "paper"), [(1, 2, 3)], None)


def test_nothing_is_trained_again(folder, monkeypatch):
    table(folder, "table9", monkeypatch)
    before = {path: path.stat().st_mtime_ns for path in (folder / "zoo").rglob("*.safetensors")}
    table(folder, "table9", monkeypatch, "--only-made")
    after = {path: path.stat().st_mtime_ns for path in (folder / "zoo").rglob("*.safetensors")}
    assert before == after != {}


def test_mitigation_tables(folder, monkeypatch):
    methods = ("mm-bm", "mm-bm-paper")
    for name in ("mitigations", "table4"):
        module = import_module(f"benchmarks.paper.{name}")
        monkeypatch.setattr(module, "IMAGES", dict.fromkeys(methods, 5))
    for name in ("table3", "table4"):
        monkeypatch.setattr(import_module(f"benchmarks.paper.{name}"), "METHODS", methods)
    rows = table(folder, "table3", monkeypatch)
    assert [(row[0], row[2]) for row in rows] == [
        (method, label) for method in methods for label in ("badnet-M", "all", "local patches")
    ]
    for row in rows:
        before, after = row[5], float(row[6].partition("±")[0])
        assert 0 <= after <= 100
        assert before >= 80  # of no other attack is anything claimed
    times = table(folder, "table4", monkeypatch)
    assert [row[:2] for row in times] == [(method, 5) for method in methods]
    assert times[0][4] == 1


def test_stems(folder, monkeypatch):
    rows = table(folder, "figure7", monkeypatch)
    assert {row[1] for row in rows} == {"clean", "backdoor"}
    assert (folder / "figure7-badnet-M.svg").read_text().count("<circle") == 2 * rows[0][2]


def test_rows_of_plans_without_models_stay(folder, tmp_path, monkeypatch):
    """Of the plans below one has models here, so its row is new; the other's is the file's."""
    table(folder, "mitigation_advanced", monkeypatch)
    out = tmp_path / "rows.json"
    old = {"plan": "elsewhere", "attack": "sound", "method": "auto", "n": 4, "ASR": 7.6}
    stale = {"plan": "repairs", "attack": "badnet-M", "method": "auto", "n": 99}
    out.write_text(json.dumps({"rows": [old, stale]}))
    monkeypatch.setattr(mitigation_advanced, "PLANS", ("elsewhere", "repairs"))
    rows = table(folder, "mitigation_advanced", monkeypatch, "--only-made", out=out)
    kept, *new = [dict(zip(mitigation_advanced.HEADINGS, row, strict=True)) for row in rows]
    assert {key: value for key, value in kept.items() if value is not None} == old
    assert {row["method"] for row in new} == set(mitigation_advanced.METHODS)
    assert {row["n"] + row["gave up"] for row in new} == {1}
