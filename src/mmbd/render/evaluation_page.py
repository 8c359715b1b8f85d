"""An evaluation as one HTML file: no network, no scripts, no other files are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from mmbd.base.text import clean_text
from mmbd.evaluation.tables import Figures
from mmbd.render import assets
from mmbd.render import evaluation_text as formats
from mmbd.render.evaluation_plots import bars, roc, series
from mmbd.render.report_page import NARROW, WIDE

if TYPE_CHECKING:
    from mmbd.evaluation.run import Evaluation


@dataclass(frozen=True)
class Row:
    """A row of a table."""

    part: str
    detector: str
    cells: tuple[formats.Cell, ...]


def html(evaluation: Evaluation) -> str:
    """The evaluation as a self-contained page: light, dark and printed; readable on a phone.

    Names of models, attacks and detectors are cleaned and escaped. A content security policy
    forbids scripts and every connection; the one style sheet is allowed by its hash.
    """
    css = assets.asset("page.css") + assets.asset("evaluation.css")
    found = evaluation.tables
    styles = series([row.detector for row in found.overall])
    truths = {result.model: result.backdoored for result in evaluation.results}
    attacks = [row for row in found.attacks if row.detection.n]
    # An attack's row also has the clean models that it is compared with: not its own to show.
    kinds = [row for row in found.attacks if not row.detection.n]
    detections = [(row.part, row.detector, row.detection) for row in attacks]
    alarms = [(row.part, row.detector, row.false_positives) for row in kinds]
    return assets.template("evaluation.html.j2").render(
        policy=assets.policy(css),
        css=Markup(css),  # noqa: S704 our own files
        zoo=clean_text(evaluation.zoo, 120),
        level=f"{evaluation.level:g}",
        series=[(clean_text(name, 40), style) for name, style in styles.items()],
        models=len(truths),
        backdoored=sum(truths.values()),
        clean=len(truths) - sum(truths.values()),
        excluded=len(evaluation.excluded),
        headings=formats.HEADINGS,
        overall=_rows(found.overall),
        tables=[
            (title, part, _rows(rows, part == "attack"))
            for title, part, rows in (
                ("By attack", "attack", found.attacks),
                ("By group", "group", found.groups),
            )
            if rows
        ],
        roc=_both(lambda width: roc(found.overall, styles, width))
        if any(row.roc for row in found.overall)
        else (),
        detection_bars=_both(lambda width: bars(detections, styles, "detection rate", width))
        if detections
        else (),
        alarm_bars=_both(lambda width: bars(alarms, styles, "false-positive rate", width, evaluation.level))
        if alarms
        else (),
        notes=formats.notes(evaluation),
        failures=[(clean_text(what, 120), clean_text(why, 1000)) for what, why in evaluation.failures],
        environment={name: clean_text(value) for name, value in evaluation.environment.items()},
    )


def _both(draw: Callable[[int], Markup]) -> tuple[Markup, Markup]:
    """The wide drawing and the narrow one; the style sheet shows the one that fits."""
    return draw(WIDE), draw(NARROW)


def _rows(rows: Iterable[Figures], of_attack: bool = False) -> list[Row]:
    found: list[Row] = []
    for row in rows:
        detector, *cells = formats.cells(row, of_attack)
        found.append(Row(clean_text(row.part, 60), detector.value, tuple(cells)))
    return found
