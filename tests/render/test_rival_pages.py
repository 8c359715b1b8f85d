"""Pages of detectors other than MM-BD: pictures of several kinds, heat maps, thresholds, no class."""

from __future__ import annotations

import base64
import io
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import example_reports
from helpers.page_parser import Page
from mmbd.render.gallery import bounds_told, gallery
from mmbd.render.matrix_plot import MOST, heat_map
from mmbd.render.report_page import html
from mmbd.results.finding import Artifact, Matrix
from mmbd.results.report import Report


@cache
def page(name: str) -> Page:
    return Page(html(example_reports.ALL[name]()))


def test_nothing_of_mm_bd_is_said_of_others():
    for name in ("neural_cleanse", "pairs", "no_class", "many_columns"):
        text = page(name).text()
        assert "logit" not in text
        assert "gradient ascent" not in text
        assert "(MM-BD," not in text
    assert "with the detector small-masks, version 2 ." in page("neural_cleanse").text()


def test_a_threshold_takes_the_place_of_a_p_value():
    text = page("neural_cleanse").text()
    assert "MAD 8.4 threshold 2 test that decides MAD What this means" in text
    assert "What decides" in text
    assert "8.4, above 2" in text
    assert "10 classes, smallest first: low values are suspicious" in text
    assert "mask norm (pixels) bar anomaly index 3 cat target 12.2 8.400 6 frog 87.4 0.800" in text
    assert "Nothing was found . That" in page("no_outlier").text().replace("found.", "found .")
    assert "false-positive rate" not in page("no_outlier").text()


def test_a_flag_without_a_class_names_none():
    text = page("no_class").text()
    assert "The evidence points to a backdoor; no target class is named." in text
    assert "treat its answers as open to an attacker" in text
    assert "All classes" not in text
    assert [image["alt"] for image in page("no_class").all("img")] == ["query", "query"]


def test_kinds_of_one_class_stand_side_by_side():
    alts = [image["alt"] for image in page("neural_cleanse").all("img")]
    kinds = ["trigger mask", "trigger pattern", "triggered sample"]
    assert alts[:6] == [f"{kind} of class {label}" for label in ('3 "cat"', '6 "frog"') for kind in kinds]
    assert [image["width"] for image in page("neural_cleanse").all("img")] == ["224"] * 3 + ["96"] * 27
    assert "The mask norm of the class is 12.2 pixels." in page("neural_cleanse").text()


def test_masks_are_grey_and_from_0_to_1_whatever_the_inputs_are():
    mask = torch.tensor([[0.0, 0.5], [1.0, 0.25]])
    report = example_reports.ALL["neural_cleanse"]()
    artifacts = (Artifact("trigger mask", 3, mask), Artifact("trigger pattern", 3, mask.expand(3, 2, 2)))
    report = replace(report.revised(artifacts=artifacts), model=replace(report.model, bounds=(-1.0, 1.0)))
    (group,) = gallery(report)
    drawn = [Image.open(io.BytesIO(base64.b64decode(one.picture.uri.split(",")[1]))) for one in group.drawn]
    assert np.asarray(drawn[0]).tolist() == [[0, 128], [255, 64]]
    assert drawn[1].mode == "RGB"
    assert np.asarray(drawn[1])[..., 0].tolist() == [[128, 191], [255, 159]]
    assert bounds_told(report, [group]) == (
        "Drawn from -1 (dark or low) to 1 (bright or high). Masks are drawn from 0 (dark) to 1 (bright)."
    )


def test_pictures_of_no_class_come_last_and_no_class_has_too_many():
    wave = torch.zeros(1, 50)
    few = [Artifact("perturbation", None, wave), *(Artifact("triggered sample", 3, wave) for _ in range(9))]
    groups = gallery(example_reports.ALL["pairs"]().revised(artifacts=tuple(few)))
    assert [(group.label, len(group.drawn)) for group in groups] == [(3, 6), (None, 1)]
    assert groups[1].title == "of no class"


def heat(report: Report, matrix: Matrix) -> dict[str, float]:
    """How dark every pair is."""
    drawn = heat_map(report, matrix, (800,))
    assert drawn is not None
    svg = ElementTree.fromstring(drawn.drawings[0])
    return {
        mark.findtext("title", ""): float(mark.get("fill-opacity", ""))
        for mark in svg.iter("rect")
        if (mark.get("class") or "").startswith("heat")
    }


def test_the_most_suspicious_pair_is_the_darkest():
    report = example_reports.ALL["pairs"]()
    for matrix, told in zip(report.finding.matrices, ("0.9600", "0.0400"), strict=True):
        dark = heat(report, matrix)
        assert len(dark) == 90
        assert max(dark, key=lambda pair: dark[pair]) == f"2 to 3: {told}"
        assert (min(dark.values()), max(dark.values())) == (0.06, 1.0)
    text = page("pairs").text()
    assert 'The highest, 0.9600, is from class 2 "bird" to class 3 "cat".' in text
    assert 'The lowest, 0.0400 pixels, is from class 2 "bird" to class 3 "cat".' in text


def test_a_heat_map_of_many_classes_shows_the_most_suspicious_ones():
    report = example_reports.ALL["many_pairs"]()
    (matrix,) = report.finding.matrices
    drawn = heat_map(report, matrix, (800, 328))
    assert drawn is not None
    assert f"Drawn are the {MOST} classes of the most suspicious pairs, of 60." in drawn.note
    for drawing, width in zip(drawn.drawings, (800, 328), strict=True):
        marks = list(ElementTree.fromstring(drawing).iter("rect"))
        assert 0 < len(marks) < MOST * MOST
        assert all(float(mark.get("x", "")) + float(mark.get("width", "")) <= width for mark in marks)
    assert any(pair.startswith("57 to ") for pair in heat(report, matrix))


@pytest.mark.parametrize("value", [None, float("nan"), 1e300])
def test_a_matrix_without_a_number_is_not_drawn(value: float | None):
    assert heat_map(example_reports.clean(), Matrix("none", ((value,) * 10,) * 10), (800,)) is None


def test_equal_pairs_are_no_obstacle():
    dark = heat(example_reports.clean(), Matrix("equal", ((1.0,) * 10,) * 10))
    assert set(dark.values()) == {0.06}
