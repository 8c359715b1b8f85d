"""Archives of torch.export made to run code, with false claims, or plainly broken: an answer, soon."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import mmbd
from helpers.exported_programs import changed, flat, members, packed
from helpers.marker_pickles import pickles
from mmbd.base.errors import Failed, NotEvaluable, Refused

MUTANTS = 300


def load(tmp_path: Path, data: bytes) -> Any:
    (tmp_path / "net.pt2").write_bytes(data)
    return mmbd.load(tmp_path / "net.pt2")


def evil(marker: Path) -> bytes:
    return pickles(marker)["os.system, protocol 2"][0]


def routes(marker: Path) -> dict[str, tuple[bytes, type[Exception] | None]]:
    """The ways in which torch.export.load or the module that it returns would run code here."""
    data, code = flat()[1], f"__import__('pathlib').Path({str(marker)!r}).touch()"
    parts = members(data)
    folder = next(iter(parts)).partition("/")[0]
    weight = next(name for name in parts if "/weights/weight" in name)

    def pickled(value: Any) -> None:
        entry = next(iter(value["config"].values()))
        entry["use_pickle"] = True

    def guard(value: Any) -> None:
        value["guards_code"] = [code]

    def expression(value: Any) -> None:
        values = value["graph_module"]["graph"]["tensor_values"]
        next(iter(values.values()))["sizes"][0] = {"as_expr": {"expr_str": code, "hint": None}}
        value["graph_module"]["graph"]["sym_int_values"]["s0"] = {"as_expr": {"expr_str": code, "hint": None}}

    def opaque(value: Any) -> None:
        value["graph_module"]["signature"]["input_specs"][0] = {
            "custom_obj": {"arg": {"name": "x", "class_fqn": "os.system"}, "custom_obj_name": "x"}
        }

    def target(value: Any) -> None:
        value["graph_module"]["graph"]["nodes"][0]["target"] = "torch.os.system"

    sample = f"{folder}/data/sample_inputs/model.pt"
    old = {
        "serialized_exported_program.json": next(parts[name] for name in parts if "/models/" in name),
        "serialized_state_dict.pt": evil(marker),
    }
    return {
        "a pickled weight": (
            changed(packed({**parts, weight: evil(marker)}), pickled, "weights_config"),
            Refused,
        ),
        "sample inputs": (packed({**parts, sample: evil(marker)}), None),
        "guards": (changed(data, guard), None),
        "expressions": (changed(data, expression), None),
        "an opaque object": (changed(data, opaque), Refused),
        "a target": (changed(data, target), Refused),
        "the layout before 2.8": (packed(old), Failed),
        "no program": (
            packed({f"{folder}/archive_format": b"pt2", f"{folder}/w.pkl": evil(marker)}),
            Refused,
        ),
    }


def test_nothing_is_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    for name, (data, error) in routes(marker).items():
        if error is None:
            found = load(tmp_path, data)
            found.classifier(torch.rand(2, 1, 6, 6))
        else:
            with pytest.raises(error):
                load(tmp_path, data)
        assert not marker.exists(), name


@pytest.mark.parametrize("other", ["data.pkl", "constants.pkl", "code/net.py", ".data/extern_modules"])
def test_an_archive_that_other_loaders_take_for_theirs_is_refused(other: str, tmp_path: Path) -> None:
    """torch.load would run the pickle in a file that was scanned as a program."""
    parts = members(flat()[1])
    folder = next(iter(parts)).partition("/")[0]
    with pytest.raises(Refused, match="and another one at once"):
        load(tmp_path, packed({**parts, f"{folder}/{other}": evil(tmp_path / "marker")}))
    found = load(tmp_path, packed({**parts, f"{folder}/extra/notes.txt": b"hello"}))
    assert found.classifier.classes == 3


def _nodes(value: Any) -> Any:
    return value["graph_module"]["graph"]["nodes"]


def _deep(value: Any) -> None:
    inner: Any = {"as_none": True}
    for _ in range(8):
        inner = {"as_graph": {"name": "g", "graph": {"inputs": [], "nodes": [], "outputs": [inner]}}}
    _nodes(value)[0]["inputs"][0]["arg"] = inner


def _itself(value: Any) -> None:
    node = _nodes(value)[1]
    node["inputs"][0]["arg"] = {"as_tensor": {"name": node["outputs"][0]["as_tensor"]["name"]}}


def _filled(size: int) -> Callable[[Any], None]:
    def change(value: Any) -> None:
        _nodes(value)[0] |= {
            "target": "torch.ops.aten.zeros.default",
            "inputs": [{"name": "size", "arg": {"as_ints": [size, 1]}, "kind": 1}],
        }

    return change


CLAIMS: dict[str, tuple[Callable[[Any], None], str]] = {
    "terabytes": (_filled(1 << 40), "need gigabytes"),
    "more than memory has names for": (_filled(1 << 62), "does not take what it is given|need gigabytes"),
    "a value before it is there": (_itself, "before anything gives it"),
    "graphs in graphs": (_deep, "more than 4 deep"),
    "no signature": (lambda value: value["graph_module"].pop("signature"), "not as torch writes it"),
    "another schema": (lambda value: value["schema_version"].update(major=99), "of schema 99"),
    "a name given twice": (
        lambda value: _nodes(value)[1].update(outputs=_nodes(value)[0]["outputs"]),
        "two values of one name",
    ),
    "training": (
        lambda value: _nodes(value)[1].update(
            target="torch.ops.aten.dropout.default",
            inputs=[
                _nodes(value)[1]["inputs"][0] | {"name": "input"},
                {"name": "p", "arg": {"as_float": 0.5}, "kind": 1},
                {"name": "train", "arg": {"as_bool": True}, "kind": 1},
            ],
        ),
        "exported in training mode",
    ),
    "a number of many digits": (
        lambda value: _nodes(value)[0]["inputs"][3].update(arg={"as_ints": [10**30, 1]}),
        "a number that is none",
    ),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_false_claims_are_errors(name: str, tmp_path: Path) -> None:
    change, words = CLAIMS[name]
    with pytest.raises((Failed, Refused), match=words):
        load(tmp_path, changed(flat()[1], change))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sizes", [{"as_int": 1 << 39}]),
        ("sizes", [{"as_int": -1}]),
        ("strides", [{"as_int": 1 << 30}] * 4),
        ("storage_offset", {"as_int": 1 << 20}),
        ("dtype", 10),
        ("layout", 1),
    ],
)
def test_a_weight_lies_within_its_bytes(field: str, value: Any, tmp_path: Path) -> None:
    def change(listing: Any) -> None:
        listing["config"]["conv.weight"]["tensor_meta"][field] = value

    with pytest.raises(Failed, match=r"tensor conv\.weight"):
        load(tmp_path, changed(flat()[1], change, "weights_config"))


def test_random_changes_of_the_program_give_an_answer(tmp_path: Path) -> None:
    parts = members(flat()[1])
    name = next(name for name in parts if "/models/" in name)
    rng, outcomes = random.Random(0), {"read": 0, "error": 0}
    for _ in range(MUTANTS):
        value = json.loads(parts[name])
        for _ in range(rng.choice((1, 1, 2, 4))):
            _mutate(value["graph_module"], rng)
        try:
            load(tmp_path, packed({**parts, name: json.dumps(value).encode()}))
            outcomes["read"] += 1
        except (Failed, Refused, NotEvaluable):
            outcomes["error"] += 1
    assert min(outcomes.values()) > MUTANTS // 20, outcomes


def _mutate(value: Any, rng: random.Random) -> None:
    """Change one thing somewhere below."""
    while True:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        if not keys:
            return
        key = rng.choice(list(keys))
        if key in ("metadata", "module_call_graph"):
            continue
        inner = value[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.9:
            value = inner
            continue
        others: list[Any] = [-1, 0, 1, 3, 1 << 33, 0.5, True, None, "x", [], {}, "torch.ops.aten.mm.default"]
        value[key] = (
            inner + rng.choice((-1, 1, 7))
            if type(inner) is int and rng.random() < 0.5
            else (rng.choice(others))
        )
        return
