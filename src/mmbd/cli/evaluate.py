"""`mmbd evaluate`: detectors over a zoo of labelled models, as tables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from rich.console import Console

from mmbd.base.errors import Failed
from mmbd.base.text import clean_text
from mmbd.cli import places, streams
from mmbd.cli.detecting import scan_options
from mmbd.cli.loading import DEFAULT_LOADING, Loading
from mmbd.cli.options import INPUT, OUTPUT, Names, Outs, Place, Texts, Usage, at_least, level_between
from mmbd.cli.outputs import outs, plan
from mmbd.cli.progress import watching
from mmbd.workflows import scan_file as gate

if TYPE_CHECKING:
    from mmbd.evaluation.run import Evaluation


def evaluate(
    zoo: Annotated[Path, INPUT],
    /,
    *,
    half: Annotated[Literal["even", "odd"] | None, INPUT] = None,
    attack: Annotated[Names, INPUT] = None,
    data: Annotated[Path | None, INPUT] = None,
    per_class: Annotated[int | None, INPUT] = None,
    loading: Annotated[Loading, INPUT] = DEFAULT_LOADING,
    detector: Names = None,
    option: Texts = None,
    level: float = 0.05,
    seed: int = 0,
    workers: int | None = None,
    limit: float | None = None,
    out: Annotated[Outs, OUTPUT] = None,
    markdown: Annotated[Place, OUTPUT] = None,
    csv: Annotated[Place, OUTPUT] = None,
    json: Annotated[Place, OUTPUT] = None,
    html: Annotated[str | None, OUTPUT] = None,
    results: Annotated[Path | None, OUTPUT] = None,
) -> int:
    """Run detectors over labelled models and print detection and false-positive rates by attack.

    A run that was stopped goes on where it was: answers are kept as they come, and used again for
    as long as model, samples, detector, its version and its options are the same.

    Exit codes: 0 done, 2 done but some models failed, 4 usage. What failed and what
    is not evaluable is listed on standard error.

    Args:
        zoo: A zoo's folder (mmbd's, BackdoorBench's or TrojAI's), or a table (.csv) of models, labels
            and targets.
        half: Only the models trained with an even or an odd seed: choose on one half, report the other.
        attack: Only these attacks and kinds of difficult clean models; other clean models stay in.
        data: Clean samples for detectors that need some, the same for all models: a folder of images
            by class, or a Parquet or .npz file. Classes are matched with a model's by name, and
            images resized to its size (default: each model's own, as the zoo knows them).
        per_class: How many clean samples to use of each class; the seed draws them (default: as many
            as each detector takes).
        loading: What the models' files do not say.
        detector: The detectors to ask: one or more of those that "mmbd list detectors" shows
            (default: mm-bd).
        option: An option of these detectors, as key=value; may be repeated.
        level: The false-positive rate that the detectors are asked for.
        seed: The number that their random choices follow from.
        workers: How many processes work side by side, each with one CPU thread; 0 works in this
            process, with all threads (default: one process a processor).
        limit: The seconds that a detector may take for one model; needs workers.
        out: A file to write the tables to, in the form of its suffix: .md (tables), .csv (all figures),
            .json (figures, ROC curves and every answer) or .html (a page), or - to print JSON; may be
            repeated.
        markdown: Write Markdown whatever the suffix says: a file, or - to print.
        csv: Write CSV: a file, or - to print.
        json: Write JSON: a file, or - to print.
        html: Write one HTML page, with ROC curves and bars.
        results: The folder that keeps the answers (default: NAME-results here, for a zoo NAME).
    """
    level_between(level)
    at_least(0, workers=workers)
    at_least(1, per_class=per_class)
    if limit is not None and (limit <= 0 or workers == 0):
        raise Usage(f"--limit {limit:g}: expected seconds above 0, and --workers 1 or more")
    names = list(dict.fromkeys(detector or ["mm-bd"]))
    asked = {name: scan_options(name, {}, option, level=level, seed=seed) for name in names}
    wanted = [*outs(out), ("--markdown", "markdown", markdown), ("--csv", "csv", csv)]
    wanted += [("--json", "json", json), ("--html", "html", html)]
    inputs = [path for path in (zoo, data, loading.class_names) if path is not None]
    outputs = plan("evaluation", wanted, [zoo], inputs)
    known = loading.options()
    if not zoo.exists():
        raise Failed(f"{zoo}: there is no such zoo")
    kept = results or Path(f"{zoo.resolve().stem}-results")
    places.folder("--results", kept, make=False)

    if data is not None:
        _require_readable(data)
    from mmbd.evaluation.run import run
    from mmbd.render import evaluation_text as formats

    with watching(zoo.name or str(zoo)) as progress:
        evaluation = run(
            zoo,
            {name: (name, how.options) for name, how in asked.items()},
            level=level,
            seed=seed,
            samples=data,
            per_class=per_class,
            half=half,
            attacks=attack or (),
            workers=_processors() if workers is None else workers,
            limit=limit,
            results=kept,
            progress=progress,
            loading=known,
        )
    if outputs.printed is None:
        show(evaluation, streams.console())
    for line in formats.failures(evaluation):
        streams.complain(line)
    for what, why in evaluation.not_evaluable:
        streams.complain(f"{clean_text(what, 120)}: not evaluable: {clean_text(why, 400)}")
    done = outputs.write(0, evaluation)
    done &= outputs.write_all([evaluation])
    return gate.CLEAN if done and not evaluation.failures else gate.FAILED


def _require_readable(data: Path) -> None:
    """Check that samples can be read, by the first of them, before any model is asked.

    Raises:
        Failed: nothing there, or broken.
    """
    from mmbd.cli.failing import failing
    from mmbd.data import read

    with failing(f"--data {data}"):
        read.load(data, limit=1)


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
    out.print("All figures: --out FILE, as .md, .csv, .json or .html.", style="dim")
