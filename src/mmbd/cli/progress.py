"""One progress bar for every long command, on standard error: what is done, how far, the time left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mmbd.cli import streams

if TYPE_CHECKING:
    from mmbd.base.progress import Progress, ProgressCallback

# Seconds from which on a job says what it will take, and that it is watched before it says so.
LONG, FIRST = 20.0, 3.0
# A job that turns out to take so many times what it said says it again.
WRONG = 1.5


@contextmanager
def watching(
    name: str, *, shown: bool = True, line: Callable[[Progress], str] | None = None
) -> Generator[ProgressCallback | None]:
    """Give a callback for a long job; None where nothing is to be seen.

    Where there is no terminal for a bar, a long job says what it will take: once, and again where that
    turns out to have been far too little.

    Args:
        name: what the job is about: untrusted text.
        shown: whether anything is to be seen.
        line: a line to print on standard output after every step.
    """
    if not shown:
        yield None
        return
    if not sys.stderr.isatty():
        yield _saying(name, line)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    from mmbd.base.text import clean_text

    screen: Any = streams.screen()
    columns = [TextColumn("{task.description}", markup=False), BarColumn()]
    columns.append(TextColumn("{task.fields[state]}", markup=False))
    bar = Bar(
        *columns,
        console=Console(file=screen),
        transient=True,
        redirect_stdout=False,  # they would be taken off the tame streams
        redirect_stderr=False,
    )
    with bar:
        task = bar.add_task(clean_text(name, 60), total=None, state="starting")

        def update(progress: Progress) -> None:
            if line is not None:
                bar.stop()  # takes the bar off the screen, where the line goes
                streams.say(line(progress))
                bar.start()
            bar.update(task, completed=progress.done, total=progress.total, state=state(progress))

        yield update


def state(progress: Progress) -> str:
    """How far a job is, in one clean line."""
    from mmbd.base.text import clean_text, seconds

    note = f"  {clean_text(progress.note, 60)}" if progress.note else ""
    return (
        f"{clean_text(progress.stage, 40)}{note}  {progress.done:,}/{progress.total:,} {progress.unit}  "
        f"about {seconds(progress.seconds_left)} left"
    )


def _saying(name: str, line: Callable[[Progress], str] | None) -> ProgressCallback:
    """Says on standard error, after its first seconds, what a job takes that takes long."""
    said, announced = 0.0, False  # the seconds in all that it seemed to take, and whether they were told

    def told(progress: Progress) -> None:
        nonlocal said, announced
        if line is not None:
            streams.say(line(progress))
        whole = progress.seconds + progress.seconds_left
        if progress.seconds < FIRST or whole <= WRONG * said:  # the first steps warm up
            return
        said = whole
        if progress.seconds_left < LONG:
            return
        again, announced = announced, True
        from mmbd.base.text import clean_text, seconds

        left = f"about {seconds(progress.seconds_left)}"
        streams.complain(
            f"{clean_text(name, 200)}: {clean_text(progress.stage, 40)}, up to {progress.total:,} "
            f"{progress.unit}, {f'longer than it seemed, {left} more' if again else left}"
        )

    return told
