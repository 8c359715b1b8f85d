"""The gallery of triggers: every attack on images is in it, and what hardly shows is amplified."""

from __future__ import annotations

import json
import sys
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image

from benchmarks.paper import figure6
from helpers import toy_victims
from mmbd.attacks import ATTACKS
from mmbd.triggers.additive import chessboard
from mmbd.triggers.patch import badnet
from mmbd.triggers.warp import warp

SHAPE = (3, 16, 16)


@pytest.mark.parametrize(("amplitude", "factor"), [(3 / 255, 42), (75 / 255, 1), (0.2, 2)])
def test_what_hardly_shows_is_amplified_on_grey(amplitude, factor):
    image = torch.full(SHAPE, 0.25)
    tile = figure6.drawn("chessboard", "", chessboard(SHAPE, amplitude=amplitude), image)
    assert tile.factor == factor
    assert tile.trigger.unique().tolist() == pytest.approx([0.5, min(1.0, 0.5 + factor * amplitude)])
    assert tile.image.unique().tolist() == pytest.approx([0.25, 0.25 + amplitude])  # as it really is
    assert (tile.pixels, tile.change) == (128, pytest.approx(amplitude))
    assert tile.amplified == ("" if factor == 1 else f"trigger x {factor}")


def test_a_patch_is_drawn_as_it_is():
    trigger = badnet(SHAPE, seed=0)
    tile = figure6.drawn("badnet", "", trigger, torch.rand(SHAPE))
    inside = trigger.mask.bool()
    assert torch.allclose(tile.trigger[inside], trigger.pattern[inside], atol=1e-6)
    assert (tile.trigger[~inside] == 0.5).all()
    assert tile.pixels == 9


def test_a_warp_is_drawn_by_what_it_does_to_the_image():
    """It leaves a grey image as it is."""
    image = torch.linspace(0, 1, 16).expand(SHAPE)
    tile = figure6.drawn("warp", "", warp(SHAPE, seed=0, strength=1), image)
    assert tile.factor > 1
    assert torch.allclose((tile.trigger - 0.5) / tile.factor, tile.image - image, atol=1e-6)


def test_every_attack_on_images_has_a_tile_that_is_the_same_again(tmp_path, monkeypatch, capsys):
    images = toy_victims.pictures(120)
    monkeypatch.setattr(figure6, "load", lambda *_, **__: images)
    for folder in ("first", "again"):
        monkeypatch.setattr(sys, "argv", ["figure6", "images", "--out", str(tmp_path / folder)])
        figure6.main()
    rows = json.loads((tmp_path / "first" / "figure6.json").read_text())["rows"]
    assert [row["attack"] for row in rows] == ["clean", *(n for n in ATTACKS if n not in figure6.OTHERS)]
    assert all(row["pixels changed"] > 0 for row in rows[1:])
    drawing = ElementTree.parse(tmp_path / "first" / "figure6.svg").getroot()
    assert len(drawing.findall("{*}image")) == 2 * len(rows)
    with Image.open(tmp_path / "first" / "figure6.png") as picture:
        assert picture.size == figure6.places(len(rows))[:2]
    for name in ("figure6.svg", "figure6.png"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
