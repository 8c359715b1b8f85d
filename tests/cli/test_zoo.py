"""`mmbd zoo` as a user meets it: exit codes, files, and what is printed."""

from __future__ import annotations

import pytest

from helpers import digit_zoos, own_process
from helpers.command_line import caller
from mmbd.workflows import scan_file as gate


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return digit_zoos.write(tmp_path_factory.mktemp("data"))


@pytest.fixture
def run(data, capsys, monkeypatch):
    """Run a command line beside the data; returns (exit code, what it printed, its errors)."""
    monkeypatch.chdir(data)
    return caller(capsys)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A zoo of two models and a failed one, made by a real process; (folder, what it did)."""
    folder = tmp_path_factory.mktemp("zoo")
    plan = digit_zoos.plan(
        folder,
        '[attack.greedy]\nkind = "badnet"\nsources = [1]\ncount = 900\n[[grid]]\n'
        'attack = ["clean", "greedy", "badnet-M"]\n',
    )
    return folder, own_process.mmbd("zoo", "make", plan, folder / "out")


def test_making_a_zoo_goes_on_past_a_failure(made):
    folder, done = made
    assert done.returncode == gate.FAILED, done.stderr
    assert done.stderr == ""
    first, second, third, total, failure = done.stdout.splitlines()
    assert first.startswith("[1/3] digits-mlp-clean-0  ACC ")
    assert "left" in first
    assert second.startswith("[2/3] digits-mlp-greedy-0  FAILED: 900 samples to poison; the source")
    assert third.startswith("[3/3] digits-mlp-badnet-M-0  ACC ")
    assert "  ASR " in third
    assert total == f"{folder / 'out'}: 2 models made, 0 were there already, 1 failed"
    assert failure.startswith("failed: digits-mlp-greedy-0: 900 samples to poison")


def test_making_it_again_tries_what_failed(run, made):
    folder, _ = made
    code, said, _ = run("zoo", "make", folder / "plan.toml", folder / "out")
    assert code == gate.FAILED
    assert "0 models made, 2 were there already, 1 failed" in said
    other = folder / "other.toml"
    other.write_text((folder / "plan.toml").read_text().replace("epochs = 12", "epochs = 13"))
    code, _, errors = run("zoo", "make", other, folder / "out")
    assert code == gate.USAGE
    assert "recipe.epochs is 12 there and 13 here" in errors


def test_listing_a_zoo(run, made):
    folder, _ = made
    code, said, _ = run("zoo", "list", folder / "out")
    assert code == gate.FAILED  # because of the one that could not be made
    head, *models, total, broken = said.splitlines()
    assert head.split() == ["model", "label", "attack", "targets", "ACC", "train", "ASR", "excluded"]
    assert [line.split()[:3] for line in models] == [
        ["digits-mlp-badnet-M-0", "backdoored", "badnet-M"],
        ["digits-mlp-clean-0", "clean", "clean"],
    ]
    assert total == "2 models: 1 clean, 1 backdoored; 0 excluded, 1 broken"
    assert broken.startswith("broken: digits-mlp-greedy-0: not made: 900 samples")
    code, said, _ = run("zoo", "list", folder / "out", "--quiet")
    assert said.splitlines()[:2] == ["digits-mlp-badnet-M-0\tbackdoored", "digits-mlp-clean-0\tclean"]


def test_names_in_a_listing_cannot_steer_the_terminal(run, tmp_path):
    (tmp_path / "m.pt").write_bytes(b"x")
    (tmp_path / "zoo.csv").write_text("path,label,target,name\nm.pt,0,,\x1b[31m[red]evil\n")
    code, said, _ = run("zoo", "list", tmp_path / "zoo.csv")
    assert code == 0
    assert "\x1b" not in said
    assert "[red]evil" in said


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["make", "no.toml", "out"], gate.FAILED, "no.toml"),
        (["make", "train.npz", "out"], gate.FAILED, "train.npz"),
        (["make", "P", "out", "--workers", "-1"], gate.USAGE, "at least 0"),
        (["make", "P", "out", "--devise", "cpu"], gate.USAGE, "--devise"),
        (["make", "P"], gate.USAGE, "OUT"),
        (["make", "P", "out", "--device", "gpu"], gate.USAGE, "device 'gpu' cannot be used"),
        (["list", "nowhere"], gate.FAILED, "nowhere"),
        (["list", "."], gate.FAILED, "no zoo"),
        (["lst"], gate.USAGE, "lst"),
    ],
)
def test_zoo_usage(run, made, arguments, code, message):
    words = [made[0] / "plan.toml" if word == "P" else word for word in arguments]
    found, _, errors = run("zoo", *words)
    assert found == code, errors
    assert message in errors
    assert errors.startswith("mmbd: ")


@pytest.mark.parametrize("command", [["train"], ["zoo", "make"], ["zoo", "list"]])
def test_help_names_the_exit_codes(run, command):
    code, said, _ = run(*command, "--help")
    assert code == 0
    assert "Exit codes: 0" in " ".join(said.split())
