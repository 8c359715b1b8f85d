"""Bounds in a safetensors file: they come back without flags, and lies about them are told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import mmbd
from helpers.cost_limits import bounded
from mmbd import nets
from mmbd.base.errors import Failed, NotEvaluable
from mmbd.base.text import listed
from mmbd.cli import main
from mmbd.formats import export
from mmbd.formats.activation_bounds import Entry
from mmbd.formats.spec import METADATA_KEY, Spec, save
from mmbd.model import activations
from mmbd.model.bounded import Bounded, Limit
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box
from mmbd.model.points import Points

SHAPE = (3, 8, 8)
NETS: dict[str, dict[str, Any]] = {"cnn": {"widths": (4, 6), "hidden": (5,)}, "resnet8": {"width": 4}}


def repaired(arch: str = "cnn", *, fold: bool = True, dtype=torch.float32) -> Classifier:
    torch.manual_seed(0)
    net = nets.build(arch, classes=4, input_shape=SHAPE, **NETS[arch]).eval()
    clf = Classifier(net, input_shape=SHAPE, mean=(0.5, 0.4, 0.3), std=0.2, class_names=list("abcd"))
    limits = [
        Limit(
            activation,
            (0.1 + torch.rand(activation.channels)).to(dtype),
            0.1 * torch.rand(activation.channels).to(dtype) if activation.index == 1 else None,
            fold=fold and activation.index == 0,
        )
        for activation in reversed(activations.find(clf))
    ]
    return clf.around(Bounded(net, limits))


def written(path: Path, arch: str = "cnn", **options) -> Classifier:
    clf = repaired(arch, **options)
    export.safetensors(clf, path, Spec.of(clf, arch, NETS[arch]))
    return clf


@pytest.mark.parametrize("arch", NETS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_bounded_network_comes_back_without_flags(arch, dtype, tmp_path):
    path = tmp_path / "model.safetensors"
    clf = written(path, arch, dtype=dtype)
    loaded = mmbd.load(path)
    x = torch.rand(6, *SHAPE)
    assert torch.equal(loaded.classifier(x), clf(x))
    assert not torch.allclose(clf.around(clf.model.network)(x), clf(x), atol=1e-3)
    pairs = zip(loaded.classifier.model.limits, clf.model.limits[::-1], strict=True)
    for found, kept in pairs:
        assert (found.activation, found.fold) == (kept.activation, kept.fold)
        assert torch.equal(found.upper, kept.upper)
        assert found.upper.dtype == dtype
        assert (found.lower is None) == (kept.lower is None)
    assert loaded.classifier.class_names == clf.class_names
    names = [activation.name for activation in activations.find(clf.around(clf.model.network))]
    assert loaded.notes == (f"activations with bounds: {listed(names)}",)
    assert loaded.model.parameters == sum(p.numel() for p in clf.model.network.parameters())


def test_what_is_in_the_file(tmp_path):
    path = tmp_path / "model.safetensors"
    clf = written(path)
    own = {"mmbd.upper.0", "mmbd.upper.1", "mmbd.lower.1", "mmbd.upper.2"}
    assert set(load_file(path)) == own | set(clf.model.network.state_dict())
    with safe_open(path, "pt") as opened:
        text = opened.metadata()[METADATA_KEY]
    assert json.loads(text)["limits"] == [
        {"name": "2", "index": 0, "fold": True},
        {"name": "6", "index": 1, "fold": False},
        {"name": "11", "index": 2, "fold": False},
    ]


def test_saving_again_what_was_loaded(tmp_path):
    written(tmp_path / "one")
    loaded = mmbd.load(tmp_path / "one")
    export.safetensors(loaded.classifier, tmp_path / "two", loaded.spec)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    # A network that has lost its bounds must not claim any.
    bare = loaded.classifier.around(loaded.classifier.model.network)
    export.safetensors(bare, tmp_path / "three", loaded.spec)
    assert not isinstance(mmbd.load(tmp_path / "three").classifier.model, Bounded)


def test_flags_do_not_take_the_bounds_away(tmp_path):
    path = tmp_path / "model.safetensors"
    clf = written(path)
    x = torch.rand(3, *SHAPE)
    loaded = mmbd.load(path, arch="cnn", class_names=list("wxyz"))
    assert torch.equal(loaded.classifier(x), clf(x))
    own = mmbd.load(path, arch=lambda: nets.build("cnn", classes=4, input_shape=SHAPE, **NETS["cnn"]))
    assert torch.equal(own.classifier(x), clf(x))


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 7), nn.Linear(7, 3)

    def forward(self, x):
        return self.last(self.first(x).relu())


def test_an_architecture_of_ones_own(tmp_path):
    net = Own()
    clf = Classifier(net, input_shape=(5,), bounds=(-2, 3), std=0.5)
    clf = clf.around(Bounded(net, [Limit(activations.find(clf)[0], torch.full((7,), 0.2))]))
    path = tmp_path / "model.safetensors"
    export.safetensors(clf, path, Spec.of(clf, "own.py:Own"))
    with pytest.raises(Failed, match=r"says it is 'own\.py:Own', which is not a built-in"):
        mmbd.load(path)
    loaded = mmbd.load(path, arch=Own)
    assert loaded.classifier.domain.bounds == (-2, 3)
    x = torch.rand(4, 5)
    assert torch.equal(loaded.classifier(x), clf(x))
    assert loaded.spec == Spec.of(clf, "Own")


def test_words_for_what_was_loaded_with_flags(tmp_path):
    clf = repaired()
    save_file(clf.model.network.state_dict(), tmp_path / "bare")
    loaded = mmbd.load(tmp_path / "bare", arch="cnn", arch_args=NETS["cnn"], input_shape=SHAPE)
    assert loaded.spec == Spec("cnn", SHAPE, 4, NETS["cnn"])
    export.safetensors(loaded.classifier, tmp_path / "whole", loaded.spec)
    x = torch.rand(3, *SHAPE)
    assert torch.equal(mmbd.load(tmp_path / "whole").classifier(x), loaded.classifier(x))


def test_words_for_inputs():
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    cloud = Classifier(net, domain=Points(2, region="ball", radius=2.0))
    spec = Spec.of(cloud, "pointnet")
    assert (spec.domain, spec.bounds, spec.input_shape) == ("ball", (-2.0, 2.0), (3, 2))
    assert Spec.from_json(spec.to_json()) == spec
    uneven = Classifier(net, domain=Box((3, 2), 0.0, (1.0, 2.0, 1.0)))
    with pytest.raises(ValueError, match=r"but not that they are in Box\(\(3, 2\), low=0, high=1"):
        Spec.of(uneven, "mlp")


def test_a_scan_needs_no_flags_and_sees_the_bounds(tmp_path):
    """Class 2 answers to one hidden unit alone, times 20; its bound of 1/2 allows for 10."""
    spec = Spec("mlp", (16,), 8, {"hidden": (8,)})
    net = spec.network()
    with torch.no_grad():
        for layer in (net[1], net[3]):
            layer.weight.copy_(torch.eye(*layer.weight.shape))
            layer.bias.zero_()
        net[3].weight[2, 2] = 20
    clf = Classifier(net, input_shape=(16,))
    upper = torch.ones(8).index_fill(0, torch.tensor(2), 0.5)
    fixed = clf.around(Bounded(net, [Limit(activations.find(clf)[0], upper)]))
    for name, model, largest in (("before", clf, 20), ("after", fixed, 10)):
        export.safetensors(model, tmp_path / name, spec)
        with pytest.raises(SystemExit) as stopped:
            main(["scan", str(tmp_path / name), "--json", str(tmp_path / "report.json"), "--quiet"])
        report = mmbd.Report.from_json((tmp_path / "report.json").read_text())
        assert stopped.value.code == report.exit_code == 1
        assert report.targets == (2,)
        assert 0.8 * largest < report.statistics[2] < largest + 1e-4


entries = st.builds(Entry, st.text(max_size=6), st.integers(0, 10**6), st.booleans())


@given(limits=st.lists(entries, max_size=4).map(tuple))
def test_entries_round_trip(limits):
    spec = Spec("mlp", (4,), 3, limits=limits)
    assert Spec.from_json(spec.to_json()) == spec
    assert ("limits" in spec.to_json()) == bool(limits)  # older releases know no such field


GOOD = {"name": "2", "index": 0, "fold": False}


@pytest.mark.parametrize(
    "limits",
    [
        None,
        7,
        "2",
        {"2": GOOD},
        [7],
        [[GOOD]],
        [GOOD | {"more": 1}],
        [{"name": "2", "index": 0}],
        [GOOD | {"name": 2}],
        [GOOD | {"index": True}],
        [GOOD | {"index": 0.0}],
        [GOOD | {"index": "0"}],
        [GOOD | {"fold": 1}],
        [GOOD | {"fold": None}],
    ],
)
def test_wrong_entries_are_a_value_error(limits):
    raw = json.loads(Spec("mlp", (4,), 3).to_json())
    with pytest.raises(ValueError, match="limits must be a list of objects with a name"):
        Spec.from_json(json.dumps(raw | {"limits": limits}))


def forged(path: Path, limits: Any, **changes: torch.Tensor | None) -> Path:
    """The good file with other entries, and with tensors replaced, added or (None) left out."""
    written(path, fold=False)
    tensors = load_file(path)
    tensors = {k: v for k, v in {**tensors, **changes}.items() if v is not None}
    with safe_open(path, "pt") as opened:
        raw = json.loads(opened.metadata()[METADATA_KEY])
    if limits is not None:
        raw["limits"] = limits
    save_file(tensors, path, metadata={METADATA_KEY: json.dumps(raw)})
    return path


ALL = [GOOD, {"name": "6", "index": 1, "fold": False}, {"name": "11", "index": 2, "fold": False}]
HUGE = 10**400


@pytest.mark.parametrize(
    ("limits", "changes", "message"),
    [
        ([], {}, "does not say which activation this bounds: mmbd"),
        (ALL[:2], {}, r"does not say which activation this bounds: mmbd\.upper\.2"),
        ([*ALL, ALL[0]], {}, "lacks the bounds of '2', or names it twice"),
        ([*ALL, GOOD | {"index": 3}], {}, "bounds for '2' as activation 3, counted from 0"),
        ([GOOD | {"index": -1}, *ALL[1:]], {}, "as activation -1"),
        ([GOOD | {"index": HUGE}, *ALL[1:]], {}, r"as activation 1000\d*\.\.\."),
        ([GOOD | {"name": "1"}, *ALL[1:]], {}, "for '1' as activation 0.* has 2, 6, 11: download"),
        ([GOOD | {"name": "\x1b[2J" * 99}, *ALL[1:]], {}, r"for '\\\\x1b\[2J.*\.\.\.'"),
        ([GOOD] * 100_000, {}, "names it twice"),
        (None, {"mmbd.upper.0": None}, "lacks the bounds of '2'"),
        (None, {"mmbd.upper.0": torch.ones(5)}, "must be 4 floating-point numbers"),
        (None, {"mmbd.upper.0": torch.ones(1)}, "must be 4 floating-point numbers"),
        (None, {"mmbd.upper.0": torch.ones(4, 1)}, "must be 4 floating-point numbers"),
        (None, {"mmbd.upper.0": torch.ones(4, dtype=torch.int32)}, "must be 4 floating-point"),
        (None, {"mmbd.upper.0": torch.ones(4, dtype=torch.bool)}, "must be 4 floating-point"),
        (None, {"mmbd.upper.0": torch.tensor([1, 2, 3, torch.nan])}, "must be finite"),
        (None, {"mmbd.upper.0": torch.tensor([1, 2, 3, torch.inf])}, "must be finite"),
        (None, {"mmbd.upper.0": torch.ones(4).to(torch.float8_e4m3fn)}, "do not fit"),
        (None, {"mmbd.lower.1": torch.ones(7)}, "must be 6 floating-point numbers"),
        (None, {"mmbd.lower.3": torch.ones(7)}, r"this bounds: mmbd\.lower\.3"),
        (None, {"mmbd.upper.00": torch.ones(4)}, r"this bounds: mmbd\.upper\.00"),
        (None, {"mmbd.other": torch.ones(4)}, r"unexpected: mmbd\.other"),
    ],
)
def test_lies_about_bounds(limits, changes, message, tmp_path):
    path = forged(tmp_path / "m.safetensors", limits, **changes)
    with bounded(megabytes=100), pytest.raises(Failed, match=message):
        mmbd.load(path)


def test_bounds_in_a_file_that_says_nothing(tmp_path):
    written(tmp_path / "m")
    save_file(load_file(tmp_path / "m"), tmp_path / "m")
    with pytest.raises(Failed, match="does not say which activation this bounds"):
        mmbd.load(tmp_path / "m", arch="cnn", arch_args=NETS["cnn"], input_shape=SHAPE)


def test_bounds_of_another_network(tmp_path):
    """The architecture is the user's choice; that of the bounds is not."""
    path = forged(
        tmp_path / "m.safetensors",
        ALL[:1],
        **{"mmbd.upper.1": None, "mmbd.lower.1": None, "mmbd.upper.2": None},
    )
    mmbd.load(path)
    arguments = NETS["cnn"] | {"nonlinearity": "tanh"}
    with pytest.raises(Failed, match="this network has none"):
        mmbd.load(path, arch_args=arguments)


def test_bounds_that_make_the_logits_infinite(tmp_path):
    """Finite bounds, but sums of them are not: no crash, and no verdict either."""
    clf = repaired(fold=False)
    with torch.no_grad():
        clf.model.lower1.fill_(3e38)
        clf.model.upper1.fill_(3e38)
    save(tmp_path / "m", clf.model, Spec.of(clf, "cnn", NETS["cnn"]))
    with pytest.raises(NotEvaluable, match="NaN or infinite"):
        mmbd.load(tmp_path / "m")


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_files_are_as_readable_as_the_user_asks(tmp_path):
    before = os.umask(0o027)
    try:
        written(tmp_path / "model.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o640
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
