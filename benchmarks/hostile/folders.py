"""Folders as the hubs have them: with code, names that lead out, giant sizes, and shards that lie."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.hostile import valid
from benchmarks.hostile.case import BROKEN, READ, REFUSED, STOPPED, Case
from benchmarks.hostile.payload import CODE, EXPRESSION, SHELL, pickled

HUB, SHARDS = "hub folder", "shards"
EVIL = pickled()
MODULE = f"""{CODE}
from transformers import PretrainedConfig, PreTrainedModel
class C(PretrainedConfig):
    model_type = "evil"
class M(PreTrainedModel):
    config_class = C
""".encode()


def folder(config: Mapping[str, Any] | bytes | None = None, **more: Any) -> dict[str, bytes]:
    """The hub's folder with entries of its config changed; keyword arguments are files, None is no file."""
    files = dict(valid.hub())
    if isinstance(config, bytes):
        files["config.json"] = config
    elif config is not None:
        files["config.json"] = json.dumps({**json.loads(files["config.json"]), **config}).encode()
    files |= more
    return {name: data for name, data in files.items() if data is not None}


def cases() -> list[Case]:
    return [*_hub(), *_shards()]


def _hub() -> list[Case]:
    auto = {"AutoConfig": "evil.C", "AutoModelForImageClassification": "evil.M"}
    remote = {"AutoConfig": "somebody/evil--evil.C"}
    raw = valid.hub()["config.json"]
    old = {"model.safetensors": None}
    pixels = dict(valid.PIXELS)

    def seen(**changes: Any) -> dict[str, bytes]:
        return folder(None, **{"preprocessor_config.json": json.dumps({**pixels, **changes}).encode()})

    found: dict[str, tuple[dict[str, bytes], str]] = {
        "code beside it (auto_map)": (
            folder({"auto_map": auto, "model_type": "evil"}, **{"evil.py": MODULE}),
            REFUSED,
        ),
        "code beside it, of a known kind": (folder({"auto_map": auto}, **{"evil.py": MODULE}), REFUSED),
        "code of somebody else's": (folder({"auto_map": remote}), REFUSED),
        "code for its inputs": (seen(auto_map={"AutoImageProcessor": "evil.P"}), READ),
        "code that nothing names": (folder(**{"modeling_evil.py": MODULE}), READ),
        "a pipeline of its own": (
            folder({"custom_pipelines": {"image-classification": {"impl": "evil.P"}}}, **{"evil.py": MODULE}),
            STOPPED,
        ),
        "a kind that is no kind": (folder({"model_type": "os.system"}), STOPPED),
        "a kind that leads out": (folder({"model_type": "../../evil"}), STOPPED),
        "a kind that is a list": (folder({"model_type": ["vit"]}), STOPPED),
        "a class that is no class": (folder({"architectures": ["os.system"]}), STOPPED),
        "a class of a language model": (folder({"architectures": ["ViTModel"]}), STOPPED),
        "classes that are code": (folder({"architectures": [EXPRESSION]}), STOPPED),
        "no class": (folder({"architectures": []}), STOPPED),
        "kernels of somebody's": (folder({"_attn_implementation": "somebody/evil-kernel"}), STOPPED),
        "kernels by another name": (folder({"attn_implementation": "somebody/evil-kernel"}), STOPPED),
        "quantised by code": (
            folder({"quantization_config": {"quant_method": "evil", "modules_to_not_convert": []}}),
            REFUSED,
        ),
        "a name of another place": (folder({"_name_or_path": "/etc", "name_or_path": "../.."}), STOPPED),
        "an activation that is code": (folder({"hidden_act": EXPRESSION}), STOPPED),
        "a type that is code": (folder({"dtype": "os.system", "torch_dtype": "os.system"}), STOPPED),
        "layers without end": (folder({"num_hidden_layers": 1 << 24}), STOPPED),
        "a width of a billion": (folder({"hidden_size": 1 << 30}), STOPPED),
        "images of a billion": (folder({"image_size": 1 << 29}), STOPPED),
        "patches of nothing": (folder({"patch_size": 0}), STOPPED),
        "a number beyond numbers": (
            folder(raw.replace(b'"hidden_size": 16', b'"hidden_size": 1' + b"0" * 400)),
            BROKEN,
        ),
        "names of a million classes": (
            folder({"id2label": {str(n): "x" for n in range(1_000_000)}}),
            STOPPED,
        ),
        "class names that steer": (folder({"id2label": {"0": "\x1b[2J\u202e", "1": "b\n", "2": "c"}}), READ),
        "class names that are code": (
            folder({"id2label": {"0": {"a": 1}, "1": "b", "2": EXPRESSION}}),
            STOPPED,
        ),
        "an entry twice": (folder(raw[:-2] + b', "model_type": "evil"}'), BROKEN),
        "NaN": (folder(raw.replace(b'"hidden_size": 16', b'"hidden_size": NaN')), BROKEN),
        "brackets": (folder(b'{"model_type": "vit", "architectures": ' + b"[" * 100_000), BROKEN),
        "no JSON": (folder(b'{"model_type": "vit", "architectures": [' + EVIL), BROKEN),
        "a mean that is code": (seen(image_mean=[EXPRESSION] * 3), STOPPED),
        "a deviation of nothing": (seen(image_std=[0, 0, 0]), STOPPED),
        "a deviation that hides": (seen(image_std=[1e30] * 3), READ),
        "a size of a billion": (seen(size={"height": 1 << 29, "width": 1 << 29}), STOPPED),
        "a pickle for weights": (folder(None, **old, **{"pytorch_model.bin": EVIL}), STOPPED),
        "a pickle beside the weights": (folder(None, **{"pytorch_model.bin": EVIL}), READ),
        "a pickle named as the weights": (folder(None, **{"model.safetensors": EVIL}), STOPPED),
        "weights of another network": (
            folder(None, **{"model.safetensors": valid.tensor_file(None)}),
            STOPPED,
        ),
        "no weights": (folder(None, **old), STOPPED),
        "an adapter of somebody's": (
            {
                "adapter_config.json": b'{"base_model_name_or_path": "/etc"}',
                "adapter_model.safetensors": valid.tensor_file(None),
            },
            STOPPED,
        ),
        "timm's, with arguments": (
            {
                "config.json": json.dumps(
                    {
                        "architecture": "resnet10t",
                        "num_classes": 3,
                        "model_args": {"norm_layer": "os.system", "checkpoint_path": "/etc/passwd"},
                        "pretrained_cfg": {"file": "/etc/passwd", "custom_load": True},
                    }
                ).encode(),
                "model.safetensors": valid.tensor_file(None),
            },
            STOPPED,
        ),
        "timm's, of no network": (
            {
                "config.json": b'{"architecture": "os.system", "num_classes": 3, "pretrained_cfg": {}}',
                "model.safetensors": valid.tensor_file(None),
            },
            STOPPED,
        ),
        "SavedModel": (
            {"saved_model.pb": b"\x08\x01\x12\x04" + SHELL.encode(), "variables/variables.index": b"x"},
            REFUSED,
        ),
        "SavedModel beside weights": ({**folder(), "saved_model.pb": b"\x08\x01\x12"}, REFUSED),
        "MLflow's": ({"MLmodel": b"loader_module: mlflow.pyfunc.model", "python_model.pkl": EVIL}, REFUSED),
        "diffusers'": (
            {"model_index.json": b'{"_class_name": "Evil", "unet": ["evil", "M"]}', "unet/evil.py": MODULE},
            STOPPED,
        ),
        "CoreML's": (
            {"Data/com.apple.CoreML/model.mlmodel": b"\x08\x05\x12", "Manifest.json": b"{}"},
            STOPPED,
        ),
        "skops'": ({"schema.json": b'{"__module__": "os", "__class__": "system"}'}, STOPPED),
    }
    made = [Case(HUB, name, files, expected, "", "hub_load") for name, (files, expected) in found.items()]

    def linked(path: Path) -> None:
        path.mkdir()
        for name, data in valid.hub().items():
            (path / name).write_bytes(data)
        (path / "model.safetensors").unlink()
        (path / "model.safetensors").symlink_to("/etc/passwd")

    return [*made, Case(HUB, "weights by a link", linked, STOPPED, "", "hub_load")]


def _shards() -> list[Case]:
    files, name = valid.shards(), "model.safetensors.index.json"
    places = json.loads(files[name])["weight_map"]

    def index(**changes: Any) -> dict[str, bytes]:
        return {**files, name: json.dumps({"weight_map": {**places, **changes}}).encode()}

    first = next(iter(places))
    targets = {
        "absolute": "/etc/passwd",
        "above": "../../../etc/passwd",
        "below": "sub/a.safetensors",
        "of Windows": "C:\\x",
        "a URL": "https://evil.example/a.safetensors",
        "a device": "/dev/zero",
        "cut at NUL": "a.safetensors\0x",
        "empty": "",
        "the folder": "..",
        "itself": name,
        "no text": 7,
        "not there": "c.safetensors",
    }
    found: dict[str, tuple[dict[str, bytes], str]] = {
        f"a shard that is {what}": (index(**{first: target}), BROKEN) for what, target in targets.items()
    }
    found |= {
        "a shard that is a pickle": ({**index(**{first: "evil.bin"}), "evil.bin": EVIL}, STOPPED),
        "an index that is a list": ({**files, name: b'{"weight_map": ["a.safetensors"]}'}, BROKEN),
        "an index of nothing": ({**files, name: b'{"weight_map": {}}'}, BROKEN),
        "an index of sixty thousand": (
            {
                **files,
                name: json.dumps(
                    {"weight_map": {str(n): f"{n}.safetensors" for n in range(60_000)}}
                ).encode(),
            },
            BROKEN,
        ),
        "tensors that are elsewhere": (index(**{first: "b.safetensors"}), BROKEN),
        "an index and a pickle": ({name: files[name] + EVIL}, BROKEN),
    }
    return [Case(SHARDS, what, held, expected, "", "", name) for what, (held, expected) in found.items()]
