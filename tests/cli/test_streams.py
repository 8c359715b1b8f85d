"""Standard output is the report's alone, and no name or message steers a terminal."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from helpers import digit_zoos
from helpers.own_process import mmbd
from helpers.planted_files import planted
from mmbd.base.text import harmless
from mmbd.cli import main, streams
from mmbd.workflows import scan_file as gate

# ESC, BEL, the one-byte CSI, a bidirectional override, a line end.
NASTY = "a\x1b[31mb\x07c\x9bd\u202ee\nf"
HIDDEN = {"\x1b", "\x07", "\x9b", "\u202e", "\r", "\x85", "\u2028"}
CHATTY = """
import os, subprocess, sys, warnings
from torch import nn
def shout(where):
    print("print", where)
    os.write(1, b"write\\n")
    subprocess.run(["echo", "echo"])
    sys.stdout.buffer.write(b"buffer\\n")
    sys.__stdout__.write("dunder\\n")
    warnings.warn("warned \\x1b[31m\\x9b red", stacklevel=1)
    print("an escape \\x1b[31m", file=sys.stderr)
shout("import")
class Net(nn.Module):
    def __init__(s):
        super().__init__()
        shout("init")
        s.net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 8))
    def forward(s, x):
        if not hasattr(s, "said"): shout("forward"); s.said = True
        return s.net(x)
"""


@pytest.fixture(scope="module")
def chatty(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("chatty")
    (folder / "n.py").write_text(CHATTY)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 8))
    with torch.no_grad():
        for layer in (net[1], net[3]):
            layer.weight.copy_(torch.eye(*layer.weight.shape))
            layer.bias.zero_()
    torch.save(nn.ModuleDict({"net": net}).state_dict(), folder / "w.pt")
    x = np.random.default_rng(0).random((320, 1, 4, 4), np.float32)
    np.savez(folder / "d.npz", x=x, y=x.reshape(320, 16)[:, :8].argmax(1))
    (folder / "zoo.csv").write_text("path,label,target\nw.pt,clean,\n")
    return folder


NET = ["--arch", "n.py:Net", "--input", "1x4x4"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["scan", "w.pt", *NET, "--json", "-", "--steps", "3", "--no-universal"],
        [
            "fix",
            "w.pt",
            *NET,
            "--data",
            "d.npz",
            "--json",
            "-",
            "--no-rescan",
            "--method",
            "paper",
            "--force",
        ],
        ["evaluate", "zoo.csv", *NET, "--json", "-", "--workers", "0"],
        ["evaluate", "zoo.csv", *NET, "--json", "-", "--workers", "1"],
    ],
    ids=["scan", "fix", "evaluate here", "evaluate in workers"],
)
def test_what_the_network_prints_goes_to_standard_error(chatty, tmp_path, arguments):
    folder = tmp_path / "here"
    shutil.copytree(chatty, folder)
    done = mmbd(*arguments, cwd=folder, warnings="default")
    json.loads(done.stdout)
    for word in (
        "print import",
        "print init",
        "print forward",
        "write",
        "echo",
        "buffer",
        "dunder",
        "warned",
    ):
        assert word in done.stderr, (word, done.stderr)
    if "--workers" not in arguments or "0" in arguments:
        assert not HIDDEN & set(done.stderr)


def test_verdicts_of_chatty_networks_are_alone_too(chatty):
    done = mmbd("scan", "w.pt", *NET, "--quiet", cwd=chatty, warnings="default")
    assert len(done.stdout.splitlines()) == 1
    assert done.stdout.startswith(("clean: w.pt: ", "backdoored: w.pt: ", "not evaluable: w.pt: "))


def test_prints_at_the_end_of_the_process(chatty, tmp_path):
    (tmp_path / "late.py").write_text(
        "import atexit, sys\natexit.register(print, 'late')\nold = sys.stdout\n" + CHATTY
    )
    shutil.copy(chatty / "w.pt", tmp_path)
    network = ("--arch", "late.py:Net", "--input", "1x4x4")
    done = mmbd("scan", "w.pt", *network, "--json", "-", cwd=tmp_path, warnings="default")
    json.loads(done.stdout)
    assert "late" in done.stderr


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
def test_streams_are_given_back(capfd):
    def descriptors() -> set[str]:
        return {path.name for path in Path("/proc/self/fd").iterdir()}

    before, own, errors = descriptors(), sys.stdout, sys.stderr
    with streams.reserved() as output:
        os.write(1, b"aside\n")
        print("print")
        output.write("report\n")
    assert (sys.stdout, sys.stderr) == (own, errors)
    os.write(1, b"after\n")
    assert descriptors() == before
    said = capfd.readouterr()
    assert said.out.splitlines() == ["report", "after"]
    assert set(said.err.splitlines()) == {"aside", "print"}


# --------------------------------------------------------------------------- names that are nasty


@pytest.fixture
def nasty(tmp_path, monkeypatch) -> Path:
    """A folder with a nasty name, and files with nasty names and contents in it."""
    folder = tmp_path / NASTY
    folder.mkdir()
    monkeypatch.chdir(folder)
    planted(folder / f"{NASTY}.safetensors", gain=20.0, names=(NASTY, *"1234567"))
    (folder / f"{NASTY}.pt").write_bytes(b"cos\nsystem\n(S'\x1b[31m'\ntR." + b" " * 20)
    (folder / f"{NASTY}.npz").write_bytes(b"PK\x03\x04 broken")
    (folder / f"{NASTY}.json").write_text("{}")
    quoted = f'"{NASTY}"'
    (folder / f"{NASTY}.csv").write_text(
        f"path,label,target,name,attack\n{quoted}.safetensors,1,2,{quoted},{quoted}\n"
    )
    (folder / "zoo.csv").write_text(
        f'path,label,target,name,attack\n"{NASTY}.safetensors",1,2,{quoted},{quoted}\n'
        f'"{NASTY}.pt",0,,"{NASTY}2",{quoted}\n'
    )
    (folder / f"{NASTY}.toml").write_text(f'[data.x]\ntrain = "{"x"}"\n[arch."{"y"}\\u001b"]\n')
    digit_zoos.write(folder)
    return folder


M, P, D, J, T = (f"{NASTY}{suffix}" for suffix in (".safetensors", ".pt", ".npz", ".json", ".toml"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["scan", M],
        ["scan", M, P, "gone" + NASTY],
        ["scan", M, "--quiet", "--json", NASTY],
        ["scan", M, "--json", f"no{NASTY}/x.json"],
        ["scan", M, "--json", f"{NASTY}.txt"],
        ["scan", M, "--reference", J],
        ["scan", M, "--reference", "gone" + NASTY],
        ["scan", M, "--class-names", "gone" + NASTY],
        ["scan", M, "--input", NASTY],
        ["scan", M, "--device", NASTY],
        ["scan", M, "--arch", NASTY],
        ["scan", M, "--mean", NASTY],
        ["scan", M, "--arch", f"{NASTY}.py:x"],
        ["scan", M, "--method", NASTY],
        ["scan", M, "--arch-arg", NASTY],
        ["scan", M, f"--{NASTY}"],
        [NASTY],
        ["scan", M, "--max-bytes", NASTY],
        ["scan", M, "--entry", NASTY],
        ["fix", M, "--data", D],
        ["fix", M, "--data", "gone" + NASTY],
        ["fix", P, "--data", D],
        ["fix", M, "--data", "train.npz", "--out", M],
        ["fix", M, "--data", D, "--out", NASTY],
        ["fix", M, "--data", "train.npz", "--trigger", D],
        ["fix", M, "--data", "train.npz", "--method", NASTY],
        ["fix", M, "--data", "train.npz", "--option", f"x{NASTY}=1"],
        ["evaluate", "zoo.csv", "--workers", "0"],
        ["evaluate", "gone" + NASTY],
        ["evaluate", "zoo.csv", "--workers", "0", "--markdown", "-"],
        ["evaluate", "zoo.csv", "--workers", "0", "--csv", "-"],
        ["evaluate", "zoo.csv", "--attack", NASTY + "x"],
        ["evaluate", f"{NASTY}.csv"],
        ["evaluate", "zoo.csv", "--csv", f"{NASTY}.txt"],
        ["evaluate", "zoo.csv", "--detector", NASTY],
        ["zoo", "list", "zoo.csv"],
        ["zoo", "list", "zoo.csv", "--quiet"],
        ["zoo", "list", f"{NASTY}.csv"],
        ["zoo", "list", NASTY + "gone"],
        ["zoo", "make", T, NASTY + "out"],
        ["zoo", "make", NASTY + "gone", NASTY + "out"],
        ["zoo", NASTY],
        ["shadows", "gone" + NASTY, "--out", "x.safetensors"],
        ["shadows", D, "--out", NASTY + "x"],
        ["train", "--data", D, "--test", D, "--arch", "mlp", "--out", NASTY + "new"],
        ["train", "--data", "gone" + NASTY, "--test", D, "--arch", "mlp", "--out", NASTY + "new"],
        ["train", "--preset", NASTY, "--out", NASTY + "new"],
        ["train", "--data", "train.npz", "--test", "test.npz", "--arch", NASTY, "--out", "x"],
        [
            "train",
            "--data",
            "train.npz",
            "--test",
            "test.npz",
            "--arch",
            "mlp",
            "--epochs",
            "1",
            "--out",
            NASTY + "new",
        ],
        [
            "train",
            "--data",
            "train.npz",
            "--test",
            "test.npz",
            "--arch",
            "mlp",
            "--epochs",
            "1",
            "--out",
            M,
            "--limit",
            "50",
        ],
    ],
    ids=lambda words: " ".join(words).replace(NASTY, "!"),
)
def test_no_command_lets_a_control_character_through(nasty, capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in arguments])
    said = capsys.readouterr()
    shown = said.out + said.err
    assert shown
    assert not HIDDEN & set(shown)
    assert "Traceback" not in said.err, said.err
    # A line end in a name would begin a line of the stranger's own.
    assert not any(line.startswith("f") and "fix" not in line for line in shown.splitlines()), shown
    assert stopped.value.code in range(5)
    found = arguments[0] == "scan" and "backdoored" in said.out.lower()
    assert (stopped.value.code == gate.BACKDOORED) == found


def test_harmless():
    assert harmless("plain\n\ttext é 東京") == "plain\n\ttext é 東京"
    assert harmless("a\x1b[0m\x07\x9b\u202e\u200b\r\n") == r"a\x1b[0m\x07\x9b\u202e\u200b\r" + "\n"
    assert harmless("a\rb", kept="\r") == "a\rb"
    assert harmless("\udcff") == r"\udcff"
