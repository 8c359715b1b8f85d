"""`mmbd selftest`: a line for each known answer, and an exit code."""

from __future__ import annotations

import json

import pytest

from helpers.command_line import caller
from mmbd.workflows import scan_file as gate
from mmbd.workflows import selftest as known
from mmbd.workflows.selftest import Check, Selftest


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    return caller(capsys)


@pytest.mark.parametrize(("passed", "code"), [(True, gate.CLEAN), (False, gate.FAILED)])
def test_a_line_each_and_the_exit_code_of_all(run, monkeypatch, passed, code):
    checks = Check("clean network", True, "clean, p = 0.4", 1.5), Check("numbers", passed, "as kept", 0.5)
    result = Selftest(checks, {"mmbd": "1.2", "torch": "2.9"}, 2.0)
    devices: list[str] = []
    monkeypatch.setattr(known, "selftest", lambda *, device: devices.append(device) or result)
    found, out, errors = run("selftest")
    assert (found, errors, devices) == (code, "", ["cpu"])
    assert out.splitlines() == [
        "passed  clean network: clean, p = 0.4 (1.5 s)",
        f"{'passed' if passed else 'FAILED'}  numbers: as kept (0.5 s)",
        "mmbd 1.2, torch 2.9",
        f"{1 + passed} of 2 known answers came out, in 2.0 s",
    ]
    found, out, _ = run("selftest", "--json")
    assert found == code
    assert json.loads(out) == {
        "passed": passed,
        "checks": [vars(check) for check in checks],
        "environment": {"mmbd": "1.2", "torch": "2.9"},
        "seconds": 2.0,
    }


def test_a_device_that_is_not_there_is_usage(run):
    code, out, errors = run("selftest", "--device", "gpu")
    assert (code, out) == (gate.USAGE, "")
    assert errors.startswith("mmbd: --device gpu: ")
