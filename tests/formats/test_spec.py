"""What a file of `mmbd` says about itself: round trips, and metadata that must be refused."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from mmbd.formats.spec import METADATA_KEY, Spec, save

finite = st.floats(-1e6, 1e6, allow_nan=False)
positive = st.floats(0.0078125, 1e6)
specs = st.builds(
    lambda arch, shape, classes, arguments, low, width, mean, std, names: Spec(
        arch=arch,
        input_shape=shape,
        classes=classes,
        arguments=arguments,
        bounds=(low, low + width),
        mean=mean,
        std=std,
        class_names=tuple(f"{name}{i}" for i, name in enumerate([names] * classes)),
    ),
    st.text(max_size=10),
    st.lists(st.integers(1, 300), min_size=1, max_size=3).map(tuple),
    st.integers(2, 30),
    st.dictionaries(
        st.sampled_from(["width", "hidden", "pool", "dropout"]),
        st.one_of(
            st.integers(-5, 5000),
            finite,
            st.text(max_size=5),
            st.booleans(),
            st.lists(st.integers(0, 500), max_size=4).map(tuple),
        ),
    ),
    finite,
    positive,
    st.none() | st.lists(finite, min_size=1, max_size=3).map(tuple),
    st.none() | st.lists(positive, min_size=1, max_size=3).map(tuple),
    st.text(max_size=5),
)


@given(spec=specs)
def test_round_trip(spec):
    assert Spec.from_json(spec.to_json()) == spec


def valid(**changes) -> str:
    raw = json.loads(Spec("mlp", (3, 8, 8), 10, {"hidden": (16,)}).to_json())
    return json.dumps({key: value for key, value in (raw | changes).items() if value != "absent"})


def test_the_largest_that_is_read():
    arguments = {"hidden": (1 << 30,) * 64, **{f"a{i}": "x" * 200 for i in range(63)}}
    spec = Spec("mlp", (1,) * 16, 50_000, arguments)
    assert Spec.from_json(spec.to_json()) == spec


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "not a JSON object"),
        ("null", "not a JSON object"),
        (valid(version=2), "version 2; this release reads 1"),
        (valid(version="absent"), "version None"),
        (valid(surprise=1), "unknown field 'surprise'"),
        (valid(arch=None), "arch must be a string"),
        (valid(arguments=[1]), "arguments an object"),
        (valid(arguments={"classes": 3}), "argument 'classes'"),
        (valid(arguments={"hidden": nested(400)}), "argument 'hidden'"),
        (valid(arguments={"hidden": {"a": 1}}), "argument 'hidden'"),
        (valid(arguments={"hidden": float("nan")}), "argument 'hidden'"),
        (valid(arguments={"hidden": None}), "argument 'hidden'"),
        (valid(arguments={"hidden": [8] * 65}), "'hidden' is a list of 65 values, .* most 64"),
        (valid(arguments={"hidden": [(1 << 30) + 1]}), "'hidden' has a whole number beyond"),
        (valid(arguments={"depth": -(1 << 30) - 1}), "'depth' has a whole number beyond"),
        (valid(arguments={"nonlinearity": "x" * 201}), "'nonlinearity' has a text of more than"),
        (valid(arguments={f"a{i}": 1 for i in range(65)}), "65 arguments, expected at most 64"),
        (valid(arguments={"k" * 1000: [[]]}), "argument 'kkk.{70,80}\\.\\.\\. must be a number"),
        (valid(input_shape=[1] * 17), "is no shape"),
        (valid(classes=50_001), "2 to 50,000, got 50001$"),
        (valid(classes=1), "2 to 50,000"),
        (valid(classes=True), "2 to 50,000"),
        (valid(classes=10**9), "2 to 50,000"),
        (valid(classes="10"), "2 to 50,000"),
        (valid(input_shape=[]), "is no shape"),
        (valid(input_shape=[3, 0, 8]), "is no shape"),
        (valid(input_shape=[3, -8, -8]), "is no shape"),
        (valid(input_shape=[10**5, 10**5]), "is no shape"),
        (valid(input_shape=[10**400]), "finite numbers"),
        (valid(input_shape=[3.5]), "finite numbers"),
        (valid(input_shape="absent"), "is no shape"),
        (valid(bounds=[1, 0]), "not low < high"),
        (valid(bounds=[0]), "not low < high"),
        (valid(bounds=[0, float("inf")]), "finite numbers"),
        (valid(mean=[10**400]), "finite numbers"),
        (valid(mean=0.5), "mean must be a list"),
        (valid(std=["0.5"]), "std must be a list"),
        (valid(std=[True]), "std must be a list"),
        (valid(class_names="cat"), "list of strings"),
        (valid(class_names=["cat", 3]), "list of strings"),
    ],
)
def test_wrong_metadata_is_a_value_error(text, message):
    with pytest.raises(ValueError, match=message):
        Spec.from_json(text)


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
)


@given(
    changes=st.dictionaries(st.sampled_from([*Spec.__dataclass_fields__, "version"]), anything, max_size=2)
)
def test_no_metadata_raises_anything_but_a_value_error(changes):
    try:
        spec = Spec.from_json(valid(**changes))
    except ValueError:
        return
    assert Spec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    "arguments", [{"hidden": "wide"}, {"hidden": (1.5,)}, {"hidden": (-3,)}, {"hiddn": (3,)}, {"hidden": 7}]
)
def test_networks_that_cannot_be_built_are_a_value_error(arguments):
    with pytest.raises(ValueError, match="hid"):
        Spec("mlp", (3, 8, 8), 10, arguments).network()


def test_saving_and_loading_gives_the_same_network(tmp_path):
    torch.manual_seed(0)
    spec = Spec(
        "cnn",
        (3, 16, 16),
        4,
        {"widths": (8, 8)},
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.2, 0.2),
        class_names=("cat", "dog", "<script>", "ünï"),
    )
    network = spec.network().to(memory_format=torch.channels_last).eval()
    file = tmp_path / "model.safetensors"
    save(file, network, spec)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]
    with safe_open(file, "pt") as opened:
        read = Spec.from_json(opened.metadata()[METADATA_KEY])
    assert read == spec
    again = read.network().eval()
    again.load_state_dict(load_file(file))
    x = torch.rand(3, 3, 16, 16)
    assert torch.equal(again(x), network.to(memory_format=torch.contiguous_format)(x))


def test_saving_replaces_a_file_whole(tmp_path):
    spec = Spec("mlp", (4,), 3, {"hidden": (5,)})
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"old")
    save(str(file), spec.network(), spec)
    assert set(load_file(file)) == {"1.weight", "1.bias", "3.weight", "3.bias"}
