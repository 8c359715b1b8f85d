"""A report for a terminal, and as plain lines for pipes and logs."""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from mmbd.base.text import brief, clean_text, listed
from mmbd.render import classes, policy_words, words
from mmbd.render.class_table import class_table
from mmbd.render.facts import model_facts, run_facts
from mmbd.results.finding import Matrix
from mmbd.results.report import Report

STYLES = {"backdoored": "bold red", "clean": "bold green", "not evaluable": "bold yellow"}
SHOWN = 10
PAIRS = 5


def line(report: Report) -> str:
    """The report in one line: verdict, the model's path as given, the finding, and what is unproven."""
    model = report.model.file or report.model.name
    claimed = f"; by the file's word: {words.claims(report.claimed)}" if report.claimed else ""
    ruled = f"; {said}" if (said := policy_words.brief(report)) else ""
    told = policy_words.verdict(report)
    return f"{told}: {clean_text(model, 400)}: {words.finding(report)}{claimed}{ruled}"


def terminal(report: Report, console: Console) -> None:
    """Print a report: the verdict first, then the evidence, then what was run.

    On a terminal with colour, and wrapped to its width; elsewhere as plain lines that are never
    wrapped or cut, so that they can be searched. Characters that the output's encoding does not
    have are written as escapes.
    """
    style = STYLES["not evaluable" if policy_words.rejected(report) else report.verdict]
    _say(console, f"{policy_words.verdict(report).upper()}  {words.finding(report)}", style)
    for said in policy_words.sentences(report):
        _say(console, said)
    if told := words.shown(report):
        _say(console, told if report.verdict == "backdoored" else f"The most that was found: {told}")
    _say(console, _model(report))
    if report.model.sha256 is not None:
        _say(console, f"SHA-256 {clean_text(report.model.sha256)}")
    for said in words.assumed(report):
        _say(console, said, "yellow")
    _classes(report, console)
    for matrix in report.finding.matrices:
        _pairs(report, matrix, console)
    _tests(report, console)
    if report.stability is not None:
        _head(console, "Stability")
        _say(console, words.stability(report), lead="  ")
    if report.run is not None:
        _head(console, "What was run")
        facts = run_facts(report)
        width = max(cell_len(name) for name, _ in facts)
        for name, value in facts:
            _say(console, value, lead=f"  {name}{' ' * (width - cell_len(name))}  ")
    if caveats := words.caveats(report):
        _head(console, "What this scan cannot see, and what to bear in mind")
        for caveat in caveats:
            _say(console, caveat, lead="  - ")


def _model(report: Report) -> str:
    facts = dict(model_facts(report))
    if "classes" in facts:
        facts["classes"] += " classes"
    return ", ".join(facts[name] for name in ("model", "architecture", "classes", "inputs") if name in facts)


def _classes(report: Report, console: Console) -> None:
    order, column = classes.ranking(report), classes.statistic(report)
    if not order:
        return
    if not report.finding.columns:
        _head(console, "Classes, most suspicious first")
        labels = [classes.class_label(report, label, 28).removeprefix("class ") for label in order]
        _say(console, listed(labels, SHOWN), lead="  ")
        return
    unit = f", in {clean_text(column.unit, 20)}" if column.unit else ""
    name = classes.capital(clean_text(column.name, 60))
    _head(console, f"{name} of every class{unit}, {classes.ranked_by(report)}")
    shown = order if len(order) <= SHOWN + 2 else order[:SHOWN]
    rest = [label for label in order[len(shown) :] if label not in report.targets]
    shown = shown + [label for label in order[len(shown) :] if label in report.targets][:SHOWN]
    utf = console.is_terminal and console.encoding.lower().startswith("utf")
    room = console.width if console.is_terminal else None
    table = class_table(report, shown, room, "█" if utf else "#")
    for text in table.head:
        _say(console, text, "dim")
    for label, text in zip(shown, table.rows, strict=True):
        _say(console, text, "bold red" if label in report.targets else "")
    if rest:
        _say(console, f"... {len(rest)} more{_between(report, rest)}", "dim", lead="    ")
    if (ratio := classes.ratio(report)) is not None:
        _say(console, f"largest over second largest: {brief(ratio, 3)}", lead="    ")
    if invalid := classes.invalid(report):
        _say(console, invalid, lead="    ")
    if table.left_out:
        _say(console, f"Columns not shown here: {listed(table.left_out)}.", "dim", lead="    ")


def _between(report: Report, labels: list[int]) -> str:
    """The range of these classes' statistics."""
    values, texts = classes.measured(report), classes.numbers(classes.statistic(report))
    known = sorted((label for label in labels if label in values), key=lambda label: values[label])
    return f", between {texts[known[0]]} and {texts[known[-1]]}" if known else ""


def _pairs(report: Report, matrix: Matrix, console: Console) -> None:
    """The most suspicious pairs of a matrix."""
    found = classes.pairs(matrix, PAIRS)
    if not found:
        return
    title = classes.capital(classes.heading(matrix))
    _head(console, f"{title} from a source class to a target class, {classes.FIRST[matrix.suspicious]}")
    texts = classes.alike([value for _, _, value in found])
    for (source, target, _), text in zip(found, texts, strict=True):
        ends = f"{classes.class_label(report, source, 28)} -> {classes.class_label(report, target, 28)}"
        flagged = target in report.targets
        _say(console, ends, "bold red" if flagged else "", lead=f"{'>' if flagged else ' '}  {text:>9}  ")


def _tests(report: Report, console: Console) -> None:
    tests = report.finding.tests
    if not tests:
        return
    _head(console, words.about(report).tested)
    titles = [words.title_of(report, test.name) for test in tests]
    answers = [words.answer(test) for test in tests]
    width, column = max(map(cell_len, titles)), max(7, *map(cell_len, answers))
    for test, title, answer in zip(tests, titles, answers, strict=True):
        decides = test.name == report.finding.decided_by
        basis = words.basis_of(report, test.name)
        notes = ["decides"] if decides else []
        if not test.answered:
            notes.append(clean_text(test.reason or "not computed", 300))
        elif basis:
            notes.append(basis)
        padding = " " * (width - cell_len(title))
        _say(
            console,
            ": ".join(notes),
            "bold" if decides else "",
            lead=f"{'>' if decides else ' '}  {title}{padding}  {answer:>{column}}  ",
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
