"""A report as one HTML file that needs nothing else: no network, no scripts, no other files."""

from __future__ import annotations

import re
from dataclasses import dataclass

from markupsafe import Markup, escape

from mmbd.base.text import brief, clean_text, probability
from mmbd.render import classes, plots, policy_words, words
from mmbd.render import statistics_plot as null_plot
from mmbd.render.assets import asset, policy, template
from mmbd.render.facts import model_facts, run_facts
from mmbd.render.gallery import bounds_told, gallery
from mmbd.render.matrix_plot import heat_map
from mmbd.render.shown import first
from mmbd.render.svg import element
from mmbd.results.report import Report

WIDE, NARROW = 800, 328
LISTED = 2000
OPEN = 24  # tables up to this long are shown without a click


@dataclass(frozen=True)
class Row:
    """A class in the table of all classes."""

    label: int
    name: str
    bar: Markup
    numbers: list[str]
    target: bool


@dataclass(frozen=True)
class Answer:
    """A line in the table of tests."""

    name: str
    answer: str
    basis: str
    details: str
    decides: bool


def html(report: Report) -> str:
    """The report as a self-contained page: light, dark and printed; readable on a phone.

    Every text from the model or the report is cleaned and escaped. A content security policy
    forbids scripts and every connection; the one style sheet is allowed by its hash.
    """
    css, about, found = asset("page.css"), words.about(report), report.finding
    order, measured = classes.ranking(report), classes.measured(report)
    pictures, seen_first = gallery(report), first(report)
    maps = [heat_map(report, matrix, (WIDE, NARROW)) for matrix in found.matrices]
    fit = null_plot.gamma_fit(report)
    return template(
        "page.html.j2"
    ).render(
        policy=policy(css, sounds=seen_first is not None and seen_first.heard),
        css=Markup(css),  # noqa: S704 our own file
        report=report,
        words=words,
        about=about,
        verdict=report.verdict,
        told=policy_words.verdict(report),
        look="not evaluable" if policy_words.rejected(report) else report.verdict,
        ruling=policy_words.sentences(report),
        name=clean_text(report.model.name, 120),
        reason=clean_text(report.reason or "", 1000),
        level=""
        if found.test is not None and words.by_threshold(found.test)
        else f"{100 * report.level:g} %",
        key=_key(report),
        meaning=words.meaning(report),
        advice=[_with_code(sentence) for sentence in about.advice.get(report.verdict, ())],
        order=order,
        columns=found.columns,
        headings=[classes.heading(column) for column in found.columns],
        explained=[about.columns[one.name] for one in found.columns if one.name in about.columns],
        ranked_by=classes.ranked_by(report),
        invalid=classes.invalid(report),
        answers=_answers(report),
        by_chance=all(test.p_value is not None for test in found.tests if test.answered),
        rows=_rows(report, order[:LISTED]),
        unlisted=max(len(order) - LISTED, 0),
        open_rows=len(order) <= OPEN,
        first=seen_first,
        pictures=pictures,
        bounds_told=bounds_told(report, pictures),
        labelled=sum(group.label is not None for group in pictures),
        maps=[drawn for drawn in maps if drawn is not None],
        repeats=_repeats(report),
        assumed=words.assumed(report),
        caveats=words.caveats(report),
        statistics_plots=_both(null_plot.statistics, report) if measured else (),
        p_value_plots=_both(plots.p_values, report)
        if any(test.p_value is not None for test in found.tests)
        else (),
        curve_plots=_both(plots.curves, report) if any(found.traces.values()) else (),
        fit="" if fit is None else words.title_of(report, fit.name),
        model_facts=model_facts(report),
        run_facts=run_facts(report),
    )


def _both(draw: plots.Draw, report: Report) -> tuple[Markup, Markup]:
    """The wide drawing and the narrow one; the style sheet shows the one that fits."""
    return draw(report, WIDE), draw(report, NARROW)


def _with_code(sentence: str) -> Markup:
    """A sentence of ours, with what stands in backticks as code."""
    return Markup(re.sub("`(.*?)`", r"<code>\1</code>", str(escape(sentence))))  # noqa: S704 escaped before


def _key(report: Report) -> list[tuple[str, str]]:
    """What decides, in figures."""
    test, about = report.finding.test, words.about(report)
    if test is not None and words.by_threshold(test):
        name = words.title_of(report, test.name)
        figures = [(name, brief(test.statistic)), ("threshold", brief(test.threshold))]
    else:
        figures = [("p-value", words.p_value(report)), ("level", f"{report.level}")]
    decides = "none" if test is None else words.title_of(report, test.name)
    figures.append((f"{about.test} that decides", decides))
    if report.finding.columns and classes.statistic(report).suspicious == "high":
        figures.append(("largest over second", brief(classes.ratio(report), 3)))
    return figures


def _rows(report: Report, order: list[int]) -> list[Row]:
    measured = classes.measured(report)
    top = max((measured[label] for label in order if label in measured), default=0.0)
    columns = [classes.numbers(column) for column in report.finding.columns]
    return [
        Row(
            label=label,
            name=classes.class_name(report, label),
            bar=_bar(max(measured.get(label, 0.0), 0.0) / top if top > 0 else 0.0),
            numbers=[texts[label] for texts in columns],
            target=label in report.targets,
        )
        for label in order
    ]


def _bar(share: float) -> Markup:
    bar = element("rect", width=f"{100 * share:.1f}%", height=8, rx=2)
    return element("svg", [bar], class_="bar", width="100%", height=8, aria_hidden="true")


def _answers(report: Report) -> list[Answer]:
    return [
        Answer(
            name=words.title_of(report, test.name),
            answer=words.answer(test),
            basis=words.basis_of(report, test.name),
            details=clean_text(test.reason or "", 300) or words.fitted(test),
            decides=test.name == report.finding.decided_by,
        )
        for test in report.finding.tests
    ]


def _repeats(report: Report) -> list[tuple[int, str, str]]:
    """By seed: the seed, the class that came first, and the p-value."""
    repeats = report.stability
    if repeats is None:
        return []
    runs = zip(repeats.seeds, repeats.winners, repeats.p_values, strict=True)
    return [
        (
            seed,
            "none" if winner is None else f"{winner} {classes.class_name(report, winner)}".strip(),
            probability(value),
        )
        for seed, winner, value in list(runs)[:200]
    ]
