"""A progress bar on standard error: classes done, gradient evaluations a second, time left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmbd.estimate import Progress


@contextmanager
def watching(name: str, *, shown: bool) -> Generator[Callable[[Progress], None] | None]:
    """Give a callback for `estimate.maximum_margins`; None where nobody would see the bar."""
    if not shown or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    from mmbd import streams
    from mmbd.render.text import clean_text

    screen: Any = streams.screen()

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[classes]} classes  {task.fields[rate]}  {task.fields[left]}"),
        console=Console(file=screen),
        transient=True,
        redirect_stdout=False,  # they would be taken off the tame streams
        redirect_stderr=False,
    )
    with bar:
        task = bar.add_task(
            escape(clean_text(name)), total=None, classes="0", rate="", left="loading"
        )

        def update(progress: Progress) -> None:
            left = progress.seconds_left
            bar.update(
                task,
                completed=progress.evaluations,
                total=max(progress.evaluations_expected, progress.evaluations),
                classes=f"{progress.classes_done}/{progress.classes}",
                rate=f"{progress.evaluations / max(progress.seconds, 1e-9):.0f} gradients/s",
                left=f"{left:.0f} s left",
            )

        yield update
