"""Files of Keras from strangers: nothing in them runs, nothing outside them is read, nothing is too large."""

from __future__ import annotations

import io
import json
import marshal
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import mmbd
from helpers.keras_models import archive, built, changed, dense, dense_weights, hdf5, layer
from mmbd.base.errors import Failed, Refused

WEIGHTS = dense_weights()


def marshalled(marker: Path) -> str:
    """Code as Keras keeps a Lambda's, which would leave a file."""
    code = compile(f"open({str(marker)!r}, 'w').close()", "x", "exec")
    return marshal.dumps(code).hex()


def lambda_layer(payload: str) -> dict[str, Any]:
    function = {"class_name": "__lambda__", "config": {"code": payload, "defaults": None, "closure": None}}
    settings = {"name": "divide", "function": function}
    return {"class_name": "Lambda", "module": "keras.layers", "config": settings, "registered_name": None}


def test_layers_that_hold_code_are_refused_all_at_once_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    described = dense()
    layers = described["config"]["layers"]
    layers.append(lambda_layer(marshalled(marker)))
    layers.append({"class_name": "TFSMLayer", "config": {"name": "saved", "filepath": str(tmp_path)}})
    own = {"class_name": "Mine", "module": "evil.layers", "registered_name": "pack>Mine"}
    layers.append({**own, "config": {"name": "own"}})
    layers.append({"class_name": "Hologram", "module": "keras.layers", "config": {"name": "new"}})
    inner = {"class_name": "Lambda", "config": {"name": "hidden"}}
    layers.append({"class_name": "TimeDistributed", "config": {"name": "steps", "layer": inner}})
    (tmp_path / "m.keras").write_bytes(archive(described, WEIGHTS))
    with pytest.raises(Refused) as raised:
        mmbd.load(tmp_path / "m.keras")
    told = str(raised.value)
    for name in ("Lambda (divide)", "TFSMLayer (saved)", "pack>Mine (own)", "Hologram (new)", "ONNX"):
        assert name in told
    assert not marker.exists()

    def older(file: h5py.File) -> None:
        file.attrs["model_config"] = json.dumps(described)
        file.create_group("model_weights").attrs["layer_names"] = np.array([b"dense"])

    (tmp_path / "m.h5").write_bytes(hdf5(older))
    with pytest.raises(Refused, match=r"Lambda \(divide\)"):
        mmbd.load(tmp_path / "m.h5")
    assert not marker.exists()


def test_functions_of_others_are_refused_where_they_stand_for_an_activation() -> None:
    function = {
        "module": "builtins",
        "class_name": "function",
        "config": "evil",
        "registered_name": "function",
    }
    with pytest.raises(Refused, match=r"the function evil \(dense\)"):
        built(archive(dense(activation=function), WEIGHTS))


DESCRIPTIONS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "gigantic": (lambda each: layer(each, "Conv2D")["config"].update(filters=1 << 40), "filters"),
    "larger than its weights": (
        lambda each: layer(each, "Conv2D")["config"].update(filters=1 << 20),
        "shape",
    ),
    "no number": (lambda each: layer(each, "Conv2D")["config"].update(filters="8"), "filters"),
    "steps of none": (lambda each: layer(each, "Conv2D")["config"].update(strides=0), "strides"),
    "wide apart": (
        lambda each: layer(each, "Conv2D")["config"].update(dilation_rate=1 << 20, padding="same"),
        "inputs|numbers",
    ),
    "names twice": (lambda each: each["config"]["layers"].append(layer(each, "Conv2D")), "two layers"),
    "no name": (
        lambda each: [layer(each, "ReLU").pop("name"), layer(each, "ReLU")["config"].clear()],
        "name",
    ),
    "a circle": (lambda each: _rewire(each, "ReLU", "add"), "circle"),
    "nowhere": (lambda each: _rewire(each, "Add", "elsewhere"), "elsewhere"),
    "a call that is not": (lambda each: _rewire(each, "Add", "conv2d", 7), "there is not"),
    "an output that is not": (lambda each: _rewire(each, "Add", "re_lu", 0, 3), "no output 3"),
    "odd connections": (lambda each: layer(each, "Add").update(inbound_nodes=[[7]]), "connected"),
    "no outputs": (lambda each: each["config"].update(output_layers=[]), "starts and ends"),
    "no layers": (lambda each: each["config"].update(layers=[]), "layers"),
    "a limit below zero": (lambda each: layer(each, "ReLU")["config"].update(max_value=-1.0), "max_value"),
    "an axis that is not": (lambda each: layer(each, "Concatenate")["config"].update(axis=7), "axis 7"),
    "an odd axis": (lambda each: layer(each, "BatchNormalization")["config"].update(axis="x"), "axis"),
}


def _rewire(described: dict[str, Any], kind: str, name: str, call: int = 0, index: int = 0) -> None:
    text = json.dumps(layer(described, kind)["inbound_nodes"])
    nodes = json.loads(text)

    def walk(value: Any) -> None:
        if isinstance(value, dict) and "keras_history" in value:
            value["keras_history"] = [name, call, index]
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(each)

    walk(nodes)
    layer(described, kind)["inbound_nodes"] = nodes


@pytest.mark.parametrize("what", DESCRIPTIONS)
def test_descriptions_that_do_not_add_up(what: str) -> None:
    change, told = DESCRIPTIONS[what]
    with pytest.raises(Failed, match=told):
        built(changed("residual", change))


TEXTS = {
    "no JSON": "{",
    "no object": "[1]",
    "deep": "[" * 100_000,
    "a key twice": '{"class_name": "Sequential", "class_name": "Model"}',
    "no number": '{"class_name": "Sequential", "config": NaN}',
    "no model": '{"class_name": "Dense", "config": {}}',
}


@pytest.mark.parametrize("what", TEXTS)
def test_texts_that_are_no_description(what: str) -> None:
    with pytest.raises(Failed):
        built(archive(TEXTS[what], WEIGHTS))


def test_models_in_models_without_an_end() -> None:
    described = dense()
    for number in range(40):
        inner = {**described, "name": f"m{number}"}
        described = {"class_name": "Sequential", "config": {"name": f"n{number}", "layers": [inner]}}
    with pytest.raises(Failed, match="models in models"):
        built(archive(described, WEIGHTS))


@pytest.mark.parametrize(
    "entry",
    [
        {"class_name": "UpSampling1D", "config": {"name": "x", "size": 1 << 24}},
        {"class_name": "RepeatVector", "config": {"name": "x", "n": 1 << 24}},
        {"class_name": "ZeroPadding1D", "config": {"name": "x", "padding": [0, 1 << 24]}},
        {"class_name": "Reshape", "config": {"name": "x", "target_shape": [1 << 20, 1 << 20]}},
        {"class_name": "MaxPooling1D", "config": {"name": "x", "pool_size": 1 << 24}},
    ],
    ids=lambda entry: entry["class_name"],
)
def test_layers_that_make_too_much_of_a_small_input(entry: dict[str, Any]) -> None:
    """Five of them are more than memory; each is stopped before it begins."""
    described = dense()
    start, last = described["config"]["layers"]
    start["config"]["batch_shape"] = [None, 4] if entry["class_name"] == "RepeatVector" else [None, 40, 4]
    more = [{**entry, "config": {**entry["config"], "name": f"x{number}"}} for number in range(5)]
    described["config"]["layers"] = [start, *more, last]
    with pytest.raises(Failed, match=r"not loaded|windows|does not take inputs"):
        built(archive(described, WEIGHTS))


def test_a_bomb_of_zeros_is_not_unpacked() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("metadata.json", "{}")
        zipped.writestr("config.json", json.dumps(dense()))
        zipped.writestr("model.weights.h5", bytes(64 << 20))
    with pytest.raises(Failed, match="would have 67,108,864 bytes"):
        built(stream.getvalue())


def test_a_member_with_a_false_size_is_broken() -> None:
    data = archive(dense(), WEIGHTS)
    size = struct.pack("<L", len(WEIGHTS))
    assert data.count(size) == 2
    for false in (1, len(WEIGHTS) + 1):
        with pytest.raises(Failed):
            built(data.replace(size, struct.pack("<L", false)))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("../evil", "a member named"),
        ("assets/../../evil", "leads out"),
        ("CONFIG.json", "two members of one name"),
        ("model.weights.npz", "model.weights.npz"),
        ("code.py", "code.py"),
    ],
)
def test_members_that_keras_does_not_write(name: str, told: str) -> None:
    with pytest.raises(Refused, match=told):
        built(archive(dense(), WEIGHTS, {name: b"x"}))


def _dense_file(change: Callable[[h5py.Group], object]) -> bytes:
    def write(file: h5py.File) -> None:
        group = file.create_group("layers/dense/vars")
        group["1"] = np.ones(3, dtype="float32")
        change(group)

    return archive(dense(), hdf5(write))


def test_numbers_kept_elsewhere_are_refused(tmp_path: Path) -> None:
    """They would show any file of whoever reads this one, or be read as zeros."""
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(48)))
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = np.ones((4, 3), dtype="float32")
    virtual = h5py.VirtualLayout(shape=(4, 3), dtype="float32")
    virtual[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", shape=(4, 3))
    kinds: dict[str, Callable[[h5py.Group], object]] = {
        "external": lambda group: group.create_dataset(
            "0", (4, 3), "float32", external=[(str(secret), 0, 48)]
        ),
        "virtual": lambda group: group.create_virtual_dataset("0", virtual),
        "soft": lambda group: group.__setitem__("0", h5py.SoftLink("/layers/dense/vars/1")),
        "outside": lambda group: group.__setitem__("0", h5py.ExternalLink("other.h5", "x")),
        "packed": lambda group: group.create_dataset(
            "0", data=np.ones((4, 3), dtype="float32"), compression="gzip"
        ),
    }
    for what, make in kinds.items():
        with pytest.raises((Refused, Failed)) as raised:
            built(_dense_file(make))
        assert isinstance(raised.value, Refused) or what in ("outside", "virtual"), what


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda group: None, "no kernel"),
        (lambda group: group.create_dataset("0", (4, 3), "float32"), "not in the HDF5 file"),
        (lambda group: group.create_dataset("0", (1 << 20, 1 << 20), "float32", chunks=(1, 3)), "claims"),
        (lambda group: group.create_dataset("0", (4, 3), "float32", chunks=(2, 3)), "chunks"),
        (lambda group: group.create_dataset("0", data=np.ones((3, 4), "float32")), "shape"),
        (lambda group: group.create_dataset("0", data=np.full((4, 3), np.nan)), "NaN"),
        (lambda group: group.create_dataset("0", data=[b"text"] * 3), "no array of numbers"),
        (lambda group: group.create_group("0/0/0"), "no kernel"),
        (lambda group: group.create_dataset("2", data=np.ones(3)), "no kernel|no use"),
    ],
)
def test_arrays_that_are_not_there(make: Callable[[h5py.Group], object], told: str) -> None:
    with pytest.raises(Failed, match=told):
        built(_dense_file(make))


def test_chunked_arrays_are_read_like_others() -> None:
    values = np.arange(12, dtype=">f8").reshape(4, 3)
    graph = built(_dense_file(lambda group: group.create_dataset("0", data=values, chunks=(3, 2))))
    (layer,) = (module for module in graph.module.modules() if hasattr(module, "kernel"))
    assert np.array_equal(layer.kernel.detach().numpy(), values.T)


def test_an_hdf5_file_without_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clouds.h5").write_bytes(hdf5(lambda file: file.create_dataset("data", data=np.ones(3))))
    with pytest.raises(Refused, match="HDF5 file without a Keras model"):
        mmbd.load(tmp_path / "clouds.h5")


def test_a_group_that_holds_itself_comes_to_an_end() -> None:
    def write(file: h5py.File) -> None:
        group = file.create_group("layers")
        group["again"] = group

    with pytest.raises(Failed, match="two places"):
        built(archive(dense(), hdf5(write)))


def test_what_the_reader_of_hdf5_does_not_expect_is_said_in_words() -> None:
    def write(file: h5py.File) -> None:
        file["model_weights/dense/kernel:0"] = h5py.ExternalLink("other.h5", "/secret")
        file.attrs["model_config"] = json.dumps(dense())
        file["model_weights"].attrs["layer_names"] = np.array([b"dense"])

    with pytest.raises((Failed, Refused), match=r"link to (another file|elsewhere)"):
        built(hdf5(write))
