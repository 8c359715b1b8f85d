"""What a file says of bounds on activations: words that are checked, and lies that are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import mmbd
from helpers.bounded_files import NETS, SHAPE, repaired, written
from helpers.cost_limits import bounded
from mmbd.base.errors import Failed, NotEvaluable
from mmbd.formats.activation_bounds import ActivationBounds
from mmbd.formats.spec import METADATA_KEY, Spec, save

entries = st.builds(ActivationBounds, st.text(max_size=6), st.integers(0, 10**6), st.booleans())


@given(limits=st.lists(entries, max_size=4).map(tuple))
def test_entries_round_trip(limits):
    spec = Spec("mlp", (4,), 3, activation_bounds=limits)
    assert Spec.from_json(spec.to_json()) == spec
    assert ("activation_bounds" in spec.to_json()) == bool(limits)  # older releases know no such field


def test_files_of_earlier_releases_call_them_limits(tmp_path):
    written(tmp_path / "new.safetensors")
    with safe_open(tmp_path / "new.safetensors", "pt") as opened:
        raw = json.loads(opened.metadata()[METADATA_KEY])
    old = raw | {"limits": raw["activation_bounds"]}
    with pytest.raises(ValueError, match="unknown field 'limits'"):
        Spec.from_json(json.dumps(old))  # two words for one thing: which is true?
    del old["activation_bounds"]
    assert Spec.from_json(json.dumps(old)) == Spec.from_json(json.dumps(raw))
    state = load_file(tmp_path / "new.safetensors")
    save_file(state, tmp_path / "old.safetensors", metadata={METADATA_KEY: json.dumps(old)})
    x = torch.rand(3, *SHAPE)
    new, kept = (mmbd.load(tmp_path / f"{name}.safetensors").classifier for name in ("new", "old"))
    assert torch.equal(new(x), kept(x))


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
    with pytest.raises(ValueError, match="activation_bounds must be a list of objects with a name"):
        Spec.from_json(json.dumps(raw | {"activation_bounds": limits}))


def forged(path: Path, limits: Any, **changes: torch.Tensor | None) -> Path:
    """The good file with other entries, and with tensors replaced, added or (None) left out."""
    written(path, fold=False)
    tensors = load_file(path)
    tensors = {k: v for k, v in {**tensors, **changes}.items() if v is not None}
    with safe_open(path, "pt") as opened:
        raw = json.loads(opened.metadata()[METADATA_KEY])
    if limits is not None:
        raw["activation_bounds"] = limits
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
