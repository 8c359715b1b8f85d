"""Programs that somebody wants to be run: in a sandbox, and only a checked report comes out."""

from __future__ import annotations

import hashlib
import os
import pickle
import warnings
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers import forged_reports
from helpers.marker_pickles import code, pickles
from mmbd.base.sandbox import client, locks
from mmbd.base.sandbox.client import Sandbox
from mmbd.detectors.scan import ScanOptions
from mmbd.formats.options import LoadOptions
from mmbd.workflows import trusted
from mmbd.workflows.scan_file import CLEAN, FAILED, REFUSED, Outcome, scan_file

linux = pytest.mark.skipif(not client.available(), reason=client.NO_SYSTEM)
LOADING = LoadOptions(input_shape=(2, 4))
HOW = ScanOptions(forged_reports.CALM)


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sandboxes of this process, which has imported everything already."""

    def made(modules: Any, *, forked: bool) -> Sandbox:
        assert forked is False, "a program may compute with several threads"
        return Sandbox(modules, forked=True)

    monkeypatch.setattr(trusted, "client", Replaced(made))


class Replaced:
    def __init__(self, made: Any) -> None:
        self.Sandbox = made

    def __getattr__(self, name: str) -> Any:
        return getattr(client, name)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(8, 6)).eval()


def scripted(path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(network(), torch.rand(2, 2, 4)).save(path)
    return path


scan = partial(scan_file, loading=LOADING, scanning=HOW)


def reason(outcome: Outcome) -> str:
    return outcome.report.reason or ""


@linux
def test_torchscript_is_scanned_and_the_report_says_that_its_code_ran(tmp_path: Path) -> None:
    file = scripted(tmp_path / "m.pt")
    assert scan(file).code == REFUSED
    outcome = scan(file, trust="code")
    assert (outcome.code, outcome.report.verdict) == (CLEAN, "clean")
    assert outcome.report.finding.caveats[0].startswith("code in the file ran, in a sandbox")
    assert outcome.report.model.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert outcome.report.model.name == "m.pt"


@linux
@pytest.mark.parametrize("legacy", [False, True])
def test_a_whole_pickle_cannot_call_itself_clean(tmp_path: Path, legacy: bool) -> None:
    file = tmp_path / "m.pt"
    torch.save(network(), file, _use_new_zipfile_serialization=not legacy)
    outcome = scan(file, trust="code")
    assert (outcome.code, outcome.report.verdict) == (REFUSED, "not evaluable")
    assert "could have written this report" in reason(outcome)
    if not legacy:
        believed = scan_file(file, replace(LOADING, as_claimed=True), HOW, trust="code")
        assert believed.code == CLEAN


@linux
@pytest.mark.parametrize("name", ["reduce", "os.system"])
def test_what_a_pickle_tries_stays_inside(tmp_path: Path, name: str) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "marker.py").write_text(code(marker))
    known = pickles(marker)
    data, _ = known[next((each for each in known if name in each), next(iter(known)))]
    (tmp_path / "m.pkl").write_bytes(data)
    outcome = scan(tmp_path / "m.pkl", trust="code")
    assert outcome.code == FAILED
    assert not marker.exists()


class Ends:
    def __reduce__(self) -> Any:
        return os._exit, (0,)


@linux
def test_a_program_that_ends_its_process_gave_no_answer(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Ends()).ljust(64, b"\0"))
    outcome = scan(tmp_path / "m.pkl", trust="code")
    assert outcome.code == FAILED
    assert "it gave no answer" in reason(outcome)
    assert "--no-sandbox" not in reason(outcome)


@linux
@pytest.mark.parametrize("job", forged_reports.JOBS)
def test_a_forged_report_is_none(tmp_path: Path, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trusted, "JOB", f"helpers.forged_reports:{job}")
    outcome = scan(scripted(tmp_path / "m.pt"), trust="code")
    assert outcome.code == FAILED
    assert "what came out of the sandbox is no report" in reason(outcome)


def test_what_torch_does_not_run_is_refused_as_ever(tmp_path: Path) -> None:
    import numpy as np

    np.savez(tmp_path / "m.npz", a=np.ones(3))
    outcome = scan(tmp_path / "m.npz", trust="code")
    assert outcome.code == REFUSED
    assert "NumPy archive" in reason(outcome)


def test_a_program_needs_the_shape_of_its_inputs_and_no_device(tmp_path: Path) -> None:
    file = scripted(tmp_path / "m.pt")
    assert "give --input" in reason(scan_file(file, LoadOptions(), HOW, trust="code"))


def test_without_a_sandbox_nothing_runs_unless_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "available", lambda: False)
    file = scripted(tmp_path / "m.pt")
    outcome = scan(file, trust="code")
    assert outcome.code == FAILED
    assert "--trust-unsandboxed" in reason(outcome)
    outcome = scan(file, trust="unsandboxed")
    assert outcome.code == CLEAN
    assert "with all your rights" in outcome.report.finding.caveats[0]


@linux
def test_a_sandbox_without_seccomp_holds_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trusted, "PROBE", "helpers.forged_reports:nothing")
    monkeypatch.setattr("mmbd.base.sandbox.locks._filtered", lambda _: False)
    outcome = scan(scripted(tmp_path / "m.pt"), trust="code")
    assert outcome.code == FAILED
    assert "have no seccomp" in reason(outcome)


@linux
def test_a_server_may_be_a_process_of_its_own() -> None:
    with closing(Sandbox(["mmbd.workflows.trusted"], forked=False)) as sandbox:
        assert not sandbox.do(trusted.PROBE, {}, limits=locks.Limits(), most=0).result
