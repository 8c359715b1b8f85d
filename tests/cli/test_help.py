"""Help: options in groups, every one with words, and nothing heavy imported for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from helpers.command_line import caller

COMMANDS = [
    ["scan"],
    ["inspect"],
    ["compare"],
    ["report"],
    ["fix"],
    ["train"],
    ["shadows"],
    ["evaluate"],
    ["policy", "check"],
    ["verify"],
    ["gate", "mlflow"],
    ["zoo", "make"],
    ["list"],
    ["selftest"],
    ["fleet"],
    ["fleet", "show"],
]
GROUPS = {
    "scan": ["What goes in", "How it is done", "How the MM-BD detectors search and judge", "What comes out"],
    "inspect": ["What goes in", "What comes out"],
    "report": ["What goes in", "What comes out"],
    "policy": ["What goes in"],
    "verify": ["What goes in", "How it is done"],
    "list": ["What comes out"],
    "selftest": ["How it is done", "What comes out"],
}
OTHERS = ("╭─ Arguments", "╭─ Commands")
USUAL = ["What goes in", "How it is done", "What comes out"]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return caller(capsys)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_options_come_in_groups_that_keep_their_order(run, command):
    code, out, _ = run(*command, "--help")
    assert code == 0
    heads = [line for line in out.splitlines() if line.startswith("╭")]
    assert [head.strip("╭─╮ ") for head in heads if not head.startswith(OTHERS)] == GROUPS.get(
        command[0], USUAL
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_option_has_words(run, command):
    _, out, _ = run(*command, "--help")
    rows = [line.strip("│ *").split("  ", 1) for line in out.splitlines() if "│" in line and "--" in line]
    bare = [row for row in rows if row[0].startswith("--") and len(row) < 2]
    assert bare == []
    assert len(rows) >= 1


def test_help_needs_no_torch():
    code = (
        "import sys\n"
        "from mmbd.cli import main\n"
        "for command in sys.argv[1:]:\n"
        "    try: main([*command.split(), '--help'])\n"
        "    except SystemExit: pass\n"
        "    heavy = [name for name in ('torch', 'numpy', 'scipy') if name in sys.modules]\n"
        "    print(command, heavy, file=sys.stderr)"
    )
    words = ["", *map(" ".join, COMMANDS)]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=600)
    assert done.stderr.splitlines() == [f"{command} []" for command in words]
    assert done.stdout.count("Usage: ") == len(words)
