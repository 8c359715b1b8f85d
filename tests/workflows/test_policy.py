"""Policies: what is read, and what is refused in one line before anything is scanned."""

from __future__ import annotations

import hashlib
import os

import pytest

from mmbd.results.ruling import PolicyException
from mmbd.workflows import policy as policies
from mmbd.workflows.policy import BadPolicy

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
EXCEPTION = f'[[exceptions]]\nsha256 = "{DIGEST}"\nreason = "ours"\nexpires = 2027-03-31\n'


def test_everything_that_a_policy_may_say(tmp_path):
    path = tmp_path / "mmbd.toml"
    path.write_text(
        'version = 1\nlevel = 0.01\ndetector = "mm-bd"\nnull = "combined"\nminimum_accuracy = 1\n'
        f'formats = ["safetensors", "onnx"]\n{EXCEPTION}verdict = "not evaluable"\n'
    )
    found = policies.read(path)
    assert (found.level, found.detector, found.null, found.minimum_accuracy) == (0.01, "mm-bd", "combined", 1)
    assert found.formats == ("safetensors", "onnx")
    assert found.exceptions == (PolicyException(DIGEST, "ours", "2027-03-31", "not evaluable"),)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.exception_for(DIGEST) is found.exceptions[0]
    assert found.exception_for(None) is None
    assert found.expired("2027-03-31") == ()  # the last day counts
    assert found.expired("2027-04-01") == found.exceptions


def test_what_a_policy_does_not_say_is_left_open(tmp_path):
    (tmp_path / "p.toml").write_text("version = 1\n")
    found = policies.read(tmp_path / "p.toml")
    assert (found.level, found.detector, found.null, found.formats, found.exceptions) == (*[None] * 4, ())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "version is missing: expected version = 1"),
        ("version = 2", "a policy of version 2; this release reads version 1"),
        ('version = "1"', "version is '1': expected version = 1"),
        ("version = 1\nlevl = 0.1", "unknown field 'levl'; did you mean 'level'? known: version, level"),
        ("version = 1\nlevel = 5", "level: expected a number between 0 and 1, got 5"),
        ("version = 1\nlevel = true", "level: expected a number between 0 and 1, got True"),
        ("version = 1\nlevel = nan", "level: expected a number"),
        ("version = 1\nminimum_accuracy = 90", "minimum_accuracy: expected a share above 0 and at most 1"),
        ('version = 1\ndetector = "mmbd"', "detector: unknown detector 'mmbd'; did you mean 'mm-bd'?"),
        ('version = 1\nnull = "jiont"', "null: unknown null 'jiont'; did you mean 'joint'?"),
        ('version = 1\nnull = "joint"\ndetector = "tabor"', "null: tabor compares with none"),
        ('version = 1\nformats = ["safetensor"]', "formats: unknown format 'safetensor'; did you mean"),
        ("version = 1\nformats = []", "formats: expected a list of formats, got none"),
        ('version = 1\nformats = "onnx"', "formats: expected a list of formats, got 'onnx'"),
        ("version = 1\nexceptions = 3", "exceptions: expected [[exceptions]] tables"),
        (f"version = 1\n{EXCEPTION}{EXCEPTION}", "exceptions: number 2 is for the model of number 1"),
        (f"version = 1\n{EXCEPTION}expire = 1", "exceptions: number 1: unknown field 'expire'; did you mean"),
        (
            f'version = 1\n[[exceptions]]\nsha256 = "{DIGEST}"\nreason = "x"',
            "exceptions: number 1: expires is missing, the last day on which it holds",
        ),
        (
            f"version = 1\n{EXCEPTION.replace('2027-03-31', chr(34) + '2027-03-31' + chr(34))}",
            "number 1: expires: expected a day without quotes or time, such as 2027-03-31, got 2027-03-31",
        ),
        (
            f"version = 1\n{EXCEPTION.replace('2027-03-31', '2027-03-31T12:00:00')}",
            "expires: expected a day without quotes",
        ),
        (f"version = 1\n{EXCEPTION.replace(DIGEST, 'abc')}", "sha256: expected 64 hexadecimal digits"),
        (f"version = 1\n{EXCEPTION.replace('ours', '  ')}", "reason: expected a sentence"),
        (f'version = 1\n{EXCEPTION}verdict = "bad"', "verdict: unknown verdict 'bad'"),
        ("version = 1\nversion = 1", "not TOML: "),
        ("version 1", "not TOML: "),
    ],
)
def test_what_is_refused_is_said_in_one_line(tmp_path, text, said):
    path = tmp_path / "mmbd.toml"
    path.write_text(text)
    with pytest.raises(BadPolicy) as caught:
        policies.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_policy_that_is_no_file_is_refused_alike(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for name, said in (("none", "no such file"), ("pipe", "expected a regular file"), ("bytes", "UTF-8")):
        with pytest.raises(BadPolicy, match=said):
            policies.read(tmp_path / name)


def test_names_in_a_policy_cannot_steer_a_terminal(tmp_path):
    path = tmp_path / "mmbd.toml"
    path.write_text('version = 1\n"\\u001b[31m" = 1\n')
    with pytest.raises(BadPolicy) as caught:
        policies.read(path)
    assert str(caught.value).isprintable()
