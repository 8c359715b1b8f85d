"""An evaluation as Markdown, CSV, JSON and plain text; names of models and attacks are untrusted.

Rates are written as share (hits/n; 95 % interval), other figures with their interval if they have
one.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.cells import cell_len

from mmbd.base.text import clean_text, probability, seconds
from mmbd.evaluation.metrics import Estimate, Rate
from mmbd.evaluation.tables import Figures, Result

if TYPE_CHECKING:
    from mmbd.evaluation.run import Evaluation

SCHEMA = 1
HEADINGS = (
    "detector",
    "detection (right target)",
    "false positives",
    "AUC",
    "AUC (right target)",
    "AUC, FPR < 0.25",
    "cross-entropy",
    "Brier",
    "KS p",
    "no answer",
    "time",
)
# What a table may leave out where there is no room.
MINOR = ("AUC (right target)", "AUC, FPR < 0.25", "cross-entropy", "Brier", "KS p")


# After these, GitHub and others make a link of bare text, whatever was escaped: the character is
# still there once the page is made. A space of no width in between keeps it text.
LINKING = re.compile(r"@|:(?=//)|\bwww(?=\.)|#(?=\d)|\bGH-(?=\d)", re.IGNORECASE)
APART = "&#8203;"


class Cell(NamedTuple):
    """A figure, and the small print that belongs to it."""

    value: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.value} ({self.detail})" if self.detail else self.value


@dataclass(frozen=True)
class Table:
    """A title, column headings, and rows of cells."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def lines(self) -> list[tuple[str, ...]]:
        """Headings and rows as texts."""
        return [self.headings, *(tuple(map(str, row)) for row in self.rows)]


def shown(evaluation: Evaluation) -> list[Table]:
    """The tables as people read them: overall, by attack, by group."""
    found = evaluation.tables
    tables = [Table("Overall", HEADINGS, tuple(cells(row) for row in found.overall))]
    for what, rows in (("attack", found.attacks), ("group", found.groups)):
        body = tuple((Cell(clean_text(row.part, 40)), *cells(row, what == "attack")) for row in rows)
        if body:
            tables.append(Table(f"By {what}", (what, *HEADINGS), body))
    return tables


def cells(row: Figures, of_attack: bool = False) -> tuple[Cell, ...]:
    """One cell a heading.

    An attack's row holds the clean models it is compared with, too; what is theirs alone stands in
    their own row and is left out of the attack's.
    """
    against = of_attack and row.detection.n > 0
    star = "*" if row.calibrated_here else ""
    hits = rate(row.detection)
    if row.by_flag_alone:
        hits = Cell(hits.value, f"{hits.detail}; {row.by_flag_alone} by the flag alone")
    return (
        Cell(clean_text(row.detector, 40)),
        hits,
        Cell("") if against else rate(row.false_positives),
        estimate(row.auc),
        _number(row.located_auc),
        _number(row.partial_auc, 4),
        estimate(row.cross_entropy, star),
        _number(row.brier, mark=star),
        Cell("") if against else _uniformity(row),
        Cell(str(row.unanswered[0] if against else sum(row.unanswered))),
        Cell("-" if row.seconds is None else seconds(row.seconds)),
    )


def notes(evaluation: Evaluation) -> list[str]:
    """What has to be said beside the tables: the conditions, what was left out, what failed."""
    models = len({result.model for result in evaluation.results})
    said = [
        f"Models of {clean_text(evaluation.zoo)}: {models}; level {evaluation.level:g}, "
        f"seed {evaluation.seed}. In brackets: 95 % intervals, exact ones for rates."
    ]
    if evaluation.half:
        said.append(f"Only models trained with an {evaluation.half} seed.")
    if evaluation.without_seed:
        said.append(f"Without a known seed, hence in neither half: {evaluation.without_seed}.")
    if evaluation.attacks:
        names = ", ".join(clean_text(name, 40) for name in evaluation.attacks)
        said.append(f"Only ordinary clean models and: {names}.")
    if evaluation.excluded:
        said.append(f"Excluded, counting neither way: {len(evaluation.excluded)}.")
    if any(row.calibrated_here for row in evaluation.tables.overall):
        said.append(
            "* This detector gives no p-value: its probabilities are calibrated on the clean "
            "models of this very zoo."
        )
    if evaluation.failures:
        said.append(f"Failures, listed with their reasons: {len(evaluation.failures)}.")
    return [*said, *(clean_text(warning, 600) for warning in evaluation.warnings)]


def markdown(evaluation: Evaluation) -> str:
    """GitHub tables, with notes and failures."""
    parts: list[str] = []
    for table in shown(evaluation):
        head, *rows = table.lines
        lines = [head, ("---",) * len(head), *rows]
        body = "\n".join("| " + " | ".join(map(_escaped, line)) + " |" for line in lines)
        parts.append(f"### {table.title}\n\n{body}")
    parts += ["\n".join(map(_item, notes(evaluation)))]
    if evaluation.failures:
        parts.append("### Failures\n\n" + "\n".join(map(_item, failures(evaluation))))
    return "\n\n".join(parts) + "\n"


def text(evaluation: Evaluation) -> str:
    """Aligned columns for pipes and logs, never wrapped."""
    parts: list[str] = []
    for table in shown(evaluation):
        lines = table.lines
        widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
        body = ["  ".join(map(_padded, line, widths)).rstrip() for line in lines]
        parts.append("\n".join([table.title, *body]))
    return "\n\n".join([*parts, "\n".join(notes(evaluation))]) + "\n"


def failures(evaluation: Evaluation) -> list[str]:
    """One line a failure."""
    return [f"{clean_text(what, 120)}: {clean_text(why, 400)}" for what, why in evaluation.failures]


def comma_separated(evaluation: Evaluation) -> str:
    """Every row of every table as CSV, with raw numbers; nothing where there is no figure."""
    out = io.StringIO()
    found = evaluation.tables
    writer = None
    for name in ("overall", "attacks", "groups"):
        for row in getattr(found, name):
            flat = _flat(name, row)
            if writer is None:
                writer = csv.DictWriter(out, list(flat), lineterminator="\n")
                writer.writeheader()
            writer.writerow(flat)
    return out.getvalue()


def to_json(evaluation: Evaluation) -> str:
    """Everything: conditions, figures, ROC curves, every answer, failures."""
    content = {
        "schema": SCHEMA,
        "zoo": evaluation.zoo,
        "level": evaluation.level,
        "seed": evaluation.seed,
        "half": evaluation.half,
        "attacks": evaluation.attacks,
        "environment": evaluation.environment,
        "tables": asdict(evaluation.tables),
        "models": [_answer(result) for result in evaluation.results],
        "excluded": [{"model": name, "reason": why} for name, why in evaluation.excluded],
        "failures": [{"what": what, "why": why} for what, why in evaluation.failures],
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def rate(value: Rate) -> Cell:
    """A share with its counts and interval."""
    if value.share is None:
        return Cell("-")
    return Cell(f"{value.share:.3f}", f"{value.hits}/{value.n}; {value.low:.3f}-{value.high:.3f}")


def estimate(value: Estimate | None, mark: str = "") -> Cell:
    """A figure with its interval."""
    if value is None:
        return Cell("-")
    return Cell(f"{value.value:.3f}{mark}", f"{value.low:.3f}-{value.high:.3f}")


def _uniformity(row: Figures) -> Cell:
    return Cell("-" if row.uniformity is None else probability(row.uniformity.p_value))


def _number(value: float | None, digits: int = 3, mark: str = "") -> Cell:
    return Cell("-" if value is None else f"{value:.{digits}f}{mark}")


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - cell_len(cell))


def _escaped(cell: str) -> str:
    """As literal text inside a Markdown table or list: no markup, links, mentions, references."""
    text = re.sub(r"([\\`*_\[\]|<>&~#])", r"\\\1", cell.strip())
    return LINKING.sub(lambda found: found[0] + APART, text)


def _item(line: str) -> str:
    """As one item of a list, which begins no list or line of its own."""
    return "- " + re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", _escaped(line))


def _flat(table: str, row: Figures) -> dict[str, Any]:
    flat: dict[str, Any] = {"table": table}
    for name, value in asdict(row).items():
        if name == "roc":
            continue
        if name in ("auc", "cross_entropy", "uniformity"):
            inner = ("distance", "p_value", "n") if name == "uniformity" else ("value", "low", "high")
            value = value or dict.fromkeys(inner)
        if name == "unanswered":
            value = dict(zip(("backdoored", "clean"), value, strict=True))
        if isinstance(value, dict):
            flat |= {f"{name}_{key}": item for key, item in value.items()}
        else:
            flat[name] = _cell(value) if isinstance(value, str) else value
    return flat


def _cell(name: str) -> str:
    """A name that neither steers a terminal nor is taken for a formula by a spreadsheet."""
    name = clean_text(name, 400)
    # Spreadsheets pass over blanks, and some read the wide and small forms as the plain ones.
    first = unicodedata.normalize("NFKC", name.lstrip())[:1]
    return f"'{name}" if first and first in "=+-@\u2212" else name


def _answer(result: Result) -> dict[str, Any]:
    return {
        "model": result.model,
        "backdoored": result.backdoored,
        "attack": result.attack,
        "true_targets": result.true_targets,
        "group": result.group,
        "seed": result.seed,
        "detector": result.detector,
        "error": result.error,
        "detection": _said(result) if result.opened else None,
    }


def _said(result: Result) -> dict[str, Any]:
    """The main numbers of a report; without one, that the detector failed."""
    report = result.report
    if report is None:
        return {"verdict": None, "flagged": None, "reason": f"failed: {result.error}"}
    return {
        "verdict": report.verdict,
        "flagged": None if report.verdict == "not evaluable" else report.verdict == "backdoored",
        "targets": report.targets or report.finding.ranking[:1],
        "ranking": report.finding.ranking,
        "score": report.finding.score,
        "p_value": report.p_value,
        "p_values": {test.name: test.p_value for test in report.finding.tests},
        "statistics": report.statistics,
        "reason": report.reason,
        "seconds": None if report.run is None else report.run.seconds,
    }
