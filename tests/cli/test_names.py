"""Names of files that look like options or numbers, as a shell writes them for a glob."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.command_line import caller
from helpers.planted_files import planted
from mmbd.cli.arguments import joined, refuse_names
from mmbd.cli.options import Usage
from mmbd.workflows import scan_file as gate


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(here, capsys):
    """Run a command line in an empty folder; returns (exit code, what it printed, its errors)."""
    return caller(capsys)


@pytest.mark.parametrize("name", ["--help", "-h", "--version", "--level=1e-9", "--quiet", "-x"])
@pytest.mark.parametrize("command", [["scan"], ["zoo", "list"], ["fix"], ["evaluate"], []])
def test_a_file_called_like_an_option_is_no_option(run, here, name, command):
    (here / name).write_bytes(b"")
    code, out, errors = run(*command, "a.safetensors", name)
    assert (code, out) == (gate.USAGE, "")
    assert errors.startswith(f"mmbd: {name} is an option and the name of a file here: write ./{name}")
    assert "put -- before the names" in errors


def test_links_to_nowhere_are_names_too(run, here):
    (here / "--help").symlink_to("nowhere")
    assert run("scan", "--help")[0] == gate.USAGE


def test_a_files_name_chooses_no_code_to_run(run, here):
    (here / "x.py").write_text("open('ran', 'w')\ndef f():\n    raise ValueError\n")
    planted(here / "--arch=x.py:f.safetensors", gain=20.0)
    code, out, _ = run("scan", "--arch=x.py:f.safetensors", "x.py")
    assert (code, out) == (gate.USAGE, "")
    assert not (here / "ran").exists()


def test_after_the_double_dash_every_name_is_a_file(run, here):
    planted(here / "--help", gain=1.0)
    planted(here / "-1", gain=20.0)
    code, out, _ = run("scan", "--quiet", "--", "--help", "-1")
    assert code == gate.BACKDOORED
    assert [line.split(": ")[:2] for line in out.splitlines()] == [["clean", "--help"], ["backdoored", "-1"]]


def test_a_file_called_double_dash_does_not_hide(run, here):
    planted(here / "--", gain=20.0)
    planted(here / "good", gain=1.0)
    code, out, errors = run("scan", "--", "good")  # from: mmbd scan *
    assert (code, out) == (gate.USAGE, "")
    assert "write ./--" in errors
    code, out, _ = run("scan", "--quiet", "--", "--", "good")  # from: mmbd scan -- *
    assert code == gate.BACKDOORED
    assert len(out.splitlines()) == 2


def test_help_and_options_work_where_no_file_has_their_name(run, here):
    planted(here / "good", gain=1.0)
    assert run("--help")[0] == run("scan", "-h")[0] == run("--version")[0] == 0
    assert run("scan", "good", "--json", "-", "--level=0.01")[0] == 0
    (here / "-").write_bytes(b"x")  # "-" is what --json prints to, whatever lies here
    assert run("scan", "good", "--json", "-")[0] == 0
    code, out, _ = run("scan", "good", "-")  # from: mmbd scan *
    assert (code, out) == (gate.USAGE, "")
    code, out, _ = run("scan", "--quiet", "--", "-")
    assert code in (gate.FAILED, gate.REFUSED)
    assert out.startswith("not evaluable: -: ")


@pytest.mark.parametrize("command", ["scan", "zoo", "evaluate", "train", "fix"])
def test_there_are_no_response_files(run, here, command):
    (here / "args").write_text("--help\n")
    assert run(command, "@args")[0] != 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--std", "0.2", "0.3", "0.4", "F"], ["--std=0.2,0.3,0.4", "F"]),
        (["--mean", "0.5", "--std", "1", "F"], ["--mean=0.5", "--std=1", "F"]),
        (["--mean", "0.1,0.2", "0.3", "F", "0.4"], ["--mean=0.1,0.2,0.3", "F", "0.4"]),
        (["--mean", "-1e-3", "-.5"], ["--mean=-1e-3,-.5"]),
        (["--mean", "0.1 0.2 0.3", "F"], ["--mean=0.1 0.2 0.3", "F"]),
        (["--mean=0.1", "0.2"], ["--mean=0.1", "0.2"]),
        (["--mean", "F"], ["--mean", "F"]),
        (["--mean", "0.5", "--", "0.6"], ["--mean=0.5", "--", "0.6"]),
        (["--", "--mean", "0.5", "0.6"], ["--", "--mean", "0.5", "0.6"]),
        (["--level", "0.5", "0.6"], ["--level", "0.5", "0.6"]),
        (["--mean"], ["--mean"]),
    ],
)
def test_a_list_of_numbers_ends_at_the_first_other_word(here, given, expected):
    assert joined(given) == expected


def test_a_file_called_like_a_number_is_not_swallowed(here):
    (here / "0.3").write_bytes(b"")
    with pytest.raises(Usage, match=r"write \./0\.3 for the file, or --mean=0\.5,0\.3"):
        joined(["--mean", "0.5", "0.3"])
    assert joined(["--mean", "0.3", "F"]) == ["--mean=0.3", "F"]
    refuse_names(["--mean", "0.5", "0.3"])


@pytest.mark.parametrize(
    ("flags", "mean", "std"),
    [(["--mean", "0.5", "--std", "0.25"], (0.5,), (0.25,)), (["--mean=0.5", "--std=0.25"], (0.5,), (0.25,))],
)
def test_numbers_before_the_file(run, here, flags, mean, std):
    from mmbd.results.report import Report

    planted(here / "good", gain=1.0)
    code, out, errors = run("scan", *flags, "good", "--json", "-", "--steps", "2")
    assert code in (0, 1, 3), errors
    report = Report.from_json(out)
    assert (report.model.mean, report.model.std) == (mean, std)


def test_one_number_a_channel(run, here):
    import torch

    from mmbd.formats.spec import Spec, save
    from mmbd.results.report import Report

    torch.manual_seed(0)
    spec = Spec("mlp", (3, 2, 2), 8, {"hidden": (16,)})
    save(here / "three", spec.network(), spec)
    for flags in (
        ["--mean=0.49,0.48,0.45", "--std", "0.2", "0.3", "0.4"],
        ["--mean", "0.49", "0.48", "0.45", "--std", "0.2,0.3,0.4"],
    ):
        _, out, errors = run("scan", *flags, "three", "--json", "-", "--steps", "2")
        report = Report.from_json(out)
        assert report.model.mean == pytest.approx((0.49, 0.48, 0.45)), errors
        assert report.model.std == pytest.approx((0.2, 0.3, 0.4))
