"""`mmbd verify`: what fits stands, and what does not fit is said: file, statistics, table, level, policy."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from helpers.command_line import caller
from mmbd.null import tables
from mmbd.workflows import scan_file as gate

FAST = ("--no-universal", "--quiet")


@pytest.fixture
def call(here, capsys):
    return caller(capsys)


def made(call, name: str, *options: object) -> Path:
    place = Path(f"{name}.intoto.json")
    code, _, errors = call("scan", f"{name}.safetensors", *FAST, "--out", place, *options)
    assert code in (gate.CLEAN, gate.BACKDOORED), errors
    return place


def changed(place: Path, change: Any) -> str:
    raw = json.loads(place.read_text())
    change(raw)
    Path("changed.json").write_text(json.dumps(raw))
    return "changed.json"


def test_a_statement_stands_for_its_model_wherever_that_lies(call):
    for name, code, word in (("good", gate.CLEAN, "clean"), ("bad", gate.BACKDOORED, "backdoored")):
        place = made(call, name)
        Path("moved").write_bytes(Path(f"{name}.safetensors").read_bytes())
        found, out, errors = call("verify", place, "moved")
        assert (found, errors) == (code, "")
        assert out.startswith(f"stands: moved: {word}: ")


def test_the_statement_is_one_of_in_toto_and_names_what_it_rests_on(call):
    Path("p.toml").write_text("version = 1\nlevel = 0.01\n")
    raw = json.loads(made(call, "good", "--policy", "p.toml").read_text())
    assert (raw["_type"], raw["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://in-toto.io/attestation/test-result/v0.1",
    )
    digest = sha256(Path("good.safetensors").read_bytes()).hexdigest()
    assert raw["subject"] == [{"name": "good.safetensors", "digest": {"sha256": digest}}]
    parts = {one["name"]: one for one in raw["predicate"]["configuration"]}
    assert set(parts) == {"mmbd", "settings", "null table", "policy"}
    assert parts["null table"]["digest"]["sha256"] == tables.digest("population")
    assert parts["policy"]["digest"]["sha256"] == sha256(Path("p.toml").read_bytes()).hexdigest()
    assert (raw["predicate"]["result"], raw["predicate"]["passedTests"]) == ("PASSED", ["mm-bd/population"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda raw: raw["predicate"]["report"]["finding"]["columns"][0]["values"].__setitem__(0, 900.0),
            "p-value",
        ),
        (
            lambda raw: raw["predicate"]["report"].update(level=0.9),
            "its settings is not that of the report inside",
        ),
        (lambda raw: raw["predicate"].update(result="PASSED"), "its result is not that of the report inside"),
        (
            lambda raw: raw["predicate"]["configuration"][2]["digest"].update(sha256="0" * 64),
            "it was made with another table of clean networks, 000",
        ),
        (
            lambda raw: raw["subject"][0]["digest"].update(sha256="1" * 64),
            "it is for another file, with the SHA-256 1",
        ),
        (
            lambda raw: raw["predicate"]["report"]["finding"].update(verdict="clean", targets=[]),
            "its verdict is clean, and its statistics give backdoored at its level",
        ),
    ],
)
def test_what_was_changed_is_said(call, change, said):
    name = changed(made(call, "bad"), change)
    code, out, _ = call("verify", name, "bad.safetensors")
    assert code == gate.FAILED
    assert all(line.startswith("does not stand: bad.safetensors: ") for line in out.splitlines())
    assert said in out


def test_another_file_level_or_policy_does_not_fit(call):
    place = made(call, "good")
    code, out, _ = call("verify", place, "bad.safetensors")
    assert (code, "it is for another file" in out) == (gate.FAILED, True)
    code, out, _ = call("verify", place, "good.safetensors", "--level", 0.01)
    assert (code, "it was made at the level 0.05; 0.01 is asked for" in out) == (gate.FAILED, True)
    Path("p.toml").write_text("version = 1\n")
    code, out, _ = call("verify", place, "good.safetensors", "--policy", "p.toml")
    assert (code, "it was made without a policy; p.toml has " in out) == (gate.FAILED, True)


def test_an_exception_that_has_expired_since_lets_nothing_through(call, monkeypatch):
    digest = sha256(Path("bad.safetensors").read_bytes()).hexdigest()
    Path("p.toml").write_text(
        f'version = 1\n[[exceptions]]\nsha256 = "{digest}"\nreason = "known"\nexpires = 2999-12-31\n'
    )
    place = made(call, "bad", "--policy", "p.toml")
    assert json.loads(place.read_text())["predicate"]["result"] == "WARNED"
    code, out, _ = call("verify", place, "bad.safetensors", "--policy", "p.toml")
    assert (code, "accepted by an exception of the policy p.toml until 2999-12-31: known" in out) == (0, True)
    forged = changed(
        place, lambda raw: raw["predicate"]["report"]["ruling"]["exception"].update(reason="mine")
    )
    code, out, _ = call("verify", forged, "bad.safetensors", "--policy", "p.toml")
    assert (code, "its exception is none of p.toml" in out) == (gate.FAILED, True)
    monkeypatch.setattr("mmbd.workflows.verified.today", lambda: "3000-01-01")
    code, out, _ = call("verify", place, "bad.safetensors")
    assert (code, "expired on 2999-12-31" in out) == (gate.BACKDOORED, True)


def test_a_signed_envelope_is_opened_and_its_signature_left_to_others(call):
    payload = base64.b64encode(made(call, "good").read_bytes()).decode()
    Path("e.json").write_text(
        json.dumps({"payloadType": "application/vnd.in-toto+json", "payload": payload, "signatures": []})
    )
    code, out, _ = call("verify", "e.json", "good.safetensors")
    assert (code, "note: good.safetensors: the statement's signature was not checked here" in out) == (
        0,
        True,
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"_type": "https://in-toto.io/Statement/v1"}',
        '{"payloadType": "application/vnd.in-toto+json", "payload": "?"}',
        "[" * 5000,
        '{"a": 1, "a": 2}',
    ],
)
def test_what_is_no_statement_fails_in_one_line(call, text):
    Path("x.json").write_text(text)
    code, out, errors = call("verify", "x.json", "good.safetensors")
    assert (code, out, len(errors.splitlines())) == (gate.FAILED, "", 1)
    assert errors.startswith("mmbd: x.json: no statement of a scan: ")


def test_files_beside_are_plain_names_and_all_of_them_count(call, here):
    def further(raw: Any) -> None:
        raw["subject"].append({"name": "../x", "digest": {"sha256": "0" * 64}})

    code, _, errors = call("verify", changed(made(call, "good"), further), "good.safetensors")
    assert (code, "expected the plain name of a file" in errors) == (gate.FAILED, True)
    assert call("verify", "none.json", "good.safetensors")[0] == gate.FAILED
    code, _, errors = call("verify", "good.intoto.json", "none")
    assert (code, "no such file" in errors) == (gate.FAILED, True)


def test_a_form_is_named_where_the_suffix_does_not_say_it(call, here):
    code, out, errors = call("scan", "good.safetensors", *FAST, "--format", "card")
    assert (code, errors, out.startswith("```yaml\ntags:\n- backdoor-scan\n")) == (0, "", True)
    code, out, _ = call("scan", "good.safetensors", *FAST, "--format", "intoto", "--out", "made/")
    assert {path.name for path in (here / "made").iterdir()} == {"good.safetensors.intoto.json"}
    code, out, errors = call("scan", "good.safetensors", *FAST, "--format", "sarf")
    assert (code, "unknown form 'sarf'; did you mean 'sarif'?" in errors) == (gate.USAGE, True)
