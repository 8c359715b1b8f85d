"""The few keywords of JSON Schema: what is checked, and that a message names the place."""

from __future__ import annotations

import math

import jsonschema
import pytest

from mmbd.base.schema import check

SCHEMA = {
    "type": "object",
    "required": ["name", "rows"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z]+$"},
        "rows": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"$ref": "#/$defs/row"}},
        "best": {"anyOf": [{"$ref": "#/$defs/row"}, {"type": "null"}]},
        "kind": {"enum": ["a", "b"]},
        "version": {"const": 3},
    },
    "$defs": {"row": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1}},
}
GOOD = {"name": "x", "rows": [0.5, None], "best": None, "kind": "a", "version": 3}


def test_what_conforms_passes():
    check(GOOD, SCHEMA)
    jsonschema.validate(GOOD, SCHEMA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "X"}, r"plan\.name is 'X', expected it to match"),
        ({"name": 1}, r"plan\.name is 1, expected string"),
        ({"rows": []}, r"plan\.rows has 0 items"),
        ({"rows": [0.5, 0.5, 0.5]}, r"plan\.rows has 3 items"),
        ({"rows": [0]}, r"plan\.rows\[0\] is 0, expected more than 0"),
        ({"rows": [0.1, 1.5]}, r"plan\.rows\[1\] is 1.5, expected at most 1"),
        ({"rows": [True]}, r"plan\.rows\[0\] is True, expected number or null"),
        ({"best": "no"}, r"plan\.best is 'no', expected number or null"),
        ({"kind": "c"}, r"plan\.kind is 'c', expected one of"),
        ({"version": 2}, r"plan\.version is 2, expected 3"),
        ({"more": 1}, r"plan\.more is not a known field"),
    ],
)
def test_what_does_not_is_named_with_its_place_and_refused_by_the_standard_too(change, message):
    value = GOOD | change
    with pytest.raises(ValueError, match=message):
        check(value, SCHEMA, where="plan")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, SCHEMA)


@pytest.mark.parametrize("number", [math.nan, math.inf, 10**400])
def test_numbers_that_no_float_holds_are_refused(number):
    with pytest.raises(ValueError, match=r"report\.rows\[0\] is not a finite number"):
        check(GOOD | {"rows": [number]}, SCHEMA)


def test_a_field_that_is_missing_is_named():
    with pytest.raises(ValueError, match=r"report\.rows is missing"):
        check({"name": "x"}, SCHEMA)
