"""Untrusted text made harmless, and numbers as people read them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmbd.base.text import brief, clean_text, count, number, probability, seconds, size


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("cat", "cat"),
        ("Straße 東京 🐈", "Straße 東京 🐈"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("evil\u202egnp.exe", r"evil\u202egnp.exe"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("line\u2028paragraph\u2029", r"line\u2028paragraph\u2029"),
        ("no-break\u00a0space\u3000", "no-break space "),
        ("\udcff\ud800", r"\udcff\ud800"),
        ("\U000e0041tag", r"\U000e0041tag"),
        ("e\u0301te\u0301", "e\u0301te\u0301"),
        ("Z" + "\u0334" * 100, "Z" + "\u0334" * 3),
        ("x" * 81, "x" * 77 + "..."),
        ("x" * 80, "x" * 80),
        ("\n" * 10**6, r"\n" * 38 + "\\..."),
        (3, "3"),
    ],
)
def test_clean_text(given: object, shown: str):
    assert clean_text(given) == shown


@given(st.text(), st.integers(3, 60))
def test_clean_text_is_one_short_line_of_visible_characters(text: str, limit: int):
    shown = clean_text(text, limit)
    assert len(shown) <= limit
    assert all(unicodedata.category(character)[0] in "LMNPSZ" for character in shown)
    assert set(filter(str.isspace, shown)) <= {" "}
    assert clean_text(shown, limit) == shown
    shown.encode("utf-8")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (float("inf"), "-"),
        (0.0, "0"),
        (41.7, "41.70"),
        (-3.25, "-3.250"),
        (0.00123, "0.001230"),
        (123456.0, "123456"),
        (1e-9, "1e-09"),
        (12345678.0, "1.23e+07"),
    ],
)
def test_number(value: float | None, shown: str):
    assert number(value) == shown


@pytest.mark.parametrize(
    ("value", "log10", "shown"),
    [
        (None, None, "-"),
        (float("nan"), None, "-"),
        (1.0, 0.0, "1.00"),
        (0.412, None, "0.41"),
        (0.05, None, "0.050"),
        (0.0021, None, "0.0021"),
        (2.13e-7, None, "2.1e-07"),
        (0.0, -345.5, "3.2e-346"),
        (0.0, -346.0, "1.0e-346"),
        (0.0, None, "<1e-300"),
        (0.0, float("-inf"), "<1e-300"),
    ],
)
def test_probability(value: float | None, log10: float | None, shown: str):
    assert probability(value, log10) == shown


def test_other_quantities():
    assert [seconds(value) for value in (0.42, 1.43, 59.96, 250, 3725)] == [
        "0.42 s",
        "1.4 s",
        "1 min 0 s",
        "4 min 10 s",
        "1 h 2 min",
    ]
    assert [size(value) for value in (None, 0, 999, 310_456, 102_000_000, 5 * 10**15)] == [
        "-",
        "0 bytes",
        "999 bytes",
        "310 kB",
        "102 MB",
        "5e+03 TB",
    ]
    assert [count(value) for value in (None, 800, 25_557_032)] == ["-", "800", "25,557,032"]
    assert [brief(value) for value in (None, 9.0, 42.6, 0.36521)] == ["-", "9", "42.6", "0.3652"]
