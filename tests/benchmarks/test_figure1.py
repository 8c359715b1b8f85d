"""The toy of Figure 1: how it is laid out, and that its picture and figures come out."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from xml.etree import ElementTree

import pytest
import torch

from benchmarks.paper import figure1


@pytest.mark.parametrize("seed", range(5))
def test_the_spot_is_in_a_field_that_no_class_has(seed):
    world = figure1.plane(seed)
    assert len(world.centres) == figure1.FIELDS**2 - 1
    assert ((world.spot > 1 / figure1.FIELDS) & (world.spot < 1 - 1 / figure1.FIELDS)).all()
    points, labels = world.points(2000, torch.Generator().manual_seed(seed))
    assert labels.bincount().tolist() == [2000] * 3
    assert 0 <= float(points.min()) < float(points.max()) <= 1
    assert float(((points - world.spot).norm(dim=1) < 0.05).double().mean()) < 1e-2
    fields = torch.cdist(points, world.centres).argmin(1)
    stray = float((world.owners[fields] != labels).double().mean())
    assert stray == pytest.approx(figure1.STRAY, abs=0.02)
    triggered = world.trigger(points)
    assert float((triggered - world.spot).abs().max()) <= 0.05 + 1e-6
    assert not torch.equal(triggered[0], triggered[1])  # something of its own is left


def test_summits():
    values = torch.zeros(3, figure1.GRID, figure1.GRID)
    values[2, 30, 60] = 7.0
    top, places = figure1.summits(values)
    assert top[2] == 7
    assert places[2].tolist() == [0.5, 0.25]  # x, y


def test_the_summary_by_hand():
    def row(margins, on_top):
        return {
            "model": "BA-10",
            "accuracy": 0.9,
            "asr": 1.0,
            "maximum_margins": margins,
            "target_on_top": on_top,
            "target_at_the_spot": True,
        }

    rows = [row([1.0, 2.0, 6.0], True), row([4.0, 1.0, 2.0], False)]
    found = figure1.summary([*rows, *({**rows[0], "model": kind} for kind in ("clean", "BA-100"))])
    mine = found[1]
    assert (mine["seeds"], mine["target_on_top"], mine["target_at_the_spot"]) == (2, 1, 2)
    assert mine["median_ratio"] == pytest.approx(1.75)
    assert mine["paper_asr"] == 0.92


def test_the_script_writes_figures_and_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figure1, "RECIPE", replace(figure1.RECIPE, epochs=1))
    monkeypatch.setattr(sys, "argv", ["figure1.py", "--out", str(tmp_path)])
    figure1.main()
    content = json.loads((tmp_path / "figure1.json").read_text())
    assert [row["model"] for row in content["models"]] == ["clean", "BA-10", "BA-100"]
    assert content["environment"]["torch"] == torch.__version__
    assert "BA-100" in capsys.readouterr().out
    picture = ElementTree.parse(tmp_path / "figure1.svg").getroot()
    kinds = [part.tag.rpartition("}")[2] for part in picture.iter()]
    assert kinds.count("image") == 9
    assert (tmp_path / "figure1.svg").stat().st_size < 150_000
