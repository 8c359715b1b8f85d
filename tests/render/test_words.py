"""The words that a detector's row brings: its placeholders, and what they are filled with."""

from __future__ import annotations

import string

import pytest

from helpers import example_reports
from mmbd.detectors import DETECTORS, About
from mmbd.render import words

MEANING = {"outliers", "chance"}
PLACES = {"backdoored": MEANING, "clean": MEANING, "suspect": {"value", "column"}}
ROWS = {name: row.about for name, row in DETECTORS.items()} | {"nobody's": About("nobody's")}


@pytest.mark.parametrize("name", ROWS)
def test_texts_hold_known_placeholders_alone(name: str):
    about = ROWS[name]
    for field, known in PLACES.items():
        parsed = list(string.Formatter().parse(getattr(about, field)))
        assert {place for _, place, _, _ in parsed if place is not None} <= known
        assert not any(form or turned for _, _, form, turned in parsed)
    assert set(about.advice) <= {"backdoored", "clean", "not evaluable"}
    assert all(sentence.count("`") % 2 == 0 for part in about.advice.values() for sentence in part)
    assert set(about.gamma) <= set(about.tests)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "backdoored",
            "One class stands out. Among clean models, a result as extreme as this is expected with a "
            "probability of 0.0021 (compared with clean networks of many kinds). It is strong evidence",
        ),
        ("two_targets", "2 classes stand out."),
        ("clean", "a result at least as extreme is expected with a probability of 0.41 (compared with clean"),
        ("neural_cleanse", "One class stands out. Its MAD is 8.4; models above 2 are suspicious."),
        ("no_class", "No class is named. Its meta-classifier is 0.93; models above 0.5 are suspicious."),
        ("many_columns", "Nothing that backdoors leave behind stands out."),
    ],
)
def test_what_a_verdict_means(name: str, said: str):
    assert said in words.meaning(example_reports.ALL[name]())


def test_values_are_filled_in_and_never_read_as_a_template():
    assert words.filled("The {column} is {value}.", column="{value}", value="{0} {x!r}") == (
        "The {value} is {0} {x!r}."
    )
    assert words.filled("One. {chance} Two.", chance="") == "One. Two."


def test_a_detector_that_is_no_row_here_gets_general_words():
    made = example_reports.hostile()
    assert words.about(made) is DETECTORS["mm-bd"].about
    assert words.about(example_reports.ALL["pairs"]()) == About("class-pairs")
