"""The HTML page: complete in itself, well-formed, escaped, small, and saying what it must."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from functools import cache
from importlib.resources import files

import pytest

from helpers import example_reports
from helpers.page_parser import TAGS, Page
from mmbd.base.text import clean_text
from mmbd.render.report_page import html
from mmbd.results.report import Report


@cache
def source(name: str) -> str:
    return html(example_reports.ALL[name]())


@pytest.mark.parametrize("name", example_reports.ALL)
def test_nothing_comes_from_elsewhere_and_nothing_runs(name: str):
    page = Page(source(name))
    assert page.open == []
    assert {tag for tag, _ in page.elements} <= TAGS
    for tag, attributes in page.elements:
        for key, value in attributes.items():
            assert not key.startswith("on"), (tag, key)
            assert key not in ("style", "srcset", "action", "formaction", "xlink:href")
            if key in ("src", "href"):
                assert (value or "").startswith("data:"), (tag, value)
    style = next(text for tag, text in page.texts if tag == "style")
    assert not re.search(r"url\(|@import|@font-face|expression|https?:|//", style)


@pytest.mark.parametrize("name", example_reports.ALL)
def test_the_policy_forbids_everything_but_its_own_style_pictures_and_sounds(name: str):
    page = Page(source(name))
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") is not None]
    (style,) = [text for tag, text in page.texts if tag == "style"]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    heard = " media-src data:;" if page.all("audio") else ""
    assert policy == (
        f"default-src 'none'; img-src data:;{heard} style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    # A policy counts from where it stands: it must come before anything it is to stop.
    assert source(name).index("Content-Security-Policy") < source(name).index("<style")


@pytest.mark.parametrize("name", example_reports.ALL)
def test_the_page_can_be_read_without_seeing_it(name: str):
    page = Page(source(name))
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == len(page.all("main")) == 1
    head = source(name).split("</head>")[0]
    assert head.count("<title>") == 1
    kinds = {artifact.kind for artifact in example_reports.ALL[name]().finding.artifacts}
    for image in page.all("img"):
        assert any((image["alt"] or "").startswith(kind) for kind in kinds)
    for sound in page.all("audio"):
        assert any((sound["aria-label"] or "").startswith(kind) for kind in kinds)
    for drawing in page.all("svg"):
        assert drawing.get("aria-hidden") == "true" or (
            drawing.get("role") == "img" and drawing.get("aria-label")
        )
    for header in page.all("th"):
        assert header.get("scope") in ("col", "row")
    scrolled = [part for part in page.all("div") if part.get("class") == "scroll"]
    assert all(part.get("tabindex") == "0" and part.get("aria-label") for part in scrolled)


def test_hostile_names_are_shown_and_do_nothing():
    text = source("hostile")
    assert "<script" not in text.lower()
    shown = Page(text).text()
    for name in example_reports.HOSTILE:
        assert clean_text(name, 20).removesuffix("...") in shown, name
    assert not set("\x1b\x07\u202e\u2066\u200b\ud800") & set(text)
    assert "{{ 7 * 7 }}" in shown
    text.encode("utf-8")


def test_verdict_and_evidence():
    page = Page(source("backdoored"))
    assert page.text("h1") == "Backdoored"
    assert page.text("title").startswith("Backdoored: badnet-patch.safetensors (mmbd scan report)")
    text = page.text()
    assert 'The evidence points to target class 3 "cat" .' in text
    assert "expected with a probability of 0.0021" in text
    assert "Do not deploy the model" in text
    for fact in (
        "0.00034",
        "shape 42.6, loc 0, scale 0.3652, exponent 9",
        "no reference models",
        example_reports.model().sha256,
        "resnet8(width=16)",
        "2025-11-22T14:13:07+00:00",
        "torch 2.13.0",
        *example_reports.CAVEATS,
        'class 3 "cat" wins 4',
    ):
        assert fact is not None
        assert fact in text
    assert page.text("span").count("decides") == 1


def test_clean_never_says_safe():
    page = Page(source("clean"))
    assert page.text("h1") == "Clean"
    text = page.text()
    assert "Nothing was found at a false-positive rate of 5 %. That is not a proof" in text
    assert "target" not in page.text("td", "span", "text")
    assert "safe" not in text.replace("safetensors", "")


def test_not_evaluable_gives_the_reason_and_no_verdict():
    page = Page(source("not_evaluable"))
    assert page.text("h1") == "Not evaluable"
    text = page.text()
    assert text.count("the outputs are probabilities (they sum to 1), not logits") == 2
    assert "neither cleared nor accused" in text
    assert "Nothing was run." in text
    assert not page.all("img")
    assert not page.all("table")


def test_inputs_are_enlarged_when_suspicious():
    page = Page(source("two_targets"))
    widths = [image["width"] for image in page.all("img")]
    assert widths == ["224"] * 2 + ["96"] * 8
    assert page.all("img")[0]["alt"] == 'maximising input of class 3 "cat"'
    assert {image["width"] for image in Page(source("clean")).all("img")} == {"96"}
    assert [image["width"] for image in Page(source("reference")).all("img")].count("224") == 3
    assert not Page(source("sounds")).all("img")
    assert "tensors of shape 5 x 8 x 8 are not drawn" in Page(source("odd_inputs")).text()


def test_a_thousand_classes_stay_small_and_readable():
    text = source("thousand")
    page = Page(text)
    assert len(text.encode()) < 3_000_000
    assert len(page.all("img")) == 24
    assert "Pictures are of 24 classes, of 1000" in page.text()
    closed = [details for details in page.all("details") if "open" not in details]
    assert len(closed) == 1
    assert len(page.all("tr")) > 1000


def test_many_targets_with_large_inputs_stay_small():
    report = example_reports.thousand()
    order = report.finding.ranking
    assert len(html(report.revised(targets=order[:30])).encode()) < 3_000_000


def test_more_classes_than_the_table_holds():
    text = Page(html(example_reports.thousand(2500))).text()
    assert "500 classes further down are left out here" in text


def test_a_report_without_its_file_of_pictures_says_so():
    again = Report.from_json(example_reports.backdoored().to_json())
    page = Page(html(again))
    assert not page.all("img")
    assert "read from its JSON form alone" in page.text()


def luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_contrast_meets_aa_in_light_dark_and_print():
    css = files("mmbd.render").joinpath("page.css").read_text(encoding="utf-8")
    themes = [
        {
            name: value if len(value) == 7 else "#" + "".join(2 * c for c in value[1:])
            for name, value in re.findall(r"--([\w-]+): (#[0-9a-f]+);", block)
        }
        for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    ]
    assert len(themes) == 3
    pairs = [(front, "card") for front in ("ink", "muted", "target", "clean", "unsure")]
    pairs += [("ink", "page"), ("muted", "page")]
    pairs += [
        (front, f"tint-{kind}") for kind in ("target", "clean", "unsure") for front in ("ink", "muted", kind)
    ]
    for theme in themes:
        for front, back in pairs:
            light, dark = sorted((luminance(theme[front]), luminance(theme[back])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (front, back, theme)
        light, dark = sorted((luminance(theme["mark"]), luminance(theme["card"])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3


def test_a_model_from_memory_is_not_said_to_have_a_digest():
    report = replace(example_reports.clean(), model=example_reports.model(file=None, sha256=None))
    text = Page(html(report)).text()
    assert "no digest ties the two together" in text
    assert "SHA-256" not in text
    assert "none (in memory)" in text
    assert "3 x 32 x 32, from 0 to 1" in text
