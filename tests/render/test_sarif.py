"""SARIF: the shape that version 2.1.0 asks for, one error a backdoored model, nothing forged."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest

from helpers import example_reports
from mmbd.render.sarif import sarif

# The parts of the SARIF 2.1.0 schema that this log uses, closed so that nothing else creeps in.
MESSAGE = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}
LOCATION: dict[str, Any] = {
    "properties": {
        "physicalLocation": {
            "required": ["artifactLocation", "region"],
            "properties": {"region": {"const": {"startLine": 1}}},
        }
    }
}
SHAPE: dict[str, Any] = {
    "type": "object",
    "required": ["version", "runs", "$schema"],
    "properties": {
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "additionalProperties": False,
                "required": ["tool", "results", "artifacts"],
                "properties": {
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "tool": {
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "additionalProperties": False,
                                "required": ["name", "rules"],
                                "properties": {
                                    "name": {"const": "mmbd"},
                                    "version": {"type": "string"},
                                    "rules": {
                                        "items": {
                                            "required": [
                                                "id",
                                                "fullDescription",
                                                "help",
                                                "defaultConfiguration",
                                            ],
                                            "properties": {
                                                "shortDescription": MESSAGE,
                                                "fullDescription": MESSAGE,
                                                "help": MESSAGE,
                                            },
                                        }
                                    },
                                },
                            }
                        },
                    },
                    "artifacts": {
                        "uniqueItems": True,
                        "items": {
                            "additionalProperties": False,
                            "properties": {
                                "location": {
                                    "properties": {"uri": {"pattern": r"^[\w\-.~%/]+$"}},
                                    "additionalProperties": False,
                                },
                                "roles": {"items": {"const": "analysisTarget"}},
                                "length": {"type": "integer", "minimum": -1},
                                "hashes": {"additionalProperties": {"type": "string"}},
                                "properties": {"type": "object"},
                            },
                        },
                    },
                    "results": {
                        "items": {
                            "additionalProperties": False,
                            "required": ["message", "ruleId", "locations"],
                            "properties": {
                                "ruleId": {"pattern": "^MMBD00[1-4]$"},
                                "ruleIndex": {"type": "integer"},
                                "level": {"enum": ["error", "warning"]},
                                "message": MESSAGE,
                                "locations": {"minItems": 1, "items": LOCATION},
                                "partialFingerprints": {"additionalProperties": {"type": "string"}},
                                "properties": {"type": "object"},
                            },
                        }
                    },
                },
            },
        },
    },
}


@pytest.mark.parametrize("name", example_reports.ALL)
def test_shape(name: str):
    log = json.loads(sarif([example_reports.ALL[name]()]), parse_constant=pytest.fail)
    jsonschema.validate(log, SHAPE)


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
    (run,) = json.loads(sarif(reports))["runs"]
    jsonschema.validate({"version": "2.1.0", "$schema": "", "runs": [run]}, SHAPE)
    assert (len(run["artifacts"]), len(run["results"])) == (2, 1)


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
