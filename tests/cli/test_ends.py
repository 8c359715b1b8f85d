"""How a command ends: the verdict counts, and 1 is never given for anything but a backdoor."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from helpers.command_line import caller
from helpers.own_process import mmbd
from helpers.planted_files import planted
from mmbd.cli import main
from mmbd.workflows import scan_file as gate

BOTH = [("clean", gate.CLEAN), ("backdoored", gate.BACKDOORED)]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    planted(folder / "clean.safetensors", gain=1.0)
    planted(folder / "backdoored.safetensors", gain=20.0)
    torch.save(nn.Sequential(nn.Flatten(), nn.Linear(16, 8)).state_dict(), folder / "w.pt")
    return folder


@pytest.fixture
def run(models, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    return caller(capsys)


# ------------------------------------------------------------------------- what the network raises

RAISES = {
    "AssertionError": "assert len(x) < 1, 'needs none'",
    "ValueError": "raise ValueError('more than one value')",
    "MemoryError": "raise MemoryError",
    "RecursionError": "return s.forward(x)",
    "StopIteration": "next(iter(()))",
    "SystemExit": "import sys; sys.exit(0)",
    "OSError": "raise OSError('gone')",
    "KeyError": "raise KeyError('k')",
    "Odd": "raise Odd",
}
NETWORK = """
from torch import nn
class Odd(Exception):
    def __str__(self): raise ZeroDivisionError
class Net(nn.Module):
    def __init__(s):
        super().__init__()
        s.n, s.net = 0, nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 8))
    def forward(s, x):
        s.n += 1
        if {when}: {statement}
        return s.net(x)
"""


def weights(path: Path) -> None:
    """The class is which of the first eight pixels is largest."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 8))
    with torch.no_grad():
        for layer in (net[1], net[3]):
            layer.weight.copy_(torch.eye(*layer.weight.shape))
            layer.bias.zero_()
    torch.save(nn.ModuleDict({"net": net}).state_dict(), path)


@pytest.mark.parametrize("calls", [0, 2])
@pytest.mark.parametrize("kind", RAISES)
def test_whatever_a_network_raises_the_others_go_on(run, models, tmp_path, kind, calls):
    statement = RAISES[kind]
    (tmp_path / "n.py").write_text(NETWORK.format(statement=statement, when=f"s.n > {calls}"))
    weights(tmp_path / "w.pt")
    code, out, errors = run(
        "scan",
        "w.pt",
        "w.pt",
        "--arch",
        "n.py:Net",
        "--input",
        "1x4x4",
        "--sarif",
        "s.sarif",
        "--json",
        "reports",
        "--steps",
        "2",
        "--no-universal",
    )
    assert code == gate.FAILED, out + errors
    first, second = out.splitlines()
    assert first == second
    assert first.startswith("not evaluable: w.pt: failed: ")
    if calls:  # past loading, so that the words are the scan's
        assert first.startswith(f"not evaluable: w.pt: failed: the model raised {kind}: ")
    assert "Traceback" not in errors
    report = json.loads((tmp_path / "reports" / "w.pt.json").read_text())
    assert report["finding"]["verdict"] == "not evaluable"
    (result,) = json.loads((tmp_path / "s.sarif").read_text())["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == ("MMBD004", "error")


@pytest.mark.parametrize("kind", ["AssertionError", "ValueError", "SystemExit", "MemoryError"])
def test_a_network_that_fails_in_a_repair(run, models, tmp_path, kind):
    import numpy as np

    (tmp_path / "n.py").write_text(NETWORK.format(statement=RAISES[kind], when="len(x) > 16"))
    weights(tmp_path / "w.pt")
    x = np.random.default_rng(0).random((400, 1, 4, 4), np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=x.reshape(400, 16)[:, :8].argmax(1))
    code, out, errors = run(
        "fix",
        "w.pt",
        "--data",
        "d.npz",
        "--arch",
        "n.py:Net",
        "--input",
        "1x4x4",
        "--out",
        "o.safetensors",
        "--no-rescan",
    )
    assert (code, out) == (gate.FAILED, ""), out + errors
    assert errors.startswith(("mmbd: w.pt: ", "mmbd: failed: out of memory"))
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "o.pt").exists()


# ------------------------------------------------------------------------------------- last resort


@pytest.mark.parametrize(
    "error",
    [
        AssertionError("a\x1b[31m\u202eb"),
        MemoryError(),
        RecursionError(),
        SystemExit(0),
        SystemExit(1),
        KeyError("k"),
        GeneratorExit(),
        BaseException("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_nobody_foresaw_is_a_failure(run, models, monkeypatch, error):
    def broken(*arguments, **options):
        raise error

    monkeypatch.setattr(gate, "scan_file", broken)
    code, _, errors = run("scan", models / "clean.safetensors")
    assert code == gate.FAILED
    assert "mmbd: failed: " in errors
    assert not {"\x1b", "\u202e"} & set(errors)


def test_interrupted(run, models, monkeypatch):
    def broken(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(gate, "scan_file", broken)
    code, _, errors = run("scan", models / "clean.safetensors")
    assert (code, errors) == (130, "mmbd: interrupted; everything written so far is complete\n")


def test_a_part_that_cannot_be_imported_is_a_failure(tmp_path):
    # Found before the real one by whoever has it on the path; stands for a damaged installation.
    (tmp_path / "cyclopts.py").write_text("raise RuntimeError('damaged')")
    done = subprocess.run(
        [sys.executable, "-c", "from mmbd.cli import main; main()", "--version"],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
    )
    assert done.returncode == gate.FAILED
    assert "damaged" in done.stderr


# ----------------------------------------------------------------------------------- the streams


def test_a_reader_that_has_gone(models):
    """`mmbd scan ... | head -0`, and the same for the other ways to print."""
    for flags in ([], ["--quiet"], ["--json", "-"]):
        for name, code in BOTH:
            reader, writer = os.pipe()
            os.close(reader)
            done = mmbd("scan", models / f"{name}.safetensors", *flags, stdout=writer)
            os.close(writer)
            # On a busy machine the scan may say beforehand that it will take long.
            said = [line for line in done.stderr.splitlines() if " evaluations, about " not in line]
            assert (done.returncode, said) == (code, []), flags


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_the_output(models):
    for arguments, code in [
        (["scan", models / "clean.safetensors"], gate.FAILED),
        (["scan", models / "backdoored.safetensors", "--quiet"], gate.BACKDOORED),
        (["--help"], gate.FAILED),
    ]:
        with Path("/dev/full").open("w") as full:
            done = mmbd(*arguments, stdout=full)
        assert done.returncode == code, done.stderr
        assert "cannot write to standard output: " in done.stderr
        assert "Traceback" not in done.stderr


def test_closed_streams(models):
    words = ("scan", models / "backdoored.safetensors", "--quiet")
    for closed in ((1,), (2,), (1, 2)):
        assert mmbd(*words, closed=closed).returncode == gate.BACKDOORED, closed
    line = f'"{sys.executable}" -m mmbd {words[0]} "{words[1]}" {words[2]} <&- >&- 2>&-'
    assert subprocess.run(line, shell=True, timeout=600).returncode == gate.BACKDOORED


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
@pytest.mark.parametrize("flags", [[], ["--quiet"]])
def test_names_that_the_output_cannot_encode(models, tmp_path, monkeypatch, encoding, flags):
    names = tuple(f"класс {n}" for n in range(8))
    model = planted(tmp_path / "東京.safetensors", gain=20.0, names=names)
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    with pytest.raises(SystemExit) as stopped:
        main(["scan", str(model), *flags])
    assert stopped.value.code == gate.BACKDOORED
    shown = raw.getvalue().decode(encoding)
    known = encoding == "utf-8"
    assert ("東京" if known else r"\u6771\u4eac") in shown
    assert ("класс 2" if known else r"\u043a\u043b") in shown
