"""What is seen of a long job: one line where there is no terminal, and lines of its own where it has some."""

from __future__ import annotations

import io
import sys

import pytest

from mmbd.base.progress import Progress
from mmbd.cli.progress import state, watching


def step(done: int, seconds: float, *, total: int = 100, note: str = "") -> Progress:
    return Progress("maximum margins", done, total, "gradient evaluations", seconds, note)


def test_a_long_job_says_once_what_it_will_take(capsys):
    with watching("a\x1b[31mb") as progress:
        for done in (1, 4, 5, 6):
            progress(step(done, float(done), total=1000))
    assert capsys.readouterr().err == (
        "mmbd: a\\x1b[31mb: maximum margins, up to 1,000 gradient evaluations, about 16 min 36 s\n"
    )


def test_a_job_that_takes_far_longer_than_it_said_says_so(capsys):
    with watching("model") as progress:
        progress(step(10, 5.0))
        progress(step(20, 14.0))
        progress(step(21, 60.0))
        progress(step(22, 66.0))
    assert capsys.readouterr().err.splitlines() == [
        "mmbd: model: maximum margins, up to 100 gradient evaluations, about 45.0 s",
        "mmbd: model: maximum margins, up to 100 gradient evaluations, longer than it seemed, "
        "about 3 min 46 s more",
    ]


def test_a_short_job_says_nothing(capsys):
    with watching("model") as progress:
        progress(step(50, 4.0))
        progress(step(99, 8.0))
    with watching("model", shown=False) as nothing:
        assert nothing is None
    assert capsys.readouterr().err == ""


def test_lines_of_a_job_go_to_standard_output(capsys):
    with watching("plan", line=lambda progress: f"{progress.done} done") as progress:
        progress(step(1, 1.0))
        progress(step(2, 2.0))
    assert capsys.readouterr().out == "1 done\n2 done\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("line", [None, lambda progress: f"model {progress.done}"])
def test_a_terminal_shows_a_bar_that_goes(monkeypatch, capsys, line):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    with watching("[bold]model\x1b[31m", line=line) as progress:
        progress(step(30, 3.0, note="3 of 10 classes"))
        progress(step(100, 10.0))
    shown = terminal.getvalue()
    assert "[bold]model" in shown
    assert "\x1b[31m" not in shown
    assert capsys.readouterr().out == ("" if line is None else "model 30\nmodel 100\n")


def test_where_a_job_is_in_one_line():
    words = state(step(1500, 3.0, total=3000, note="3 of 10\nclasses"))
    assert words.startswith("maximum margins  3 of 10")
    assert "\n" not in words
    assert words.endswith("1,500/3,000 gradient evaluations  about 3.0 s left")
