"""Repairs are measured as they are reported, and NC-M unlearns what Neural Cleanse found."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import mmbd
from benchmarks.paper import cleansing, mitigations
from helpers import digit_zoos
from mmbd.data.dataset import split
from mmbd.model.forward import classes_of
from mmbd.workflows.repair import fix
from mmbd.zoo.make import make
from mmbd.zoo.own import cards_in
from mmbd.zoo.plan import read

GRID = '[[grid]]\nattack = ["badnet-M"]\n'


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    folder = root / "zoo"
    make(read(digit_zoos.plan(root, GRID)), folder, root=root)
    (card,) = cards_in(folder).values()
    return mitigations.opened(folder, card, mitigations.defended(card["settings"]["data"], root))


@pytest.fixture(scope="module")
def row(case):
    """NC-M, as the table has it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield mitigations.one(case, "nc-m", 20)
    torch.set_num_threads(threads)


def test_the_figures_are_those_of_a_repair(case):
    """`mmbd.fix` measures the same, on the same samples."""
    row = mitigations.one(case, "mm-bm", 5)
    learn, _ = split(case.given, 5, seed=case.card["seed"])
    _, whole = fix(case.classifier, learn, case.held_out, backdoor=case.backdoor, seed=case.card["seed"])
    assert row["accuracy"] == pytest.approx(whole.accuracy)
    assert row["attack_success"] == pytest.approx(whole.attack_success)
    assert row["untriggered"] == pytest.approx(whole.untriggered)
    assert row["fidelity"] == pytest.approx(whole.fidelity)


def test_nc_m_unlearns_the_trigger_that_was_found(case, row):
    assert row["mitigated"], row["reason"]
    assert row["found"]["success"] > 0.9
    assert row["seconds_of_finding"] > 0
    assert row["attack_success"][1] < row["attack_success"][0] / 2


def test_what_is_found_is_small_and_works_on_samples_it_was_not_found_on(case):
    target = case.card["targets"][0]
    learn, _ = split(case.given, 20, seed=0)
    found = cleansing.cleansed(case.classifier, learn, target, 0)
    others = case.held_out.inputs[case.held_out.labels != target]
    moved = classes_of(case.classifier, found.trigger(others.float() / 255)) == target
    assert float(moved.double().mean()) > 0.8
    assert 0 < found.said["mask norm"] < 32  # of 64 pixels
    assert float(found.trigger.mask.sum()) == pytest.approx(found.said["mask norm"], rel=1e-4)


def test_nothing_found_is_nothing_repaired(case, monkeypatch):
    found = mmbd.scan

    def without_pictures(*given, **options):
        report = found(*given, **options, steps=2)
        return replace(report, finding=replace(report.finding, artifacts=()))

    monkeypatch.setattr(mmbd, "scan", without_pictures)
    row = mitigations.one(case, "nc-m", 20)
    assert not row["mitigated"]
    assert "took enough samples" in row["reason"]
    assert row["accuracy"][0] == row["accuracy"][1]
