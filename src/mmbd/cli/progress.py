"""A progress bar on standard error: classes done, gradient evaluations a second, time left."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmbd.base.progress import Progress, ProgressCallback

# Seconds from which on a scan says what it will take.
LONG = 20.0


@contextmanager
def watching(name: str, *, shown: bool) -> Generator[ProgressCallback | None]:
    """Give a callback for `scanning.scan`; None where nothing is to be seen.

    Where there is no terminal for a bar, a long scan says once what it will take.
    """
    if not shown:
        yield None
        return
    if not sys.stderr.isatty():
        yield _saying(name)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    from mmbd.base.text import clean_text
    from mmbd.cli import streams

    screen: Any = streams.screen()

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}  {task.fields[rate]}  {task.fields[left]}"),
        console=Console(file=screen),
        transient=True,
        redirect_stdout=False,  # they would be taken off the tame streams
        redirect_stderr=False,
    )
    with bar:
        task = bar.add_task(escape(clean_text(name)), total=None, note="", rate="", left="loading")

        def update(progress: Progress) -> None:
            left = progress.seconds_left
            bar.update(
                task,
                completed=progress.done,
                total=progress.total,
                note=progress.note,
                rate=f"{progress.done / max(progress.seconds, 1e-9):.0f} gradients/s",
                left=f"{left:.0f} s left",
            )

        yield update


def _saying(name: str) -> ProgressCallback:
    """Says on standard error, after its first seconds, what a scan takes that takes long."""
    said = False

    def told(progress: Progress) -> None:
        nonlocal said
        if said or progress.seconds < 3:  # the first steps warm up
            return
        said = True
        if progress.seconds_left < LONG:
            return
        from mmbd.base.text import clean_text, seconds
        from mmbd.cli import streams

        streams.complain(
            f"{clean_text(name, 200)}: {progress.note} done, up to {progress.total:,} {progress.unit}, "
            f"about {seconds(progress.seconds_left)}"
        )

    return told
