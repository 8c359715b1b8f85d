"""The command line called within a test's own process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mmbd.cli import main

Called = tuple[object, str, str]


def caller(capsys: pytest.CaptureFixture[str]) -> Callable[..., Called]:
    """Calls a command line; returns (exit code, what it printed, its errors)."""

    def call(*arguments: object) -> Called:
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return stopped.value.code, said.out, said.err

    return call
