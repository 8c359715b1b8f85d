"""A report for a terminal, and as plain lines for pipes and logs."""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from mmbd.base.text import brief, clean_text, probability
from mmbd.render import words
from mmbd.results.report import Report

STYLES = {"backdoored": "bold red", "clean": "bold green", "not evaluable": "bold yellow"}
SHOWN = 10
BAR = 24


def line(report: Report) -> str:
    """The report in one line: verdict, the model's path as given, and the finding."""
    model = report.model.file or report.model.name
    return f"{report.verdict}: {clean_text(model, 400)}: {words.finding(report)}"


def terminal(report: Report, console: Console) -> None:
    """Print a report: the verdict first, then the evidence, then what was run.

    On a terminal with colour, and wrapped to its width; elsewhere as plain lines that are never
    wrapped or cut, so that they can be searched. Characters that the output's encoding does not
    have are written as escapes.
    """
    _say(console, f"{report.verdict.upper()}  {words.finding(report)}", STYLES[report.verdict])
    _say(console, _model(report))
    if report.model.sha256 is not None:
        _say(console, f"SHA-256 {clean_text(report.model.sha256)}")
    _classes(report, console)
    _p_values(report, console)
    if report.stability is not None:
        _head(console, "Stability")
        _say(console, words.stability(report), lead="  ")
    if report.run is not None:
        _head(console, "What was run")
        facts = dict(words.run_facts(report))
        width = max(map(len, facts))
        for name, value in facts.items():
            _say(console, value, lead=f"  {name:{width}}  ")
    if report.caveats:
        _head(console, "What this scan cannot see, and what to bear in mind")
        for caveat in report.caveats:
            _say(console, clean_text(caveat, 1000), lead="  - ")


def _model(report: Report) -> str:
    facts = dict(words.model_facts(report))
    if "classes" in facts:
        facts["classes"] += " classes"
    return ", ".join(facts[name] for name in ("model", "architecture", "classes", "inputs") if name in facts)


def _classes(report: Report, console: Console) -> None:
    order = words.ranking(report)
    if not order:
        return
    gains = words.gains(report)
    also = ", and what one perturbation of all inputs gains" if gains else ""
    _head(console, f"Maximum margin of every class, in logits, {words.ranked_by(report)}{also}")
    shown = order if len(order) <= SHOWN + 2 else order[:SHOWN]
    rest = [label for label in order[len(shown) :] if label not in report.targets]
    shown = shown + [label for label in order[len(shown) :] if label in report.targets][:SHOWN]
    margins = words.margins(report)
    names = {label: words.class_name(report, label, 28) for label in shown}
    name_width = max(cell_len(name) for name in names.values())
    top = max(report.statistics[label] or 0.0 for label in order)
    for label in shown:
        value = report.statistics[label] or 0.0
        target = label in report.targets
        filled = round(BAR * max(value, 0.0) / top) if top else 0
        name = names[label] + " " * (name_width - cell_len(names[label]))
        cells = [">" if target else " ", f"{label:>5}", name, f"{margins[label]:>9}"]
        if gains:
            cells.append(f"{gains[label]:>9}")
        if report.class_p_values is not None:
            cells.append(f"p {probability(report.class_p_values[label]):>7}")
        cells.append(_bar(console, filled) + ("  target" if target else ""))
        _say(console, "  ".join(cells), "bold red" if target else "")
    if rest:
        by_margin = sorted(rest, key=lambda label: report.statistics[label] or 0.0)
        between = f"between {margins[by_margin[0]]} and {margins[by_margin[-1]]}"
        _say(console, f"... {len(rest)} more, {between}", "dim", lead="    ")
    if report.ratio is not None:
        _say(console, f"largest over second largest: {brief(report.ratio, 3)}", lead="    ")
    if invalid := words.invalid(report):
        _say(console, invalid, lead="    ")


def _bar(console: Console, filled: int) -> str:
    block = "#"
    if console.is_terminal and console.encoding.lower().startswith("utf"):
        block = "█"
    return block * filled


def _p_values(report: Report, console: Console) -> None:
    if not report.p_values:
        return
    _head(console, "p-value of the largest statistic, by null model")
    width = max(cell_len(words.null_name(entry.null)) for entry in report.p_values)
    for entry in report.p_values:
        decides = entry.null == report.null
        name = words.null_name(entry.null)
        padding = " " * (width - cell_len(name))
        value = probability(entry.value, entry.log10)
        notes = ["decides"] if decides else []
        if entry.value is None:
            notes.append(clean_text(entry.reason or "not computed", 300))
        elif basis := words.null_basis(entry.null):
            notes.append(basis)
        _say(
            console,
            ": ".join(notes),
            "bold" if decides else "",
            lead=f"{'>' if decides else ' '}  {name}{padding}  {value:>7}  ",
        )


def _head(console: Console, title: str) -> None:
    _say(console, "")
    _say(console, title, "bold underline")


def _say(console: Console, text: str, style: str = "", lead: str = "") -> None:
    """Print text of our own making, never interpreted as markup.

    On a terminal it wraps at words, into a column that starts after `lead`.
    """
    lead, text = (
        part.encode(console.encoding, "backslashreplace").decode(console.encoding) for part in (lead, text)
    )
    indent = cell_len(lead)
    wrapped = [text]
    if console.is_terminal:
        lines = Text(text).wrap(console, max(console.width - indent, 20))
        wrapped = [line.plain.rstrip() for line in lines] or [""]
    for row, piece in enumerate(wrapped):
        start = lead if row == 0 else " " * indent
        console.print(Text((start + piece).rstrip(), style), soft_wrap=True, highlight=False)
