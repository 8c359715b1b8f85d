"""One detector, one model: what becomes of every kind of answer, in the store and without one."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from helpers import toy_zoos
from mmbd.base.errors import Failed
from mmbd.data.dataset import Dataset
from mmbd.data.read import load
from mmbd.detectors.scan import ScanOptions
from mmbd.evaluation import answers
from mmbd.evaluation.answers import Runner
from mmbd.model.classifier import Classifier
from mmbd.results.finding import Artifact, Finding
from mmbd.results.report import Report
from mmbd.results.store import Store
from mmbd.zoo import Entry, Zoo

COUNTED = [2, 2, 2, 2, 2, 20]  # the toy models call everything class 5
DATA = Dataset(torch.rand(30, 4), torch.arange(6).repeat_interleave(torch.tensor(COUNTED)), tuple("abcdef"))


def runner(folder=None, *, level=0.05, zoo=None, samples=None, per_class=None, **detectors) -> Runner:
    rows = {"listens": toy_zoos.row(), **detectors}
    asked = {name: ScanOptions(row, level) for name, row in rows.items()}
    store = None if folder is None else Store(folder / "results.sqlite")
    return Runner(zoo or toy_zoos.small(), asked, samples=samples, per_class=per_class, store=store)


def test_an_answer_comes_back_from_the_store_as_it_was(tmp_path):
    first = runner(tmp_path)(("b0", "listens"))
    assert (first.report.verdict, first.report.targets, first.stored) == ("backdoored", (2,), False)
    second = runner(tmp_path)(("b0", "listens"))
    assert second.stored
    assert second.report == first.report
    ((key, stored),) = Store(tmp_path / "results.sqlite").items()
    assert (key.method, key.version, key.level) == ("helpers.toy_zoos.listens", 1, 0.05)
    assert Report.from_json(stored.value) == first.report


@pytest.mark.parametrize(
    "changed",
    [
        {"level": 0.04},
        {"zoo": Zoo((toy_zoos.entry("b0", 0.002, 2),))},  # other weights under the same name
        {"listens": toy_zoos.row(toy_zoos.scores_only)},  # another detector under the same name
        {"listens": toy_zoos.row(version=2)},
    ],
)
def test_nothing_stale_is_read(tmp_path, changed):
    runner(tmp_path)(("b0", "listens"))
    assert not runner(tmp_path, **changed)(("b0", "listens")).stored
    assert runner(tmp_path, **changed)(("b0", "listens")).stored
    assert runner(tmp_path)(("b0", "listens")).stored  # and the old one is still there


def test_options_at_their_defaults_are_no_other_options(tmp_path):
    runner(tmp_path)(("b0", "listens"))
    assert runner(tmp_path, listens=toy_zoos.row(options={"folder": None}))(("b0", "listens")).stored
    other = toy_zoos.row(options={"folder": str(tmp_path)})
    assert not runner(tmp_path, listens=other)(("b0", "listens")).stored


def test_a_detector_that_has_no_name_of_its_own_is_not_stored(tmp_path):
    def closure(classifier, samples=None, **_):
        return Finding("clean")

    for find in (closure, lambda *_, **__: Finding("clean")):
        answers = [runner(tmp_path, own=toy_zoos.row(find))(("b0", "own")) for _ in "12"]
        assert [(answer.error, answer.stored) for answer in answers] == [(None, False)] * 2


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"schema": 9}', "[" * 100_000, "null"])
def test_a_damaged_report_is_made_again(tmp_path, damage):
    runner(tmp_path)(("b0", "listens"))
    store = Store(tmp_path / "results.sqlite")
    ((key, _),) = store.items()
    store.put(key, damage)
    assert not runner(tmp_path)(("b0", "listens")).stored
    assert runner(tmp_path)(("b0", "listens")).stored


def test_failures_are_answers_and_not_stored(tmp_path):
    rows = {name: toy_zoos.row(getattr(toy_zoos, name)) for name in ("cannot", "fails", "shrugs")}
    ask = runner(tmp_path, wrong=toy_zoos.row(lambda *_, **__: 7), **rows)
    unable, failed = ask(("b0", "cannot")), ask(("b0", "fails"))
    assert (unable.error, unable.report.verdict, unable.report.reason) == (
        None,
        "not evaluable",
        "too few classes",
    )
    assert (failed.error, failed.report, failed.opened) == ("RuntimeError: a bug", None, True)
    assert ask(("b0", "shrugs")).report.reason == "cannot tell"
    assert ask(("b0", "wrong")).error.endswith("returned int, expected a Finding")
    kept = {key.method.rpartition(".")[2] for key, _ in Store(tmp_path / "results.sqlite").items()}
    assert kept == {"cannot", "shrugs"}


def test_a_finding_that_cannot_be_a_report_is_a_failure():
    def says(**finding):
        return toy_zoos.row(lambda *_, **__: Finding(**{"verdict": "clean"} | finding))

    ask = runner(
        high=says(score=math.inf),
        nan=says(score=math.nan),
        far=says(ranking=(99,)),
        big=says(facts={"x": np.ones(3)}),
    )
    assert ask(("b0", "high")).report.finding.score == sys.float_info.max
    assert ask(("b0", "nan")).report.finding.score is None
    assert "99" in ask(("b0", "far")).error
    assert ask(("b0", "big")).error is not None


def test_tensors_are_kept_neither_in_the_store_nor_in_memory(tmp_path):
    answer = runner(tmp_path, draws=toy_zoos.row(draws))(("b0", "draws"))
    assert answer.error is None
    assert answer.report.finding.artifacts == ()
    ((_, stored),) = Store(tmp_path / "results.sqlite").items()
    assert stored.artifacts is None
    assert runner(tmp_path, draws=toy_zoos.row(draws))(("b0", "draws")).stored


def draws(classifier, samples=None, **_) -> Finding:
    return Finding("clean", artifacts=(Artifact("trigger pattern", 1, torch.arange(4.0)),))


def test_a_model_that_cannot_be_opened(tmp_path):
    zoo = Zoo((Entry("x", "clean", toy_zoos.broken), toy_zoos.entry("y", 0.5)))
    ask = runner(tmp_path, zoo=zoo)
    answer = ask(("x", "listens"))
    assert (answer.report, answer.error, answer.opened) == (None, "no weights in here", False)
    assert ask(("y", "listens")).error is None
    assert ask(("z", "listens")).error == "z is no longer in the zoo"


def test_a_model_is_opened_once_for_all_its_detectors():
    opened = []

    def open_() -> object:
        opened.append(1)
        return toy_zoos.tagged(0.5)

    zoo = Zoo((Entry("x", "clean", open_), toy_zoos.entry("y", 0.1)))
    ask = runner(zoo=zoo, other=toy_zoos.row(toy_zoos.shrugs))
    for task in (("x", "listens"), ("x", "other"), ("y", "other"), ("x", "other")):
        ask(task)
    assert len(opened) == 2


def with_data(source, **changes) -> Zoo:
    return Zoo((replace(toy_zoos.entry("x", 0.5), samples=source, **changes),))


COUNTS = toy_zoos.row(toy_zoos.counts, needs=frozenset({"samples", "labels"}))


def test_a_detector_that_needs_samples_gets_the_models_own():
    read = []

    def source() -> Dataset:
        read.append(1)
        return DATA

    ask = runner(zoo=with_data(source), counts=COUNTS, again=COUNTS)
    assert ask(("x", "listens")).error is None
    assert read == []  # nobody needed them
    for name in ("counts", "again"):
        assert ask(("x", name)).report.finding.facts["counts"] == str(COUNTED)
    assert read == [1]
    usual = replace(COUNTS, per_class=9)  # what the row takes, where nothing else is said
    own = runner(zoo=with_data(source), counts=usual, again=COUNTS)
    assert own(("x", "counts")).report.finding.facts["counts"] == "[2, 2, 2, 2, 2, 9]"
    assert own(("x", "again")).report.finding.facts["counts"] == str(COUNTED)
    few = runner(zoo=with_data(source), counts=COUNTS, per_class=7)
    assert few(("x", "counts")).report.finding.facts["counts"] == "[2, 2, 2, 2, 2, 7]"
    given = runner(zoo=with_data(source), counts=COUNTS, samples=DATA, per_class=9)
    assert given(("x", "counts")).report.finding.facts["counts"] == "[2, 2, 2, 2, 2, 9]"


def test_samples_are_part_of_what_an_answer_depends_on(tmp_path):
    def ask(samples, **options):
        return runner(tmp_path, counts=COUNTS, samples=samples, **options)(("b0", "counts"))

    assert not ask(DATA).stored
    assert ask(DATA).stored
    assert not ask(DATA.take(torch.arange(24))).stored
    assert not ask(DATA, per_class=7).stored


def test_without_samples_a_model_is_not_evaluable_by_a_detector_that_needs_them(tmp_path):
    answer = runner(tmp_path, counts=COUNTS)(("b0", "counts"))
    assert (answer.error, answer.report.verdict) == (None, "not evaluable")
    assert "counts needs clean samples" in answer.report.reason
    assert not (tmp_path / "results.sqlite").exists()  # they may be given tomorrow

    def gone() -> Dataset:
        raise Failed("test.npz: there is no such file")

    failed = runner(zoo=with_data(gone), counts=COUNTS)(("x", "counts"))
    assert failed.error == "the clean samples cannot be used: test.npz: there is no such file"
    wrong = runner(samples=Dataset(torch.rand(9, 7), torch.arange(9) % 6, DATA.names), counts=COUNTS)
    assert "shape" in wrong(("b0", "counts")).error


def test_two_heads_of_one_network_have_answers_of_their_own(tmp_path):
    def ask(output: str):
        zoo = Zoo((Entry("x", "clean", lambda: Classifier(Heads(), input_shape=(4,), output=output)),))
        return runner(tmp_path, zoo=zoo, listens=toy_zoos.row(largest))(("x", "listens"))

    first, second = ask("0"), ask("1")
    assert (first.report.finding.score, second.report.finding.score) == (5.0, 50.0)
    assert (second.stored, ask("0").report, ask("0").stored) == (False, first.report, True)


class Heads(nn.Module):
    """Two heads of six classes, the second ten times as sure."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("logits", torch.arange(6.0))

    def forward(self, inputs):
        base = self.logits + inputs.sum(1, keepdim=True)
        return base, base * 10


def largest(classifier, samples=None, **_) -> Finding:
    return Finding("clean", score=float(classifier(torch.zeros(1, 4)).max()))


def test_the_samples_given_are_numbered_as_each_models_classes():
    names = ("five", "four", "three", "two", "one", "zero")
    renamed = Dataset(DATA.inputs, 5 - DATA.labels, names)

    def named() -> Classifier:
        return Classifier(toy_zoos.Tagged(0.5, 0), input_shape=(4,), class_names=names[::-1])

    zoo = Zoo((Entry("x", "clean", named), toy_zoos.entry("numbers", 0.5)))
    ask = runner(zoo=zoo, counts=COUNTS, samples=renamed)
    assert ask(("x", "counts")).report.finding.facts["counts"] == str(COUNTED)
    strange = Dataset(DATA.inputs, DATA.labels, (*names[:5], "six"))
    assert "Unknown to it: six" in runner(zoo=zoo, counts=COUNTS, samples=strange)(("x", "counts")).error


def test_samples_of_a_file_are_read_once_for_models_of_one_size(tmp_path, monkeypatch):
    np.savez(tmp_path / "clean.npz", x=DATA.inputs.numpy(), y=DATA.labels.numpy())
    read = []
    monkeypatch.setattr(answers, "load", lambda *args, **how: read.append(how) or load(*args, **how))
    ask = runner(counts=COUNTS, samples=tmp_path / "clean.npz")
    for model in ("b0", "b1"):
        assert ask((model, "counts")).report.finding.facts["counts"] == str(COUNTED)
    assert len(read) == 1


def test_a_place_where_nothing_can_be_stored_costs_the_stored_answer_alone(tmp_path):
    answer = runner(tmp_path / "gone")(("b0", "listens"))
    assert answer.report.verdict == "backdoored"
    assert "could not be kept" in answer.error


@pytest.mark.parametrize("name", ["../../evil", "a/b", "..", "", "x" * 500, "\0", "CON:é\n"])
def test_names_write_nothing_but_the_store(tmp_path, name):
    ask = runner(tmp_path, zoo=Zoo((toy_zoos.entry(name, 0.5),)), **{name: toy_zoos.row()})
    assert ask((name, name)).error is None
    assert [path.name for path in tmp_path.iterdir()] == ["results.sqlite"]
