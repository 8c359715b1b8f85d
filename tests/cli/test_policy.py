"""`mmbd scan --policy` and `mmbd policy check`: exit codes and outputs follow the policy, and loudly."""

from __future__ import annotations

import json
import pickle
from hashlib import sha256
from pathlib import Path

import pytest

from helpers.command_line import caller
from mmbd.results.report import Report
from mmbd.workflows import scan_file as gate

FAST = ("--steps", 4, "--no-universal", "--null", "population")


@pytest.fixture
def call(here, capsys):
    return caller(capsys)


def policy(text: str = "", *, excepted: str = "", until: str = "2999-12-31") -> None:
    if excepted:
        digest = sha256(Path(excepted).read_bytes()).hexdigest()
        text += f'\n[[exceptions]]\nsha256 = "{digest}"\nreason = "we know it"\nexpires = {until}\n'
    Path("p.toml").write_text(f"version = 1\n{text}")


def test_the_policys_level_is_scanned_at_and_cannot_be_said_otherwise(call):
    policy("level = 0.01")
    code, out, errors = call("scan", "good.safetensors", "--policy", "p.toml", *FAST, "--json", "-")
    assert (code, errors) == (gate.CLEAN, "")
    assert json.loads(out)["level"] == 0.01
    assert json.loads(out)["ruling"]["state"] == "passed"
    code, out, errors = call("scan", "good.safetensors", "--policy", "p.toml", "--level", 0.05)
    assert (code, out) == (gate.USAGE, "")
    assert errors == "mmbd: --level 0.05: the policy p.toml says 0.01; leave the flag out\n"


def test_an_exception_that_applies_is_told_and_passes(call):
    policy(excepted="bad.safetensors")
    out_options = ("--out", "r.json", "--out", "r.html", "--out", "r.sarif")
    code, out, errors = call("scan", "bad.safetensors", "--policy", "p.toml", *FAST, *out_options)
    assert (code, errors) == (gate.CLEAN, "")
    assert out.startswith("BACKDOORED, ACCEPTED BY AN EXCEPTION  target class 2")
    said = "ccepted by an exception of the policy p.toml until 2999-12-31: we know it"
    assert f"A{said}." in out
    for name in ("r.html", "r.sarif"):
        assert said in Path(name).read_text()
    (result,) = json.loads(Path("r.sarif").read_text())["runs"][0]["results"]
    assert result["suppressions"][0]["status"] == "accepted"
    assert Report.load("r.json").exit_code == 0
    code, out, _ = call("report", "r.json", "--quiet")
    assert code == gate.CLEAN
    assert out.startswith("backdoored, accepted by an exception: bad.safetensors: ")


def test_an_expired_exception_fails_loudly(call):
    policy(excepted="bad.safetensors", until="2020-02-29")
    code, out, errors = call("scan", "bad.safetensors", "--policy", "p.toml", *FAST, "--quiet")
    assert code == gate.BACKDOORED
    assert "expired on 2020-02-29 and accepts nothing any more: we know it" in errors
    assert "the exception for this model expired on 2020-02-29 (its reason: we know it)" in out
    code, out, errors = call("policy", "check", "p.toml")
    assert (code, "EXPIRED on 2020-02-29: we know it" in out) == (gate.FAILED, True)


def test_a_format_that_is_not_allowed_is_not_read(call, here):
    policy('formats = ["onnx"]')
    code, out, _ = call("scan", "good.safetensors", "--policy", "p.toml", *FAST, "--quiet")
    assert code == gate.REFUSED
    assert "refused: good.safetensors: the policy allows onnx; this is safetensors, which was not read" in out
    Path("program.pt").write_bytes(pickle.dumps(print))
    code, out, _ = call("scan", "program.pt", "--policy", "p.toml", "--quiet")
    assert (code, "refused: " in out) == (gate.REFUSED, True)
    code, _, errors = call("scan", "program.pt", "--policy", "p.toml", "--trust-code")
    assert (code, "programs are none" in errors) == (gate.USAGE, True)


def test_a_refused_file_can_be_accepted_by_its_digest(call):
    Path("program.pt").write_bytes(pickle.dumps(print))
    policy(excepted="program.pt")
    code, out, _ = call("scan", "program.pt", "--policy", "p.toml", "--quiet")
    assert code == gate.CLEAN
    assert out.startswith("not evaluable, accepted by an exception: program.pt: refused: ")
    assert "we know it" in out


def test_accuracy_is_measured_on_the_data(call, tmp_path):
    import numpy as np

    policy("minimum_accuracy = 0.9")
    inputs = np.zeros((16, 1, 4, 4), dtype=np.float32)
    labels = np.arange(16) % 8
    inputs.reshape(16, 16)[np.arange(16), labels] = 1  # the pixel that the class wants
    np.savez(tmp_path / "right.npz", x=inputs, y=labels)
    np.savez(tmp_path / "wrong.npz", x=inputs, y=np.where(np.arange(16) < 4, 7 - labels, labels))
    for data, code, said in (("right", gate.CLEAN, "passed"), ("wrong", gate.REFUSED, "rejected")):
        done, out, errors = call(
            "scan", "good.safetensors", "--policy", "p.toml", *FAST, "--data", f"{data}.npz", "--out", "-"
        )
        found = json.loads(out)
        assert (done, found["ruling"]["state"], found["finding"]["verdict"]) == (code, said, "clean"), errors
    assert "and it is 75.0% of 16 clean samples" in found["ruling"]["objections"][0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version = 7", "p.toml: a policy of version 7; this release reads version 1"),
        ("version = 1\nlevle = 1", "p.toml: unknown field 'levle'; did you mean 'level'?"),
        ('version = 1\n[[exceptions]]\nreason = "x"', "p.toml: exceptions: number 1: sha256 is missing"),
        (None, "p.toml: there is no such file"),
    ],
)
def test_a_bad_policy_ends_before_anything_is_scanned(call, here, text, said):
    if text is not None:
        Path("p.toml").write_text(text)
    before = set(here.iterdir())
    for command in (
        ["scan", "bad.safetensors", "--policy", "p.toml", "--out", "out/"],
        ["policy", "check", "p.toml"],
    ):
        code, out, errors = call(*command)
        assert (code, out) == (gate.USAGE, "")
        assert errors.startswith(f"mmbd: {said}")
        assert len(errors.splitlines()) == 1
    assert set(here.iterdir()) == before


def test_a_policy_in_the_working_folder_is_not_taken_unasked(call):
    policy(excepted="bad.safetensors")
    Path("p.toml").rename("mmbd.toml")
    assert call("scan", "bad.safetensors", *FAST, "--quiet")[0] == gate.BACKDOORED
    code, out, _ = call("policy", "check")
    assert (code, out.splitlines()[0].startswith("mmbd.toml: a policy of version 1; ")) == (gate.CLEAN, False)
    assert "1 exception;" in out


def test_check_says_what_the_policy_says_of_models(call):
    policy('formats = ["safetensors"]', excepted="bad.safetensors")
    Path("program.pt").write_bytes(pickle.dumps(print))
    code, out, _ = call("policy", "check", "p.toml", "bad.safetensors", "good.safetensors", "program.pt")
    digest = sha256(Path("bad.safetensors").read_bytes()).hexdigest()
    bad, good, program = out.splitlines()[-3:]
    assert bad == f"bad.safetensors: sha256 {digest}, safetensors; an exception, until 2999-12-31"
    assert good.endswith("safetensors; no exception")
    assert program.startswith("program.pt: refused: ")
    assert code == gate.REFUSED
