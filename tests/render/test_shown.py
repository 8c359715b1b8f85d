"""The perturbation that decides is what a reader sees first: where it sits, what it does, how it sounds."""

from __future__ import annotations

import base64
import io
import re
import wave
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from helpers import example_reports
from helpers.page_parser import Page
from mmbd.base.text import clean_text
from mmbd.render import sounds, words
from mmbd.render.report_page import html
from mmbd.render.shown import First, first
from mmbd.render.terminal import terminal
from mmbd.results.report import Report
from mmbd.results.shown import Shown


def example(name: str) -> Report:
    return example_reports.ALL[name]()


def seen(name: str) -> First:
    found = first(example(name))
    assert found is not None
    return found


def frame(drawing: str) -> tuple[float, ...]:
    """From where to where a frame reaches: left, top, right, bottom, in shares of the drawing."""
    svg = ElementTree.fromstring(drawing)
    (rect,) = [one for one in svg.iter("rect") if one.get("class") == "frame"]
    x, y, width, height = (float(rect.get(key, "")) for key in ("x", "y", "width", "height"))
    across, down = (float(svg.get(key, "")) for key in ("width", "height"))
    return x / across, y / down, (x + width) / across, (y + height) / down


def recordings(report: Report) -> list[wave.Wave_read]:
    sources = [str(audio["src"]) for audio in Page(html(report)).all("audio")]
    assert all(source.startswith("data:audio/wav;base64,") for source in sources)
    return [wave.open(io.BytesIO(base64.b64decode(source.split(",")[1]))) for source in sources]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "window",
            '17 of 20 inputs of other classes go to class 3 "cat" with the same change of 25 pixels '
            "(rows 24 to 28, columns 26 to 30).",
        ),
        (
            "added",
            "1 of 20 inputs goes to another class, each class to its own, with the same pattern added.",
        ),
        (
            "stretch",
            '17 of 20 inputs of other classes go to class 3 "cat" with the same change of 40 samples '
            "(samples 1000 to 1039).",
        ),
        (
            "ball",
            '17 of 20 inputs of other classes go to class 3 "cat" with the same change of 8 points '
            "(a ball around (0.9, 0.9, 0.9)).",
        ),
        (
            "few_values",
            '1 of 1 inputs of other classes goes to class 3 "cat" with the same change of 1 value.',
        ),
    ],
)
def test_a_sentence_says_what_it_does_on_the_page_and_in_a_terminal(name: str, sentence: str):
    report = example(name)
    assert words.shown(report) == sentence
    assert sentence in Page(html(report)).text()
    file = io.StringIO()
    terminal(report, Console(file=file, force_terminal=False))
    said = file.getvalue().splitlines()[1]
    assert said == (sentence if report.verdict == "backdoored" else f"The most that was found: {sentence}")


def test_it_comes_before_everything_else_and_other_pictures_after_it():
    page = Page(html(example("window")))
    assert page.text("h2").startswith("The change that decides What this means")
    alts = [image["alt"] for image in page.all("img")]
    assert alts == [
        *(f"input before, of class {name}" for name in ('0 "plane"', '5 "dog"', '9 "truck"')),
        alts[-1],
    ]
    assert alts[-1] == 'maximising input of class 3 "cat"'
    drawn = [svg["aria-label"] for svg in page.all("svg") if str(svg.get("aria-label")).startswith("input")]
    assert drawn == ['input after, of class 3 "cat"', "input after minus input before"] * 3
    assert page.text("h2").count("What was found") == 1
    assert "not in this report" not in page.text().lower()
    assert Page(html(example("added"))).text("h2").startswith("The strongest change that was found")


def test_a_window_has_a_frame_around_it():
    for panels in seen("window").examples:
        assert [panel.title for panel in panels] == ["before", "after", "difference"]
        assert not panels[0].picture.framed
        for panel in panels[1:]:
            found = frame(panel.picture.drawing)
            assert found == pytest.approx((26 / 32, 24 / 32, 31 / 32, 29 / 32), abs=0.02)
    assert frame(seen("stretch").examples[0][1].picture.drawing) == pytest.approx(
        (0.25, 0, 0.26, 1), abs=0.01
    )
    assert frame(seen("few_values").examples[0][1].picture.drawing) == pytest.approx(
        (4 / 12, 0, 5 / 12, 1), abs=0.02
    )
    assert not any(panel.picture.framed for panels in seen("added").examples for panel in panels)


def test_a_faint_difference_is_drawn_as_far_as_it_goes():
    panel = seen("added").examples[0][2]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(panel.picture.uri.split(",")[1]))))
    assert pixels.min() < 3
    assert pixels.max() > 252
    assert "The difference is drawn from -0.05 (black) to 0.05 (white)" in seen("added").notes


def test_points_that_change_are_marked():
    before, after = seen("ball").examples[0]
    count = re.compile(r"M\S+ \S+h0")
    marks = [
        {
            path.get("class"): len(count.findall(path.get("d", "")))
            for path in ElementTree.fromstring(drawing).iter("path")
        }
        for drawing in (before.picture.drawing, after.picture.drawing)
    ]
    assert marks == [{"cloud far": 32, "cloud": 32}, {"cloud far": 28, "cloud": 28, "cloud changed": 8}]


def test_sounds_can_be_heard_and_last_as_long_as_they_should():
    report = example("stretch")
    found = recordings(report)
    assert len(found) == 6
    for file in found:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        assert file.getnframes() / file.getframerate() == 0.5
    before, after = (np.frombuffer(file.readframes(4000), "<i2") for file in found[:2])
    wanted = report.finding.artifacts[0].tensor[0].numpy()
    assert np.abs(before / 32767 - wanted).max() < 1e-4
    assert (np.flatnonzero(before != after) == np.arange(1000, 1040)).all()
    assert (after[1000:1040] == 32767).all()
    assert "Sounds play 8,000 samples a second, which is assumed" in Page(html(report)).text()


def test_a_rate_that_is_known_is_played():
    report = example("stretch")
    assert report.finding.shown is not None
    report = report.revised(shown=replace(report.finding.shown, rate=16000))
    assert {file.getframerate() for file in recordings(report)} == {16000}
    assert "Sounds play 16,000 samples a second." in Page(html(report)).text()


def test_the_loudest_is_what_the_bounds_say_and_what_is_not_finite_is_silent():
    sound = torch.tensor([[0.0, 4.0, 2.0, 9.0, torch.nan, torch.inf]])
    with wave.open(io.BytesIO(sounds.wav(sound, (0.0, 4.0)))) as file:
        assert np.frombuffer(file.readframes(9), "<i2").tolist() == [-32767, 32767, 0, 32767, 0, 0]


def test_very_long_sounds_are_left_out_and_the_page_says_so(monkeypatch):
    monkeypatch.setattr(sounds, "LONGEST", 3999)
    page = Page(html(example("stretch")))
    assert not page.all("audio")
    assert "Sounds of more than 3,999 samples are not in this page." in page.text()


def test_only_pages_with_sounds_allow_them():
    policies = {
        name: next(
            meta["content"] for meta in Page(html(example(name))).all("meta") if meta.get("http-equiv")
        )
        for name in ("stretch", "window", "backdoored")
    }
    assert {name for name, said in policies.items() if "media-src data:;" in str(said)} == {"stretch"}


def test_hostile_names_beside_the_pictures_do_nothing():
    text = html(example("hostile_shown"))
    assert "<script" not in text.lower()
    assert "<img src=x" not in text
    assert not set("\x1b\x07\u202e\u2066\u200b\ud800") & set(text)
    shown = Page(text).text()
    for name in example_reports.HOSTILE:
        assert clean_text(name, 20).removesuffix("...") in shown, name


def test_without_its_pictures_the_page_still_says_what_was_found():
    again = Report.from_json(example("window").to_json())
    page = Page(html(again))
    assert words.shown(again) in page.text()
    assert not page.all("img")
    assert "it was read without its file of pictures" in page.text()
    assert page.text("h2").count("What was found") == 0


@pytest.mark.parametrize("shape", [(5, 8, 8), (2, 9), (1, 2, 3, 4), ()])
def test_other_shapes_get_a_note(shape: tuple[int, ...]):
    report = example("window")
    artifacts = [replace(one, tensor=torch.rand(shape)) for one in report.finding.artifacts[:6]]
    found = first(report.revised(artifacts=tuple(artifacts)))
    assert found is not None
    assert {panel.picture.kind for panel in found.examples[0]} == {"note"}
    html(report.revised(artifacts=tuple(artifacts)))


def test_inputs_without_bounds_or_that_are_not_finite_are_drawn_all_the_same():
    report = example("window")
    broken = [replace(one, tensor=one.tensor.clone()) for one in report.finding.artifacts]
    broken[1].tensor[0, 0, 0] = torch.nan
    made = report.revised(artifacts=tuple(broken))
    found = first(replace(made, model=replace(made.model, bounds=None)))
    assert found is not None
    assert [len(panels) for panels in found.examples] == [3, 3, 3]
    nothing = [replace(one, tensor=torch.full((3, 4, 4), torch.nan)) for one in broken]
    html(replace(made.revised(artifacts=tuple(nothing)), model=replace(made.model, bounds=None)))


def test_what_changes_nothing_has_no_difference():
    report = example("added")
    artifacts = report.finding.artifacts
    same = tuple(
        replace(one, tensor=artifacts[place - place % 2].tensor) for place, one in enumerate(artifacts)
    )
    found = first(report.revised(artifacts=same))
    assert found is not None
    assert [[panel.title for panel in panels] for panels in found.examples] == [["before", "after"]] * 3


def test_no_more_than_three_examples_are_drawn():
    report = example("window")
    shown = replace(report.finding.shown or Shown("window", 3, 0, 0), examples=((0, 3), (5, 3), (9, 3)) * 4)
    found = first(report.revised(shown=shown, artifacts=report.finding.artifacts[:6] * 4))
    assert found is not None
    assert len(found.examples) == 3
