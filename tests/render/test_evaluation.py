"""The page of an evaluation: what it says, what it escapes, and how a real browser takes it."""

from __future__ import annotations

import html as escape
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from helpers import example_evaluations
from mmbd.evaluation.metrics import Rate
from mmbd.render.evaluation_page import html
from mmbd.render.evaluation_plots import SERIES, bars, roc, series
from render.test_chromium import CHROMIUM, share, shot, visit

in_chromium = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no Chromium on this machine; install Debian's package `chromium` to run these tests",
)


@pytest.mark.parametrize("name", example_evaluations.ALL)
def test_the_page_holds_the_figures(name: str):
    found = example_evaluations.ALL[name]()
    page = html(found)
    for row in found.tables.overall:
        assert f"{row.detection.hits}/{row.detection.n};" in page or not row.detection.n
        assert f"{row.false_positives.hits}/{row.false_positives.n};" in page
    assert page.count("<h2>ROC curves</h2>") == (name != "empty_handed")
    assert page.count("<h2>Failures</h2>") == bool(found.failures)
    assert "<script" not in page


def test_names_are_escaped_and_cleaned():
    page = html(example_evaluations.hostile())
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }}" in page
    assert not {"\x1b", "\u202e"} & set(page)
    assert "<img" not in page
    assert "x" * 100 not in page


@pytest.mark.parametrize("name", example_evaluations.ALL)
def test_drawings_are_well_formed(name: str):
    drawings = re.findall(r"<svg .*?</svg>", html(example_evaluations.ALL[name]()), re.DOTALL)
    assert drawings
    for drawing in drawings:
        ElementTree.fromstring(drawing)


def points(drawing: str) -> list[list[tuple[float, float]]]:
    lines = re.findall(r'<polyline points="([^"]*)"', drawing)
    return [[tuple(map(float, p.split(","))) for p in line.split()] for line in lines]


def test_curves_are_drawn_where_they_are():
    rows = example_evaluations.ordinary().tables.overall
    styles = series([row.detector for row in rows])
    wide, narrow = (str(roc(rows, styles, width)) for width in (800, 328))
    assert len(points(wide)) == 2 * len(points(narrow)) == 8
    first = points(narrow)[0]
    assert len(first) == len(rows[0].roc)
    # From the lower left corner of the square to the upper right one.
    assert first[0] == (48, 14 + 266)
    assert first[-1] == (48 + 266, 14)
    left, full = points(wide)[4], points(wide)[0]
    assert max(x for x, _ in left) == pytest.approx(800 - 14)
    assert max(x for x, _ in full) == pytest.approx(48 + 340)


def test_bars_are_as_long_as_their_rates():
    rows = [("a", "d", Rate.of(1, 2)), ("a", "e", Rate.of(2, 2)), ("b", "d", Rate.of(0, 4))]
    drawing = str(bars(rows, series(["d", "e"]), "detection rate", 800, level=0.05))
    widths = [float(w) for w in re.findall(r'<rect [^>]*?width="([\d.]+)"', drawing)]
    assert widths[0] == pytest.approx(widths[1] / 2, abs=0.1)
    assert widths[2] == 1.5  # nothing is still to be seen
    assert "a, d: 1 of 2, 95 % interval 0.013 to 0.987" in drawing
    assert "level 0.05" in drawing
    assert re.findall(r">(\d/\d)<", drawing) == ["1/2", "2/2", "0/4"]


def test_more_detectors_than_colours():
    styles = series([f"d{number}" for number in range(SERIES + 1)])
    assert styles["d0"] == styles[f"d{SERIES}"] == "series series-0"


@in_chromium
@pytest.mark.parametrize("name", example_evaluations.ALL)
def test_it_loads_without_an_error_or_a_request(name: str, tmp_path: Path):
    seen = visit(html(example_evaluations.ALL[name]()), tmp_path / name)
    assert seen.console == []
    assert seen.requests == []
    assert "</html>" in seen.document
    assert "<script" not in seen.document.lower()


@in_chromium
def test_curves_and_bars_have_their_colours_light_and_dark(tmp_path: Path):
    page = html(example_evaluations.ordinary())
    light = shot(page, tmp_path / "light", 1000, 1200)
    dark = shot(page, tmp_path / "dark", 1000, 1200, "--force-dark-mode")
    for colour in ("#2f6db3", "#b85c00", "#2a7d4f", "#7a4fb0"):
        assert share(light, colour) > 1e-4
        assert share(dark, colour) < 1e-5
    for colour in ("#8ab4e3", "#f0a661", "#7ed3a2", "#c3a2ee"):
        assert share(dark, colour) > 1e-4
    assert share(light, "#ffffff") > 0.3
    assert share(dark, "#ffffff") < 0.01


@in_chromium
@pytest.mark.parametrize("name", ["ordinary", "hostile"])
def test_no_width_scrolls_sideways(name: str, tmp_path: Path):
    page = re.sub(
        r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html(example_evaluations.ALL[name]())
    )
    widths = (320, 768, 1280)
    frames = "".join(f'<iframe width="{width}" srcdoc="{escape.escape(page)}"></iframe>' for width in widths)
    script = (
        "<script>onload = () => { document.title = JSON.stringify("
        "[...document.querySelectorAll('iframe')].map(frame => "
        "frame.contentDocument.documentElement.scrollWidth)) }</script>"
    )
    seen = visit(frames + script, tmp_path / "frames")
    measured = re.search(r"<title>(.*)</title>", seen.document)
    assert measured is not None
    assert json.loads(measured[1]) == list(widths)
