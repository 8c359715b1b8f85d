"""Keras models with code in them, by every door that Keras has had, and descriptions that lie."""

from __future__ import annotations

import base64
import json
import zipfile
from typing import Any

from benchmarks.hostile import payload, valid
from benchmarks.hostile.case import BROKEN, READ, REFUSED, STOPPED, Case, Content, later
from benchmarks.hostile.payload import CODE, EXPRESSION, SHELL

FAMILY = "Keras"


def layer(kind: str, module: str = "keras.layers", registered: Any = None, **settings: Any) -> dict[str, Any]:
    return {
        "class_name": kind,
        "module": module,
        "registered_name": registered,
        "config": {"name": "odd", **settings},
    }


def thing(module: str, kind: str, config: Any = None, registered: Any = None) -> dict[str, Any]:
    """An object as Keras 3 writes one inside of another."""
    return {
        "module": module,
        "class_name": kind,
        "config": {} if config is None else config,
        "registered_name": registered,
    }


def with_layer(more: Any, at: int = 1) -> dict[str, Any]:
    described = valid.described()
    described["config"]["layers"].insert(at, more)
    return described


def setting(**changes: Any) -> dict[str, Any]:
    """The model with settings of its first Dense layer changed."""
    described = valid.described()
    described["config"]["layers"][1]["config"].update(changes)
    return described


def top(**changes: Any) -> dict[str, Any]:
    return {**valid.described(), **changes}


def entry(**changes: Any) -> dict[str, Any]:
    """The model with entries beside the settings of its first Dense layer."""
    described = valid.described()
    described["config"]["layers"][1].update(changes)
    return described


def function(name: str, module: str = "builtins") -> dict[str, Any]:
    return thing(module, "function", name, name)


def cases() -> list[Case]:
    found: list[Case] = []
    for name, (described, expected) in _described().items():
        found.append(
            Case(FAMILY, f"{name}, .keras", valid.keras_archive(described), expected, ".keras", "keras_load")
        )
    for name in (
        "a Lambda",
        "a Lambda of Keras 2",
        "a registered class",
        "a class of os",
        "an activation that is eval",
        "TorchModuleWrapper",
        "a StringLookup with a file",
        "a million units",
        "a training setting that calls",
    ):
        described, expected = _described()[name]
        found.append(Case(FAMILY, f"{name}, .h5", valid.keras_hdf5(described), expected, ".h5", "keras_load"))
    return found + _archives()


def _described() -> dict[str, tuple[Any, str]]:
    code = payload.marshalled()
    lambda_3 = {"class_name": "__lambda__", "config": {"code": code, "defaults": None, "closure": None}}
    torch_module = thing(
        "keras.layers",
        "TorchModuleWrapper",
        {"name": "odd", "module": base64.b64encode(_module()).decode(), "output_shape": None},
    )
    found: dict[str, tuple[Any, str]] = {
        "a Lambda": (with_layer(layer("Lambda", function=lambda_3)), REFUSED),
        "a Lambda of Keras 2": (
            with_layer(
                layer("Lambda", function=[code, None, None], function_type="lambda", module="__main__")
            ),
            REFUSED,
        ),
        "a Lambda by name": (with_layer(layer("Lambda", function=function("system", "os"))), REFUSED),
        "a Lambda in a wrapper": (
            with_layer(layer("TimeDistributed", layer=layer("Lambda", function=lambda_3))),
            REFUSED,
        ),
        "a Lambda in a model in a model": (
            with_layer({**top(config={"name": "inner", "layers": [layer("Lambda", function=lambda_3)]})}),
            REFUSED,
        ),
        "a Lambda as an activation": (setting(activation=lambda_3), REFUSED),
        "a Lambda as an initialiser": (setting(kernel_initializer=lambda_3), READ),
        "a registered class": (with_layer(layer("Mine", "evil", "pack>Mine")), REFUSED),
        "a registered function": (
            setting(activation=thing("builtins", "function", "evil", "pack>evil")),
            REFUSED,
        ),
        "a class of os": (with_layer(thing("os", "system", {"command": SHELL})), REFUSED),
        "a class of builtins": (with_layer(thing("builtins", "exec", {"source": CODE})), REFUSED),
        "a class of subprocess": (
            with_layer(thing("subprocess", "Popen", {"args": SHELL, "shell": True})),
            REFUSED,
        ),
        "a class of a user's module": (with_layer(layer("Dense", "payload_of_a_file", units=5)), STOPPED),
        "the switch for unsafe things": (
            with_layer(thing("keras.config", "enable_unsafe_deserialization")),
            REFUSED,
        ),
        "get_file of Keras": (
            with_layer(thing("keras.utils", "get_file", {"fname": "x", "origin": "file:///etc/passwd"})),
            REFUSED,
        ),
        "run_command of Keras' own": (
            with_layer(thing("keras.src.utils.python_utils", "func_load", {"code": code})),
            REFUSED,
        ),
        "a deserialiser of Keras'": (
            with_layer(thing("keras.saving", "load_model", {"filepath": "/tmp/x.h5", "safe_mode": False})),
            REFUSED,
        ),
        "numpy's loader": (
            with_layer(thing("numpy", "load", {"file": "/tmp/x.npy", "allow_pickle": True})),
            REFUSED,
        ),
        "pickle's": (with_layer(thing("pickle", "loads", {"data": EXPRESSION})), REFUSED),
        "an activation that is eval": (setting(activation=function("eval")), REFUSED),
        "an activation that is code": (setting(activation=EXPRESSION), STOPPED),
        "an activation that is a class": (
            setting(activation=thing("os", "system", {"command": SHELL})),
            REFUSED,
        ),
        "TorchModuleWrapper": (with_layer(torch_module), REFUSED),
        "TFSMLayer": (with_layer(layer("TFSMLayer", filepath="/tmp/evil", call_endpoint="serve")), REFUSED),
        "JaxLayer": (with_layer(layer("JaxLayer", call_fn=lambda_3)), REFUSED),
        "FlaxLayer": (with_layer(layer("FlaxLayer", module=thing("os", "system"))), REFUSED),
        "a StringLookup with a file": (with_layer(layer("StringLookup", vocabulary="/etc/passwd")), REFUSED),
        "an IntegerLookup with a file": (
            with_layer(layer("IntegerLookup", vocabulary="../../secret")),
            REFUSED,
        ),
        "a TextVectorization with a file": (
            with_layer(layer("TextVectorization", vocabulary="/etc/passwd", standardize=lambda_3)),
            REFUSED,
        ),
        "an Embedding whose weights are a file": (setting(weights="/etc/passwd"), READ),
        "a build that calls": (entry(build_config=thing("os", "system", {"command": SHELL})), REFUSED),
        "a training setting that calls": (top(compile_config={"optimizer": "adam", "loss": lambda_3}), READ),
        "a loss of a user's": (top(compile_config=thing("payload_of_a_file", "run")), READ),
        "a type of numbers that is a class": (
            setting(dtype=thing("os", "system", {"command": SHELL})),
            STOPPED,
        ),
        "a regulariser that calls": (
            setting(kernel_regularizer=thing("os", "system", {"command": SHELL})),
            READ,
        ),
        "a constraint that calls": (setting(kernel_constraint=lambda_3), READ),
        "a model that is no model": (top(class_name="system", module="os"), STOPPED),
        "a model of a user's": (
            top(class_name="Evil", module="payload_of_a_file", registered_name="p>Evil"),
            STOPPED,
        ),
        "a million units": (setting(units=1 << 40), STOPPED),
        "units below nothing": (setting(units=-5), STOPPED),
        "inputs of gigabytes": (_inputs([None, 1 << 20, 1 << 20]), STOPPED),
        "thirty models in models": (_nested(30), STOPPED),
        "a hundred thousand layers": (
            top(config={"name": "net", "layers": [layer("ReLU")] * 100_000}),
            STOPPED,
        ),
        "a name that leads out": (setting(name="../../../etc/passwd"), READ),
        "a name that steers": (setting(name="\x1b[2J\u202e\n"), READ),
        "two layers of one name": (setting(name="dense_1"), STOPPED),
        "a padding of a billion": (with_layer(layer("ZeroPadding1D", padding=1 << 30)), STOPPED),
        "a RepeatVector of a billion": (with_layer(layer("RepeatVector", n=1 << 30)), STOPPED),
        "UpSampling without end": (with_layer(layer("UpSampling2D", size=[1 << 20, 1 << 20])), STOPPED),
    }
    return found


def _module() -> bytes:
    """A checkpoint of what a TorchModuleWrapper would load whole."""
    return valid.checkpoint(payload.system())


def _inputs(shape: list[int | None]) -> dict[str, Any]:
    described = valid.described()
    described["config"]["layers"][0]["config"]["batch_shape"] = shape
    return described


def _nested(depth: int) -> dict[str, Any]:
    found = valid.described()
    for number in range(depth):
        found = {**found, "config": {"name": f"n{number}", "layers": [found]}}
    return found


def _archives() -> list[Case]:
    text = json.dumps(valid.described()).encode()
    evil, arrays = payload.pickled(), valid.arrays()
    parts = {"metadata.json": b'{"keras_version": "3.15.1"}', "config.json": text, "model.weights.h5": arrays}
    whole = valid.keras_archive()
    found: dict[str, tuple[Content, str]] = {
        "a member that leads out": (valid.packed({**parts, "assets/../../outside": evil}), REFUSED),
        "a member at the root": (valid.packed({**parts, "/tmp/outside": evil}), REFUSED),
        "an asset that is a pickle": (valid.packed({**parts, "assets/layer/vocabulary.txt": evil}), READ),
        "code beside it": (valid.packed({**parts, "evil.py": CODE.encode()}), REFUSED),
        "weights as npz": (
            valid.packed({"metadata.json": b"{}", "config.json": text, "model.weights.npz": evil}),
            REFUSED,
        ),
        "weights in shards": (
            valid.packed({**parts, "model.weights.json": b'{"weight_map": {"a": "/etc/passwd"}}'}),
            REFUSED,
        ),
        "weights that are a pickle": (valid.packed({**parts, "model.weights.h5": evil}), BROKEN),
        "a description that is a pickle": (valid.packed({**parts, "config.json": evil}), BROKEN),
        "a description of brackets": (valid.packed({**parts, "config.json": b"[" * 1_000_000}), BROKEN),
        "a description with a name twice": (
            valid.packed({**parts, "config.json": text[:-1] + b', "class_name": "Lambda"}'}),
            BROKEN,
        ),
        "a description that unpacks to a gigabyte": (
            later(
                lambda: valid.packed({**parts, "config.json": b" " * (1 << 28) + text}, zipfile.ZIP_DEFLATED)
            ),
            BROKEN,
        ),
        "weights that unpack to a gigabyte": (
            later(
                lambda: valid.packed(
                    {**parts, "model.weights.h5": arrays + bytes(1 << 28)}, zipfile.ZIP_DEFLATED
                )
            ),
            BROKEN,
        ),
        "packed by lzma": (valid.packed(parts, zipfile.ZIP_LZMA), REFUSED),
        "two descriptions": (whole.replace(b"metadata.json", b"config.json\0\0"), STOPPED),
        "cut short": (whole[:-100], BROKEN),
        "numbers that are NaN": (valid.keras_archive(text.replace(b'"units": 5', b'"units": NaN')), BROKEN),
        "a number of 5,000 digits": (
            valid.keras_archive(text.replace(b'"units": 5', b'"units": ' + b"9" * 5000)),
            BROKEN,
        ),
    }
    return [
        Case(FAMILY, name, data, expected, ".keras", "keras_load") for name, (data, expected) in found.items()
    ]
