"""`mmbd evaluate`: detectors over a zoo of labelled models, as tables."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from mmbd.base.errors import Failed
from mmbd.cli import places, streams
from mmbd.cli.failing import failing
from mmbd.cli.loading import DEFAULT_LOADING, Loading
from mmbd.cli.options import Usage, at_least, level_between
from mmbd.workflows import scan_file as gate

if TYPE_CHECKING:
    from mmbd.base.progress import Progress, ProgressCallback
    from mmbd.evaluation.run import Evaluation

Names = Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")]
Output = Parameter(allow_leading_hyphen=True)


def evaluate(
    zoo: Path,
    /,
    *,
    detector: Names = None,
    level: float = 0.05,
    seed: int = 0,
    half: Literal["even", "odd"] | None = None,
    attack: Names = None,
    workers: int | None = None,
    limit: float | None = None,
    results: Path | None = None,
    markdown: Annotated[str | None, Output] = None,
    csv: Annotated[str | None, Output] = None,
    json: Annotated[str | None, Output] = None,
    html: Path | None = None,
    loading: Loading = DEFAULT_LOADING,
) -> int:
    """Run detectors over labelled models and print detection and false-positive rates by attack.

    A run that was stopped goes on where it was: answers are kept as they come, and used again for
    as long as model, samples, detector, version and options are the same.

    Exit codes: 0 done, 2 done but some models failed (listed on standard error), 4 usage.

    Args:
        zoo: A zoo's folder, or a table (.csv) of models, labels and targets.
        detector: Names of detectors (default: mm-bd).
        level: The false-positive rate that the detectors are asked for.
        seed: The seed of their random choices.
        half: Only models trained with an even or an odd seed: choose on one half, report the other.
        attack: Only these attacks and kinds of difficult clean models.
        workers: Processes side by side, with one thread each; 0 for this process (default: one a
            processor).
        limit: The seconds that a detector may take for a model; needs workers.
        results: The folder that keeps the answers (default: NAME-results here, for a zoo NAME).
        markdown: Write the tables as Markdown: a file, or - to print them.
        csv: Write all figures as CSV: a file, or - to print them.
        json: Write figures, ROC curves and every answer as JSON: a file, or - to print them.
        html: Write one HTML page, with ROC curves and bars.
        loading: What the files of others do not say.
    """
    level_between(level)
    at_least(0, workers=workers)
    if limit is not None and (limit <= 0 or workers == 0):
        raise Usage(f"--limit {limit:g}: expected seconds above 0, and --workers 1 or more")
    known = loading.options()
    outputs = {".md": markdown, ".csv": csv, ".json": json, ".html": html and str(html)}
    files = _files(outputs, [zoo, *filter(None, [loading.class_names])])

    from mmbd.evaluation.run import named, run
    from mmbd.render import evaluation_text as formats

    if not zoo.exists():
        raise Failed(f"{zoo}: there is no such zoo")
    named(detector or ["mm-bd"])
    kept = results or Path(f"{zoo.resolve().stem}-results")
    places.folder("--results", kept, make=False)
    with _watching() as progress:
        evaluation = run(
            zoo,
            detector or ["mm-bd"],
            level=level,
            seed=seed,
            half=half,
            attacks=attack or (),
            workers=_processors() if workers is None else workers,
            limit=limit,
            results=kept,
            progress=progress,
            loading=known,
        )
    printed = {".md": formats.markdown, ".csv": formats.comma_separated, ".json": formats.to_json}
    to_print = [printed[suffix] for suffix, target in outputs.items() if target == "-"]
    if to_print:
        streams.say(to_print[0](evaluation), end="")
    else:
        show(evaluation, streams.console())
    for line in formats.failures(evaluation):
        streams.complain(line)
    code = gate.FAILED if evaluation.failures else gate.CLEAN
    for file in files:
        try:
            with failing(f"{file}: not written"):
                evaluation.save(file)
        except Failed as error:
            streams.complain(str(error))
            code = gate.FAILED
    return code


def _files(outputs: dict[str, str | None], inputs: list[Path]) -> list[Path]:
    """The files among the outputs, once they can be written.

    Raises:
        Usage: a wrong suffix, no folder, one of the inputs, or two times "-".
        Failed: a folder that cannot be written to.
    """
    if sum(target == "-" for target in outputs.values()) > 1:
        raise Usage("only one of --markdown, --csv and --json can be printed (-)")
    if outputs[".html"] == "-":
        raise Usage("--html takes a file")
    files: list[Path] = []
    for suffix, target in outputs.items():
        if target in (None, "-"):
            continue
        option = f"--{'markdown' if suffix == '.md' else suffix[1:]}"
        files.append(places.file(option, str(target), [suffix], inputs))
    return files


def _processors() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def show(evaluation: Evaluation, out: Console) -> None:
    """Tables that fit a terminal, with the figures that matter most; all of them elsewhere."""
    from mmbd.render import evaluation_text as formats

    if not out.is_terminal:
        streams.say(formats.text(evaluation), end="")
        return
    from rich import box
    from rich.table import Table

    for table in formats.shown(evaluation):
        shown = [heading for heading in table.headings if heading not in formats.MINOR]
        drawn = Table(*shown, box=box.SIMPLE_HEAD, pad_edge=False)
        for row in table.rows:
            cells = zip(table.headings, row, strict=True)
            drawn.add_row(*(str(cell) for heading, cell in cells if heading in shown))
        out.print(table.title, style="bold")
        out.print(drawn)
    for note in formats.notes(evaluation):
        out.print(note)
    out.print("All figures: --markdown, --csv, --json or --html.", style="dim")


@contextmanager
def _watching() -> Generator[ProgressCallback | None]:
    """A progress bar on standard error; None where nobody would see it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    from mmbd.base.text import clean_text, seconds

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}  {task.description}", markup=False),
    )
    screen: Any = streams.screen()
    with Bar(
        *columns, console=Console(file=screen), transient=True, redirect_stdout=False, redirect_stderr=False
    ) as bar:
        task = bar.add_task("", total=None, left="starting")

        def update(progress: Progress) -> None:
            what = clean_text(progress.note, 72)
            left = f"about {seconds(progress.seconds_left)} left"
            bar.update(task, completed=progress.done, total=progress.total, left=left, description=what)

        yield update
