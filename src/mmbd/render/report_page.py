"""A report as one HTML file that needs nothing else: no network, no scripts, no other files."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from mmbd.base.text import brief, clean_text, probability
from mmbd.render import plots, words
from mmbd.render import statistics_plot as null_plot
from mmbd.render.assets import asset, policy, template
from mmbd.render.pictures import Picture, picture
from mmbd.render.svg import element
from mmbd.results.report import Report

WIDE, NARROW = 800, 328
PICTURES = 24
ENLARGED = 3
LISTED = 2000
OPEN = 24  # tables up to this long are shown without a click


@dataclass(frozen=True)
class Row:
    """A class in the table of all classes."""

    label: int
    name: str
    value: str
    bar: Markup
    gain: str
    p_value: str
    target: bool


@dataclass(frozen=True)
class Null:
    """A line in the table of p-values."""

    name: str
    p_value: str
    basis: str
    fitted: str
    reason: str
    decides: bool


@dataclass(frozen=True)
class Input:
    """A class's maximising input."""

    label: int
    name: str
    value: str
    target: bool
    enlarged: bool
    picture: Picture


def html(report: Report) -> str:
    """The report as a self-contained page: light, dark and printed; readable on a phone.

    Every text from the model or the report is cleaned and escaped. A content security policy
    forbids scripts and every connection; the one style sheet is allowed by its hash.
    """
    css = asset("page.css")
    order = words.ranking(report)
    return template(
        "page.html.j2"
    ).render(
        policy=policy(css),
        css=Markup(css),  # noqa: S704 our own file
        report=report,
        words=words,
        verdict=report.verdict,
        name=clean_text(report.model.name, 120),
        reason=clean_text(report.reason or "", 1000),
        level=f"{100 * report.level:g} %",
        p_value=words.p_value(report),
        basis=words.null_basis(report.null) if report.null else "",
        ratio=brief(report.ratio, 3),
        bounds=[brief(bound) for bound in report.model.bounds or ()],
        order=order,
        nulls=_nulls(report),
        rows=_rows(report, order[:LISTED]),
        unlisted=max(len(order) - LISTED, 0),
        open_rows=len(order) <= OPEN,
        inputs=_inputs(report, order),
        repeats=_repeats(report),
        caveats=[clean_text(caveat, 1000) for caveat in report.caveats],
        statistics_plots=_both(null_plot.statistics, report) if order else (),
        p_value_plots=_both(plots.p_values, report)
        if any(entry.value is not None for entry in report.p_values)
        else (),
        curve_plots=_both(plots.curves, report) if any(report.curves.get(label) for label in order) else (),
        fit=null_plot.gamma_fit(report),
    )


def _both(draw: plots.Draw, report: Report) -> tuple[Markup, Markup]:
    """The wide drawing and the narrow one; the style sheet shows the one that fits."""
    return draw(report, WIDE), draw(report, NARROW)


def _rows(report: Report, order: list[int]) -> list[Row]:
    top = max((report.statistics[label] or 0.0 for label in order), default=0.0)
    by_class, margins, gains = report.class_p_values, words.margins(report), words.gains(report)
    return [
        Row(
            label=label,
            name=words.class_name(report, label),
            value=margins[label],
            bar=_bar(max(report.statistics[label] or 0.0, 0.0) / top if top else 0.0),
            gain=gains[label] if gains else "",
            p_value=probability(by_class[label]) if by_class is not None else "",
            target=label in report.targets,
        )
        for label in order
    ]


def _bar(share: float) -> Markup:
    bar = element("rect", width=f"{100 * share:.1f}%", height=8, rx=2)
    return element("svg", [bar], class_="bar", width="100%", height=8, aria_hidden="true")


def _nulls(report: Report) -> list[Null]:
    return [
        Null(
            name=words.null_name(entry.null),
            p_value=probability(entry.value, entry.log10),
            basis=words.null_basis(entry.null),
            fitted=words.fitted(entry),
            reason=clean_text(entry.reason or "", 300),
            decides=entry.null == report.null,
        )
        for entry in report.p_values
    ]


def _inputs(report: Report, order: list[int]) -> list[Input]:
    """Targets first, then by statistic; the first few targets enlarged."""
    chosen = [label for label in report.targets if label in report.inputs]
    chosen += [label for label in order if label in report.inputs and label not in chosen]
    found: list[Input] = []
    margins = words.margins(report)
    for position, label in enumerate(chosen[:PICTURES]):
        target = label in report.targets
        alt = f"maximising input of {words.class_label(report, label)}"
        large = target and position < ENLARGED
        drawn = picture(report.inputs[label], report.model.bounds, alt, large)
        name = words.class_name(report, label)
        found.append(Input(label, name, margins[label], target, large, drawn))
    return found


def _repeats(report: Report) -> list[tuple[int, int, str, str]]:
    """By seed: the seed, the winning class, its name and the p-value."""
    repeats = report.stability
    if repeats is None:
        return []
    runs = zip(repeats.seeds, repeats.winners, repeats.p_values, strict=True)
    return [
        (seed, winner, words.class_name(report, winner), probability(value))
        for seed, winner, value in list(runs)[:200]
    ]
