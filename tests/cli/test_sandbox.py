"""The command line reads files in a sandbox, unless it is told not to, and leaves none behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers.command_line import caller
from mmbd.base.sandbox import client
from mmbd.formats.sandbox import reading

linux = pytest.mark.skipif(not client.available(), reason=client.NO_SYSTEM)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Any:
    return caller(capsys)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    torch.save(nn.Linear(4, 3), tmp_path / "program.pt")
    return tmp_path / "program.pt"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[client.Sandbox]:
    """The sandboxes that were started, forked whatever other tests have left running."""
    found: list[client.Sandbox] = []
    start = client.Sandbox

    def noted(modules: Any, **_: Any) -> client.Sandbox:
        found.append(start(modules, forked=True))
        return found[-1]

    monkeypatch.setattr(client, "Sandbox", noted)
    return found


@linux
def test_a_command_reads_in_a_sandbox_of_its_own(cli: Any, program: Path, made: list[client.Sandbox]) -> None:
    code, out, _ = cli("scan", program)
    assert code == 3
    assert "refused, and nothing in it was run" in out
    assert "without a sandbox" not in out
    assert len(made) == 1
    assert reading.ready() is None
    with pytest.raises(client.Gone):
        reading._in(made[0], reading.File(program, b"PK\x03\x04" + bytes(99), "", "zip", ()))


def test_no_sandbox_means_none(cli: Any, program: Path, made: list[client.Sandbox]) -> None:
    code, out, _ = cli("scan", program, "--no-sandbox")
    assert code == 3
    assert "refused, and nothing in it was run" in out
    assert not made


@pytest.mark.parametrize(
    "given", [("--trust-unsandboxed",), ("--trust-code", "--data", "samples.npz")], ids=lambda one: one[0]
)
def test_trust_that_makes_no_sense_is_usage(cli: Any, program: Path, given: tuple[str, ...]) -> None:
    code, _, err = cli("scan", program, *given)
    assert code == 4
    assert "--trust-code" in err
