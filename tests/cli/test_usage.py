"""Exit 4 for what the user wrote, exit 2 for what files and networks do, and one line for both."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.command_line import caller
from helpers.planted_files import planted
from mmbd.cli.options import Usage, duration, size
from mmbd.workflows import scan_file as gate


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    planted(tmp_path / "m.safetensors", gain=1.0)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 broken")
    np.savez(tmp_path / "good.npz", x=np.zeros((16, 1, 4, 4), np.float32), y=np.arange(16) % 8)
    return caller(capsys)


FIX = ["fix", "m.safetensors", "--data", "good.npz", "--out", "new.pt"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["scan", "m.safetensors", "--std", "0"], "expected numbers above 0"),
        (["scan", "m.safetensors", "--std", "x"], "expected a number, or one a channel"),
        (["scan", "m.safetensors", "--mean", "nan"], "expected a number"),
        (["scan", "m.safetensors", "--bounds", "1", "0"], "the lower one first"),
        (["scan", "m.safetensors", "--device", "gpu"], "--device gpu: "),
        (["scan", "m.safetensors", "--batch", "0"], "--batch 0: expected at least 1"),
        (["scan", "m.safetensors", "--seeds", "0"], "--seeds 0: expected at least 1"),
        (["scan", "m.safetensors", "--restarts", "0"], "--restarts 0: expected at least 1"),
        (["scan", "m.safetensors", "--steps", "0"], "--steps 0: expected at least 1"),
        (["scan", "m.safetensors", "--level", "2"], "--level 2: expected a rate"),
        (["scan", "m.safetensors", "--level", "nan"], "--level nan: expected a rate"),
        (["scan", "m.safetensors", "--classes", "1"], "--classes 1: expected at least 2"),
        (["scan", "m.safetensors", "--null", "reference"], "needs --reference"),
        (["scan", "m.safetensors", "--null", "joint", "--no-universal"], "needs --universal"),
        (["scan", "m.safetensors", "--null", "joint", "--method", "paper"], "needs --universal"),
        (["scan", "m.safetensors", "--max-bytes", "big"], "expected a size such as"),
        (["scan", "m.safetensors", "--arch-arg", "width"], "expected key=value"),
        (["scan", "m.safetensors", "--budget", "0"], "--budget '0': expected a time such as 90s"),
        (["scan", "m.safetensors", "--budget", "ten"], "--budget 'ten': expected a time such as 90s"),
        (["scan", "m.safetensors", "--budget", "2h", "--limit", "60"], "--budget 2h is more than --limit 60"),
        (["scan", "m.safetensors", "--budget", "2h", "--restarts", "8"], "leave method, restarts"),
        (["scan", "m.safetensors", "--budget", "1m", "--detector", "abs"], "abs takes no budget"),
        (["scan", "m.safetensors", "--limit", "0"], "--limit 0: expected more than 0"),
        ([*FIX, "--level", "0"], "--level 0"),
        ([*FIX, "--per-class", "0"], "--per-class 0: expected at least 1"),
        ([*FIX, "--most", "0"], "--most 0: expected at least 1"),
        ([*FIX, "--option", "magic=1"], "--option: unknown option of mm-bm 'magic'; "),
        ([*FIX, "--device", "gpu"], "--device gpu: "),
        ([*FIX, "--triggered", "good.npz", "--target", "8"], "the model has classes 0 to 7"),
        (["evaluate", ".", "--level", "0"], "--level 0"),
        (["evaluate", ".", "--device", "gpu"], "--device gpu: "),
        (["evaluate", ".", "--workers", "-1"], "--workers -1: expected at least 0"),
        (["evaluate", ".", "--limit", "0"], "--limit 0"),
        (["evaluate", ".", "--std", "0"], "above 0"),
        (["evaluate", ".", "--detector", "magic"], "unknown detector"),
    ],
)
def test_usage(run, tmp_path, arguments, said):
    before = sorted(tmp_path.iterdir())
    code, out, errors = run(*arguments)
    assert (code, out) == (gate.USAGE, ""), errors
    assert errors.startswith("mmbd: ")
    assert said in errors
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fix", "gone.safetensors", "--data", "good.npz"], "gone.safetensors"),
        (["fix", "m.safetensors", "--data", "broken.npz"], "broken.npz"),
        (["fix", "m.safetensors", "--data", "gone.npz"], "gone.npz"),
        ([*FIX, "--held-out", "broken.npz"], "broken.npz"),
        ([*FIX, "--trigger", "broken.npz"], "broken.npz"),
        ([*FIX, "--triggered", "broken.npz", "--target", "1"], "broken.npz"),
        (["scan", "m.safetensors", "--reference", "broken.npz"], "broken.npz"),
        (["scan", "m.safetensors", "--reference", "gone"], "gone"),
        (["scan", "m.safetensors", "--class-names", "gone"], "gone"),
        (["evaluate", "gone"], "gone"),
        (
            ["train", "--data", "broken.npz", "--test", "good.npz", "--arch", "mlp", "--out", "t"],
            "broken.npz",
        ),
    ],
)
def test_what_is_broken_is_no_usage(run, arguments, said):
    code, out, errors = run(*arguments)
    assert (code, out) == (gate.FAILED, ""), errors
    assert errors.startswith("mmbd: ")
    assert said in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1000", 1000),
        ("8GB", 8 * 10**9),
        ("500 mb", 5 * 10**8),
        ("1.5k", 1500),
        ("2GiB", 2**31),
        ("3MiB", 3 << 20),
        ("10b", 10),
        (None, None),
    ],
)
def test_sizes(text, expected):
    assert size("--max-bytes", text) == expected


@pytest.mark.parametrize("text", ["", "0", "-1", "8 XB", "1e9", "GB", "nan", "9" * 30])
def test_no_sizes(text):
    with pytest.raises(Usage, match="--max-bytes"):
        size("--max-bytes", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90),
        ("90s", 90),
        ("10m", 600),
        ("10 min", 600),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1.5H", 5400),
        ("0.5", 0.5),
        (None, None),
    ],
)
def test_durations(text, expected):
    assert duration("--budget", text) == expected


@pytest.mark.parametrize("text", ["", "0", "0h0m", "-1", "10x", "m", "1e9", "nan", "inf", "10m2h", "9" * 30])
def test_no_durations(text):
    with pytest.raises(Usage, match="--budget"):
        duration("--budget", text)


def test_a_budget_that_is_too_small_leaves_the_verdict_open(run):
    code, out, _ = run("scan", "m.safetensors", "--quiet", "--budget", "0.000001")
    assert code == gate.REFUSED
    assert "the budget of 1e-06 s suffices for 0 of 8 classes" in out
    assert run("scan", "m.safetensors", "--quiet", "--budget", "2h")[0] == gate.CLEAN


def test_the_largest_file_is_an_option(run):
    code, out, _ = run("scan", "m.safetensors", "--quiet", "--max-bytes", "100")
    assert code == gate.FAILED
    assert "the limit is 100" in out
    assert run("scan", "m.safetensors", "--quiet", "--max-bytes", "1MB")[0] == 0
    code, _, errors = run("fix", "m.safetensors", "--data", "good.npz", "--max-bytes", "100")
    assert code == gate.FAILED
    assert "the limit is 100" in errors
