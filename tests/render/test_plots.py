"""The drawings: well-formed, to scale, with targets told apart by more than colour."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from itertools import pairwise
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import example_reports
from mmbd.render import plots
from mmbd.render import statistics_plot as null_plot
from mmbd.render.svg import Scale, apart, element, spread
from mmbd.results.report import Report

DRAWINGS = {"statistics": null_plot.statistics, "p_values": plots.p_values, "curves": plots.curves}


def draw(name: str, report: Report, width: int = 800) -> Element:
    return ElementTree.fromstring(DRAWINGS[name](report, width))


def groups(svg: Element) -> dict[str, Element]:
    """The marks by their hover text."""
    return {group.findtext("title", ""): group for group in svg.iter("g")}


@pytest.mark.parametrize("name", example_reports.ALL)
@pytest.mark.parametrize("drawing", DRAWINGS)
@pytest.mark.parametrize("width", [800, 328])
def test_every_drawing_is_well_formed_and_finite(name: str, drawing: str, width: int):
    svg = draw(drawing, example_reports.ALL[name](), width)
    assert svg.get("role") == "img"
    assert svg.get("aria-label")
    for part in svg.iter():
        assert "style" not in part.attrib
        for value in part.attrib.values():
            assert "nan" not in value.split()
            assert "inf" not in value.split()
        for key in ("x", "x1", "x2", "cx"):
            if part.tag != "text" and key in part.attrib and not part.attrib[key].endswith("%"):
                assert -1 <= float(part.attrib[key]) <= width + 1


def test_statistics_are_to_scale():
    report = example_reports.backdoored()
    marks = groups(draw("statistics", report))
    assert len(marks) == 10
    places = {}
    for title, group in marks.items():
        (circle,) = group.iter("circle") if "target" not in title else (None,)
        if circle is not None:
            places[float(title.split(": ")[1].split()[0])] = float(circle.get("cx", ""))
    assert len(places) == 9
    (low, at_low), *_, (high, at_high) = sorted(places.items())
    per_logit = (at_high - at_low) / (high - low)
    for value, x in places.items():
        assert x == pytest.approx(at_low + per_logit * (value - low), abs=0.11)
    (diamond,) = marks['class 3 "cat": 41.70 logits, target'].iter("polygon")
    corners = [float(point.split(",")[0]) for point in diamond.get("points", "").split()]
    middle = (min(corners) + max(corners)) / 2
    assert middle == pytest.approx(at_low + per_logit * (41.7 - low), abs=0.6)


def test_targets_are_diamonds_and_say_so():
    marks = groups(draw("statistics", example_reports.two_targets()))
    for title, group in marks.items():
        target = title.startswith(('class 3 "cat"', 'class 9 "truck"'))
        assert (group.find("polygon") is not None) == target
        assert (group.find("circle") is not None) == (not target)
        assert any("target" in (text.text or "") for text in group.iter("text")) == target


def test_the_density_of_the_paper_s_null_peaks_at_its_mode():
    report = example_reports.backdoored()
    svg = draw("statistics", report)
    curve = next(part for part in svg.iter("polyline") if part.get("class") == "density")
    points = [tuple(map(float, point.split(","))) for point in curve.get("points", "").split()]
    peak = min(points, key=lambda point: point[1])[0]
    ticks = [text for text in svg.iter("text") if text.get("class") == "tick"]
    at = {float(tick.text or ""): float(tick.get("x", "")) for tick in ticks}
    mode = (42.6 - 1) * 0.3652
    expected = at[0] + (at[10] - at[0]) / 10 * mode
    assert peak == pytest.approx(expected, abs=3)
    largest = [part for part in svg.iter("polyline") if part.get("class") == "density largest"]
    (points,) = [part.get("points", "").split() for part in largest]
    peak_of_largest = min(points, key=lambda point: float(point.split(",")[1]))
    assert float(peak_of_largest.split(",")[0]) > peak + 20


def test_without_a_fit_there_is_no_density():
    report = example_reports.backdoored().revised(tests=example_reports.p_values(0.0021)[:2])
    assert not list(draw("statistics", report).iter("polyline"))


def test_the_density_is_drawn_only_over_the_statistics_that_it_was_fitted_to():
    """Another detector's test may be called "paper" as well: nobody said what it was fitted to."""
    report = replace(example_reports.backdoored(), detector="another")
    assert not list(draw("statistics", report).iter("polyline"))


def test_a_threshold_of_the_statistic_is_drawn_and_another_statistic_s_is_not():
    def lines(**parameters: float) -> list[str]:
        report = example_reports.backdoored().revised(
            tests=(example_reports.p_value("population", 0.0021, **parameters),)
        )
        svg = draw("statistics", report)
        return [text.text or "" for text in svg.iter("text") if "threshold" in (text.text or "")]

    assert lines(threshold=30.0) == ["threshold 30.00"]
    assert lines(threshold=30.0, statistic=41.7) == ["threshold 30.00"]
    assert lines(threshold=30.0, statistic=1.2) == []
    assert lines() == []


def test_low_statistics_come_first_where_they_are_suspicious():
    svg = draw("statistics", example_reports.ALL["neural_cleanse"]())
    marks = groups(svg)
    assert list(marks)[:2] == ['class 3 "cat": 12.2 pixels, target', 'class 6 "frog": 87.4 pixels']
    assert "the smallest is 12.2, of class 3" in svg.get("aria-label", "")
    assert "mask norm (pixels)" in [text.text for text in svg.iter("text")]


def test_many_classes_share_a_row():
    svg = draw("statistics", example_reports.thousand())
    assert len(groups(svg)) == 20
    assert "980 others" in [text.text for text in svg.iter("text")]
    bars = [part for part in svg.iter("rect") if part.get("class") == "others"]
    assert 5 < len(bars) < 200


def test_targets_beyond_the_largest_keep_their_row():
    report = example_reports.thousand()
    lowest = min(range(1000), key=lambda label: report.statistics[label] or 0.0)
    marks = groups(draw("statistics", report.revised(targets=(417, lowest))))
    assert len(marks) == 21
    assert sum("target" in title for title in marks) == 2


def test_p_values_are_on_a_logarithmic_axis():
    svg = draw("p_values", example_reports.backdoored())
    marks = groups(svg)
    assert "population: p = 0.0021, decides" in marks
    assert marks["population: p = 0.0021, decides"].find("polygon") is not None
    x = {
        title: float(circle.get("cx", ""))
        for title, group in marks.items()
        for circle in group.iter("circle")
    }
    decade = (x["bootstrap: p = 0.0084"] - x["paper (eq. 7): p = 0.00034"]) / math.log10(0.0084 / 0.00034)
    expected = x["paper (eq. 7): p = 0.00034"] + decade * math.log10(2.6)
    assert x["authors' variant: p = 0.00088"] == pytest.approx(expected, abs=0.3)
    assert "level 0.05" in [text.text for text in svg.iter("text")]


def test_curves_are_thinned_but_keep_their_end():
    report = example_reports.backdoored().revised(traces={3: tuple(map(float, range(1000)))})
    (polyline,) = draw("curves", report).iter("polyline")
    points = polyline.get("points", "").split()
    assert 100 <= len(points) <= 145
    assert float(points[-1].split(",")[0]) == pytest.approx(800 - 130)


def test_curves_name_the_target_and_label_the_axes():
    svg = draw("curves", example_reports.backdoored())
    texts = [text.text for text in svg.iter("text")]
    assert {"3 cat", "6 frog", "gradient evaluation", "maximum margin (logits)"} <= set(texts)
    thick = [part for part in svg.iter("polyline") if part.get("class") == "curve target"]
    assert len(thick) == 1
    assert len(list(draw("curves", example_reports.thousand()).iter("polyline"))) == plots.CURVES
    rival = draw("curves", example_reports.ALL["neural_cleanse"]())
    assert {"step", "mask norm (pixels)"} <= {text.text for text in rival.iter("text")}


finite = st.floats(-1e80, 1e80)


@given(st.lists(finite, max_size=5), st.integers(1, 9))
def test_ticks_are_round_and_inside(values: list[float], about: int):
    scale = spread(values, 0, 100)
    ticks = scale.ticks(about)
    assert ticks == sorted(ticks)
    assert len(ticks) <= about + 1
    assert all(0 <= scale(tick) <= 100 for tick in ticks)


def test_ticks_of_common_ranges():
    assert Scale(0, 43, 0, 1).ticks(5) == [0, 10, 20, 30, 40]
    assert Scale(-3, 11, 0, 1).ticks(7) == [-2, 0, 2, 4, 6, 8, 10]
    assert Scale(0, 1, 0, 1).ticks(5) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])


@given(st.lists(st.floats(0, 100), max_size=5))
def test_labels_are_moved_apart_and_stay_inside(places: list[float]):
    moved = apart(places, 15, 0, 100)
    assert all(-1e-9 <= place <= 100 + 1e-9 for place in moved)
    assert all(after - before >= 15 - 1e-9 for before, after in pairwise(sorted(moved)))
    if all(after - before >= 15 for before, after in pairwise(sorted(places))):
        assert moved == pytest.approx(places)


def test_text_and_attributes_are_escaped():
    drawn = element("text", "<b>&", aria_label='"><script>')
    assert drawn == '<text aria-label="&#34;&gt;&lt;script&gt;">&lt;b&gt;&amp;</text>'
