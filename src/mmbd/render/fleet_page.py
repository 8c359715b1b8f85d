"""The index of a fleet as one HTML file: counts, and a table that is searched, sorted and read offline.

The rows lie in the page as JSON and are drawn as they are looked at, so that ten thousand open at once. One
script and one style sheet are allowed, by their hashes; nothing is fetched. What models are called is put in
as text alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from markupsafe import Markup

from mmbd.base.text import clean_text, count, number
from mmbd.base.version import __version__
from mmbd.render import assets
from mmbd.render.fleet_text import ORDER, in_order
from mmbd.results.fleet import Fleet, Row

# What a column is sorted by, its heading, and its kind.
HEADINGS = (
    ("word", "Verdict", ""),
    ("name", "Model", "name"),
    ("p", "p-value", "num"),
    ("targets", "Targets", ""),
    ("", "Statistic by class", ""),
    ("group", "Group, labels", ""),
    ("detector", "Detector", ""),
    ("versions", "Versions", "num"),
    ("seconds", "Seconds", "num"),
    ("finished", "Scanned (UTC)", ""),
    ("", "Report", ""),
    ("reason", "Reason", "reason"),
)
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"  # heights of a bar


def html(fleet: Fleet, store: str = "", pages: Collection[str] = ()) -> str:
    """The page.

    Args:
        fleet: the rows.
        store: where they come from.
        pages: of which rows (`Row.page`) there is a report in `reports/` beside the page.
    """
    css = assets.asset("page.css") + assets.asset("fleet.css")
    script = assets.asset("fleet.js")
    words = Counter(row.word for row in fleet.latest)
    rows = [
        {**_said(row, pages), "before": _earlier(row, fleet.history[row.name], pages)}
        for row in in_order(fleet.latest)
    ]
    total = len(fleet.latest)
    return assets.template("fleet.html.j2").render(
        policy=assets.policy(css, script=script),
        css=Markup(css),  # noqa: S704 our own files
        script=Markup(script),  # noqa: S704
        rows=Markup(_inside_a_page(rows)),  # noqa: S704 escaped there
        title=f"{count(total)} model{'' if total == 1 else 's'}",
        store=clean_text(store, 200),
        counts=[(word, count(words[word])) for word in ORDER],
        scans=count(sum(map(len, fleet.history.values()))),
        headings=HEADINGS,
        version=__version__,
    )


def _said(row: Row, pages: Collection[str]) -> dict[str, Any]:
    labels = (f"{clean_text(name, 40)}: {clean_text(value, 60)}" for name, value in row.labels.items())
    known = [value for value in row.statistics if value is not None]
    return {
        "word": ORDER.index(row.word),
        "name": clean_text(row.name, 300),
        "number": row.number,
        "file": clean_text(row.file, 400),
        "sha256": row.sha256[:12],
        "p": row.p_value,
        "targets": ", ".join(clean_text(target, 50) for target in row.targets),
        "spark": _heights(row.statistics),
        "most": number(max(known, default=None)),
        "statistic": clean_text(row.statistic, 60),
        "group": clean_text(row.group, 60),
        "labels": ", ".join(labels),
        "detector": clean_text(row.detector, 40),
        "seconds": row.seconds,
        "finished": clean_text(row.finished, 40),
        "page": row.page if row.page in pages else "",
        "reason": clean_text(row.reason or "", 300),
    }


def _earlier(latest: Row, history: Sequence[Row], pages: Collection[str]) -> list[dict[str, Any]]:
    """The rows before the latest, the last one first."""
    return [_said(row, pages) for row in reversed(history) if row is not latest]


def _heights(values: Sequence[float | None]) -> str:
    """One character a bar, from the smallest value, 0, to the largest, z; - where there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, span = min(known), (max(known) - min(known)) or 1.0
    last = len(DIGITS) - 1
    return "".join("-" if value is None else DIGITS[round(last * (value - low) / span)] for value in values)


def _inside_a_page(value: Any) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
