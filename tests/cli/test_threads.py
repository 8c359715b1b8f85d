"""Threads of a scan leave the cores to others while they wait."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mmbd.cli import main

CODE = """
import os, sys
sys.argv = ["mmbd", "--version"]
from mmbd.cli import main
try: main()
except SystemExit: pass
print(os.environ["OMP_WAIT_POLICY"], "torch" in sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize("own", [None, "active"])
def test_a_process_of_its_own_waits_passively_unless_told_otherwise(own):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if own is not None:
        environment["OMP_WAIT_POLICY"] = own
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=600, env=environment
    )
    # It counts only before torch is there.
    assert done.stderr.split() == [own or "passive", "False"]


def test_a_call_from_python_leaves_the_environment_alone(monkeypatch, capsys):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert "OMP_WAIT_POLICY" not in os.environ
