"""JUnit, CycloneDX and model cards: what each says of every verdict, read back by their own libraries."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import junitparser
import pytest
import yaml

from helpers import example_reports, ruled_reports
from mmbd.render.card import card
from mmbd.render.cyclonedx import cyclonedx
from mmbd.render.junit import junit

KINDS = {
    "clean": None,
    "passed": None,
    "backdoored": junitparser.Failure,
    "expired": junitparser.Failure,
    "rejected": junitparser.Failure,
    "not_evaluable": junitparser.Error,
    "refused": junitparser.Error,
    "accepted": junitparser.Skipped,
}


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_junit_says_what_the_exit_code_says(name, kind):
    made = example_reports.ALL[name]()
    (suite,) = junitparser.JUnitXml.fromstring(junit([made]).encode())
    (case,) = suite
    assert [type(result) for result in case.result] == ([] if kind is None else [kind])
    assert (suite.failures + suite.errors > 0) == (made.exit_code != 0)
    assert case.classname == "mmbd.mm-bd"


def test_junit_counts_and_holds_what_an_exception_says():
    names = list(KINDS)
    (suite,) = junitparser.JUnitXml.fromstring(
        junit([example_reports.ALL[name]() for name in names]).encode()
    )
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (8, 3, 2, 1)
    accepted = list(suite)[names.index("accepted")]
    assert ruled_reports.REASON in accepted.result[0].message
    assert ruled_reports.EXPIRES in accepted.result[0].message


def test_junit_takes_names_that_xml_cannot_write():
    hostile = example_reports.hostile()
    named = replace(hostile, model=replace(hostile.model, file="\x00\x1b[31m\ud800￾ ]]> <!-- &"))
    (suite,) = junitparser.JUnitXml.fromstring(junit([named]).encode())
    assert next(iter(suite)).name.isprintable()


def test_a_bill_has_a_card_a_digest_and_a_vulnerability_where_there_is_one():
    bill = json.loads(cyclonedx([example_reports.clean(), example_reports.universal()]))
    component = bill["components"][0]
    assert component["type"] == "machine-learning-model"
    assert component["hashes"] == [{"alg": "SHA-256", "content": example_reports.model().sha256}]
    assert component["modelCard"]["considerations"]["technicalLimitations"]
    (found,) = bill["vulnerabilities"]
    assert (found["cwes"], found["affects"]) == ([506], [{"ref": component["bom-ref"]}])
    assert "analysis" not in found
    (found,) = json.loads(cyclonedx([example_reports.ALL["accepted"]()]))["vulnerabilities"]
    assert ruled_reports.REASON in found["analysis"]["detail"]
    assert "vulnerabilities" not in json.loads(cyclonedx([example_reports.clean()]))


def test_a_model_that_comes_twice_is_one_component_with_the_numbers_of_both():
    first = example_reports.clean()
    second = replace(example_reports.backdoored(), model=first.model, detector="head")
    bill = json.loads(cyclonedx([first, second, first]))
    (component,) = bill["components"]
    metrics = component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert {one["type"].split(":")[0] for one in metrics} == {"mm-bd", "head"}
    assert cyclonedx([first]) == cyclonedx([first])


@pytest.mark.parametrize("name", ["clean", "backdoored", "hostile", "refused", "accepted", "neural_cleanse"])
def test_a_cards_metadata_is_yaml_and_its_text_has_no_marks_of_the_models(name):
    head, text = card([example_reports.ALL[name]()]).split("\n```\n", 1)
    found = yaml.safe_load(head.removeprefix("```yaml\n"))
    (entry,) = found["model-index"]
    (result,) = entry["results"]
    assert result["metrics"][0]["value"].startswith(example_reports.ALL[name]().verdict)
    assert not re.search(r"(?<!\\)[\[\]<>]", text)
