"""Archives of torch.export (.pt2) with code planted by all the ways in which torch's loader runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from benchmarks.hostile import valid
from benchmarks.hostile.case import BROKEN, READ, REFUSED, STOPPED, Case
from benchmarks.hostile.payload import EXPRESSION, pickled

FAMILY = "torch.export"
EVIL = pickled()


def changed(change: Callable[[Any], object], member: str = "/models/") -> dict[str, bytes]:
    """The members, with the JSON whose name has `member` in it changed in place."""
    parts = valid.members(valid.exported())
    name = next(name for name in parts if member in name and name.endswith(".json"))
    value = json.loads(parts[name])
    change(value)
    return {**parts, name: json.dumps(value).encode()}


def cases() -> list[Case]:
    parts = valid.members(valid.exported())
    folder = next(iter(parts)).partition("/")[0]
    program = next(parts[name] for name in parts if "/models/" in name)
    weight = next(name for name in parts if "/weights/weight" in name)

    def pickled_weight(value: Any) -> None:
        next(iter(value["config"].values()))["use_pickle"] = True

    constants = {
        "config": {"c": {"path_name": "evil", "is_param": False, "use_pickle": True, "tensor_meta": None}}
    }
    sample = f"{folder}/data/sample_inputs/model.pt"
    held = f"{folder}/data/constants"
    found: dict[str, tuple[dict[str, bytes], str]] = {
        "a pickled weight": ({**changed(pickled_weight, "weights_config"), weight: EVIL}, REFUSED),
        "a pickle as a weight's bytes": ({**parts, weight: EVIL}, BROKEN),
        "sample inputs": ({**parts, sample: EVIL}, READ),
        "sample inputs in a checkpoint": (
            {**parts, sample: valid.packed({"a/data.pkl": EVIL, "a/version": b"3"})},
            READ,
        ),
        "a pickled constant": (
            {
                **parts,
                f"{held}/model_constants_config.json": json.dumps(constants).encode(),
                f"{held}/evil": EVIL,
            },
            STOPPED,
        ),
        "weights of 2.8": (
            {**_without(parts, "/weights/"), f"{folder}/data/weights/model.pt": EVIL},
            STOPPED,
        ),
        "constants of 2.8": ({**_without(parts, "/constants/"), f"{held}/model.pt": EVIL}, STOPPED),
        "guards": (changed(lambda value: value.update(guards_code=[EXPRESSION])), READ),
        "guards with a mark": (
            changed(lambda value: value.update(guards_code=[f"True or {EXPRESSION}"])),
            READ,
        ),
        "expressions of sizes": (changed(_expression), READ),
        "expressions of ranges": (
            changed(lambda value: value.update(range_constraints={EXPRESSION: {"min_val": 0, "max_val": 9}})),
            READ,
        ),
        "an opaque object": (changed(_opaque), REFUSED),
        "an object of torchbind": ({**changed(_opaque), f"{held}/custom_obj_0": EVIL}, REFUSED),
        "a target of os": (changed(_target("torch.os.system")), REFUSED),
        "a target of builtins": (changed(_target("builtins.eval")), REFUSED),
        "a target of torch": (changed(_target("torch.ops.aten.from_file.default")), REFUSED),
        "a target that loads a library": (changed(_target("torch.ops.load_library")), REFUSED),
        "a target that prints": (changed(_target("torch.ops.aten._print.default")), REFUSED),
        "a target of a user's": (changed(_target("torch.ops.evil.run.default")), REFUSED),
        "a stack trace with code": (
            changed(lambda value: _node(value)["metadata"].update(stack_trace=EXPRESSION)),
            READ,
        ),
        "a library beside it": (
            {**parts, f"{folder}/data/aotinductor/model/x.so": b"\x7fELF" + bytes(64)},
            REFUSED,
        ),
        "a custom pickle beside it": ({**parts, f"{folder}/extra/evil.pkl": EVIL}, READ),
        "a checkpoint beside it": ({**parts, f"{folder}/data.pkl": EVIL}, REFUSED),
        "no program": ({f"{folder}/archive_format": b"pt2", f"{folder}/w.pkl": EVIL}, REFUSED),
        "two programs": ({**parts, f"{folder}/models/other.json": program}, BROKEN),
        "the first layout": (
            {
                "serialized_exported_program.json": program,
                "serialized_state_dict.pt": EVIL,
                "version": b"8.1",
            },
            STOPPED,
        ),
        "the first layout's constants": (
            {
                "serialized_exported_program.json": program,
                "serialized_state_dict.pt": valid.checkpoint(valid.state()),
                "serialized_constants.pt": valid.packed({"a/data.pkl": EVIL}),
            },
            STOPPED,
        ),
        "a program that is no JSON": ({**parts, f"{folder}/models/model.json": EVIL}, BROKEN),
        "a program of brackets": ({**parts, f"{folder}/models/model.json": b"[" * 1_000_000}, BROKEN),
        "a name that leads out": (changed(_path, "weights_config"), BROKEN),
        "a weight of terabytes": (changed(_size, "weights_config"), BROKEN),
        "tensors of terabytes": (changed(_filled), STOPPED),
        "another schema": (changed(lambda value: value["schema_version"].update(major=99)), STOPPED),
    }
    cases_ = [
        Case(FAMILY, name, valid.packed(content), expected, ".pt2", "export_load")
        for name, (content, expected) in found.items()
    ]
    odd = valid.packed({**parts, sample: EVIL}, 8)
    cases_.append(Case(FAMILY, "sample inputs, deflated", odd, STOPPED, ".pt2", "export_load"))
    return cases_


def _without(parts: dict[str, bytes], place: str) -> dict[str, bytes]:
    return {name: data for name, data in parts.items() if place not in name}


def _node(value: Any) -> Any:
    return value["graph_module"]["graph"]["nodes"][0]


def _expression(value: Any) -> None:
    graph = value["graph_module"]["graph"]
    next(iter(graph["tensor_values"].values()))["sizes"][0] = {
        "as_expr": {"expr_str": EXPRESSION, "hint": None}
    }


def _opaque(value: Any) -> None:
    value["graph_module"]["signature"]["input_specs"][0] = {
        "custom_obj": {"arg": {"name": "x", "class_fqn": "os.system"}, "custom_obj_name": "custom_obj_0"}
    }


def _target(name: str) -> Callable[[Any], None]:
    return lambda value: _node(value).update(target=name)


def _path(value: Any) -> None:
    next(iter(value["config"].values()))["path_name"] = "../../../../../etc/passwd"


def _size(value: Any) -> None:
    next(iter(value["config"].values()))["tensor_meta"]["sizes"] = [{"as_int": 1 << 40}, {"as_int": 1 << 20}]


def _filled(value: Any) -> None:
    _node(value).update(
        target="torch.ops.aten.zeros.default",
        inputs=[{"name": "size", "arg": {"as_ints": [1 << 40, 1]}, "kind": 1}],
    )
