"""SARIF: the shape that version 2.1.0 asks for, one error a backdoored model, nothing forged."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from helpers import example_reports, ruled_reports
from mmbd.render.sarif import sarif
from mmbd.results.report import Report

MULTITOOL = shutil.which("sarif-multitool")  # 104 MB from npm: not part of the development set-up

# The official schema, as @microsoft/sarif-multitool 5.7.0 ships it (MIT); objects in it are closed.
SCHEMA = json.loads((Path(__file__).parents[1] / "helpers/schemas/sarif-2.1.0.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
URI = re.compile(r"[\w\-.~%/]+")


def checked(reports: Sequence[Report]) -> dict[str, Any]:
    """The run of a log that is valid, and has what code scanners ask for beyond that."""
    log = json.loads(sarif(reports), parse_constant=pytest.fail)
    VALIDATOR.validate(log)
    (run,) = log["runs"]
    assert run["tool"]["driver"]["informationUri"].startswith("https://")
    for rule in run["tool"]["driver"]["rules"]:
        assert {"fullDescription", "shortDescription", "help", "defaultConfiguration"} <= rule.keys()
    places = [(one["location"]["uri"], str(one.get("hashes"))) for one in run["artifacts"]]
    assert len(set(places)) == len(places)
    assert all(URI.fullmatch(uri) for uri, _ in places)
    for result in run["results"]:
        (location,) = result["locations"]
        assert location["physicalLocation"]["region"] == {"startLine": 1}
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    return run


@pytest.mark.parametrize("name", example_reports.ALL)
def test_shape(name: str):
    checked([example_reports.ALL[name]()])


def test_one_log_for_many_models():
    reports = [example_reports.clean(), example_reports.two_targets(), example_reports.not_evaluable()]
    (run,) = json.loads(sarif(reports))["runs"]
    assert [artifact["location"]["uri"] for artifact in run["artifacts"]] == [
        "models/clean.safetensors",
        "models/badnet-patch.safetensors",
        "Sequential",
    ]
    found, unsure = run["results"]
    assert (found["ruleId"], found["level"]) == ("MMBD001", "error")
    assert (unsure["ruleId"], unsure["level"]) == ("MMBD002", "warning")
    for result, index in ((found, 1), (unsure, 2)):
        location = result["locations"][0]["physicalLocation"]["artifactLocation"]
        assert location == run["artifacts"][index]["location"] | {"index": index}
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    assert found["properties"]["pValue"] == 0.0021
    assert found["properties"]["targets"] == [{"class": 3, "name": "cat"}, {"class": 9, "name": "truck"}]
    assert found["partialFingerprints"]["model/v1"] == f"{example_reports.model().sha256}:3,9"
    assert found["partialFingerprints"]["detector/v1"] == found["properties"]["detector"] == "mm-bd"
    assert run["tool"]["driver"]["version"] == "0.1.0"


def test_messages_hold_no_forged_links_or_placeholders():
    (run,) = json.loads(sarif([example_reports.hostile()]))["runs"]
    text = run["results"][0]["message"]["text"]
    assert text.isprintable()
    assert not re.search(r"(?<!\\)[\[\]]", text)
    assert not re.search(r"(?<!\{)\{(?!\{)", text)
    uri = run["artifacts"][0]["location"]["uri"]
    assert uri.startswith("../%3Cscript%3E")


def test_one_model_given_twice_is_there_once():
    reports = [
        example_reports.backdoored(),
        example_reports.clean(),
        example_reports.backdoored(),
        example_reports.clean(),
    ]
    run = checked(reports)
    assert (len(run["artifacts"]), len(run["results"])) == (2, 1)


def test_two_detectors_on_one_model_share_its_artifact():
    first, second = example_reports.clean(), example_reports.backdoored()
    run = checked([first, replace(second, detector="head", model=first.model)])
    assert [one["properties"]["verdict"] for one in run["artifacts"]] == ["backdoored"]


def test_what_an_exception_accepts_is_suppressed_and_what_the_policy_rejects_is_a_result():
    (found,) = checked([example_reports.ALL["accepted"]()])["results"]
    (suppression,) = found["suppressions"]
    assert (suppression["kind"], suppression["status"]) == ("external", "accepted")
    assert ruled_reports.REASON in suppression["justification"]
    (found,) = checked([example_reports.ALL["rejected"]()])["results"]
    assert (found["ruleId"], found["level"], "suppressions" in found) == ("MMBD005", "error", False)
    assert "85.0% of 100 clean samples" in found["message"]["text"]
    assert checked([example_reports.ALL["passed"]()])["results"] == []


@pytest.mark.skipif(
    MULTITOOL is None, reason="sarif-multitool is not installed (npm @microsoft/sarif-multitool)"
)
def test_the_official_validator_has_nothing_against_it(tmp_path):
    log, report = tmp_path / "log.sarif", tmp_path / "found.sarif"
    log.write_text(sarif([make() for make in example_reports.ALL.values()]), encoding="utf-8")
    words = ["validate", log, "--output", report, "--rule-kind", "Sarif;Ghas", "--level", "Error;Warning"]
    done = subprocess.run(
        [str(MULTITOOL), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1"},
    )
    (run,) = json.loads(report.read_text("utf-8-sig"))["runs"]
    serious = [one for one in run["results"] if one.get("level", "warning") == "error"]
    assert serious == [], done.stdout


@pytest.mark.parametrize(
    ("reason", "rule", "level"),
    [
        ("refused: a.pt: os.system is not on the allow list for weights", "MMBD003", "error"),
        ("failed: a.pt: there is no such file", "MMBD004", "error"),
        ("the outputs are probabilities (they sum to 1), not logits", "MMBD002", "warning"),
    ],
)
def test_nothing_that_was_not_judged_passes_for_a_note(reason, rule, level):
    (run,) = json.loads(sarif([example_reports.not_evaluable().revised(reason=reason)]))["runs"]
    (result,) = run["results"]
    assert (result["ruleId"], result["level"]) == (rule, level)
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == rule


def test_the_rule_is_in_the_words_of_the_detectors_that_were_asked():
    def rule(*names: str) -> str:
        log = json.loads(sarif([example_reports.ALL[name]() for name in names]))
        return log["runs"][0]["tool"]["driver"]["rules"][0]["fullDescription"]["text"]

    assert "margin that classes of clean models do not reach" in rule("clean", "backdoored")
    assert rule("pairs") == rule() == "The classifier behaves as backdoored ones do."
    assert rule("clean", "pairs") == f"{rule('clean')} {rule('pairs')}"


def test_a_threshold_and_its_detector_are_told():
    (run,) = json.loads(sarif([example_reports.ALL["neural_cleanse"]()]))["runs"]
    (result,) = run["results"]
    expected = {
        "detector": "small-masks",
        "detectorVersion": 2,
        "test": "MAD",
        "pValue": None,
        "statistic": 8.4,
        "threshold": 2.0,
        "level": 0.05,
        "ratio": None,
        "targets": [{"class": 3, "name": "cat"}],
    }
    assert result["properties"] == expected
    assert result["message"]["text"] == 'Backdoored: target class 3 "cat"; MAD 8.4, above its threshold 2'
