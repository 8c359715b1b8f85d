"""Architectures by name, by module and by file; arguments; and errors in the user's own code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import mmbd
from mmbd.base.errors import Failed
from mmbd.formats.networks.architecture import label, parse_arguments

MODULE = """
import dataclasses, sys
from helper_beside import WIDTH
import torch

@dataclasses.dataclass
class Settings:
    width: int = WIDTH

def make(width=WIDTH, bias=True):
    return torch.nn.Linear(Settings(width).width, 3, bias=bias)

class Net(torch.nn.Linear):
    def __init__(self):
        super().__init__(4, 3)

def none(): pass
def fails(): raise KeyError("gone\\x1b[31m")
def leaves(): sys.exit(5)
def odd_state():
    class Odd(torch.nn.Linear):
        def state_dict(self, *args, **kwargs): raise RuntimeError("no state")
    return Odd(4, 3)
NUMBER = 3
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "helper_beside.py").write_text("WIDTH = 4\n")
    (tmp_path / "nets_of_mine.py").write_text(MODULE)
    torch.save(nn.Linear(4, 3).state_dict(), tmp_path / "m.pt")
    return tmp_path


def load(code: Path, name: str, **arguments: Any) -> mmbd.Classifier:
    path = f"{code}/nets_of_mine.py:{name}"
    return mmbd.load(code / "m.pt", arch=path, input_shape=(4,), **arguments).classifier


@pytest.mark.parametrize("name", ["make", "Net"])
def test_functions_and_classes_in_a_file(name: str, code: Path) -> None:
    path = list(sys.path)
    assert load(code, name).classes == 3
    assert sys.path == path
    assert "nets_of_mine" not in sys.modules


def test_arguments_reach_the_factory_and_nothing_else_does(code: Path) -> None:
    with pytest.raises(Failed, match=r"make\(width=5\); of another shape: weight"):
        load(code, "make", arch_args={"width": 5})
    with pytest.raises(Failed, match="unexpected keyword argument 'classes'"):
        load(code, "make", arch_args={"classes": 3})
    with pytest.raises(Failed, match="has 3 classes, not 7"):
        load(code, "make", classes=7)


def test_an_importable_module(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(code))
    loaded = mmbd.load(code / "m.pt", arch="nets_of_mine:make", input_shape=(4,))
    assert loaded.model.architecture == "nets_of_mine:make"


def test_a_module_of_the_working_folder_is_taken_only_where_it_is_named(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder may be where a stranger's files were unpacked: see also test_packages.py."""
    (code / "stranger_module.py").write_text("open('imported', 'w').close()\n")
    monkeypatch.chdir(code)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(code))])
    with pytest.raises(Failed, match="No module named 'another_module'"):
        mmbd.load("m.pt", arch="another_module:make", input_shape=(4,))
    assert mmbd.load("m.pt", arch="nets_of_mine:make", input_shape=(4,)).classifier.classes == 3
    assert not (code / "imported").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "none returned NoneType, expected an nn.Module"),
        ("fails", r"cannot be built: KeyError: 'gone\\x1b\[31m'"),
        ("leaves", "cannot be built: SystemExit: 5"),
        ("odd_state", "no usable state_dict"),
        ("absent", "no function or class 'absent'"),
        ("NUMBER", "no function or class 'NUMBER'"),
    ],
)
def test_errors_of_the_users_code_name_the_factory(name: str, message: str, code: Path) -> None:
    with pytest.raises(Failed, match=message):
        load(code, name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise ValueError('at import')", "ValueError: at import"),
        ("import sys; sys.exit()", "SystemExit"),
        ("def make(:", "SyntaxError"),
        ("import a_module_that_is_not_there", "ModuleNotFoundError"),
    ],
)
def test_files_that_cannot_be_imported(text: str, message: str, code: Path) -> None:
    (code / "nets_of_mine.py").write_text(text)
    path = list(sys.path)
    with pytest.raises(Failed, match=message):
        load(code, "make")
    assert sys.path == path
    assert "mmbd_user_nets_of_mine" not in sys.modules


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("no_such_net", "unknown architecture 'no_such_net'"),
        ("resnet19", r"did you mean 'resnet1\d"),
        (":make", "expected an architecture as"),
        ("torch.nn:", "expected an architecture as"),
        ("missing.py:make", "there is no file missing.py"),
        ("no.such.module:make", "No module named 'no'"),
        ("../up:make", "cannot import"),
    ],
)
def test_architectures_that_do_not_exist(arch: str, message: str, code: Path) -> None:
    with pytest.raises(Failed, match=message):
        mmbd.load(code / "m.pt", arch=arch, input_shape=(4,))


def test_a_built_in_with_an_argument_it_does_not_take(code: Path) -> None:
    with pytest.raises(Failed, match="takes no argument 'depth'"):
        mmbd.load(code / "m.pt", arch="mlp", arch_args={"depth": 3}, input_shape=(4,))


def test_the_code_is_imported_only_when_the_file_can_be_read(code: Path) -> None:
    """A refused file must not get the user's code run for nothing."""
    (code / "nets_of_mine.py").write_text(f"open({str(code / 'ran')!r}, 'w').close()\n")
    (code / "m.pt").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(mmbd.Refused):
        load(code, "make")
    assert not (code / "ran").exists()


def test_module_hooks_that_rename_keys_are_honoured(tmp_path: Path) -> None:
    """torch's own load decides; the comparison of names only explains."""

    class Renamed(nn.Linear):
        def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
            state_dict[f"{prefix}weight"] = state_dict.pop(f"{prefix}w")
            super()._load_from_state_dict(state_dict, prefix, *rest)

    state = nn.Linear(4, 3).state_dict()
    state["w"] = state.pop("weight")
    torch.save(state, tmp_path / "m.pt")
    loaded = mmbd.load(tmp_path / "m.pt", arch=lambda: Renamed(4, 3), input_shape=(4,))
    assert loaded.classifier.classes == 3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-1.5e-3", -0.0015),
        ("True", True),
        ("None", None),
        ("(8, 16)", (8, 16)),
        ("[1, [2]]", [1, [2]]),
        ("'a b'", "a b"),
        ("batch", "batch"),
        ("", ""),
        ("a=b", "a=b"),
        ("__import__('os').system('true')", "__import__('os').system('true')"),
        ("(" * 5000, "(" * 5000),
    ],
)
def test_arguments_of_the_command_line(text: str, value: Any) -> None:
    assert parse_arguments([f" key ={text}"]) == {"key": value}


@pytest.mark.parametrize("text", ["key", "=3", "a b=3", ""])
def test_arguments_without_key(text: str) -> None:
    with pytest.raises(ValueError, match="expected key=value"):
        parse_arguments([text])


def test_labels_are_one_harmless_line() -> None:
    assert label("mlp", {"hidden": (3,), "name": "a\nb\x1b"}) == r"mlp(hidden=(3,), name='a\nb\x1b')"
    assert label(nn.Linear, {}) == "Linear"
    assert len(label("x", {"a": "y" * 1000})) <= 200


class Versioned(nn.Linear):
    """As torchvision's MNASNet, it takes no weights of an unknown version."""

    _version = 2

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
        if local_metadata.get("version") not in (1, 2):
            raise ValueError("version should be set to 1 or 2 instead of None")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


def test_weights_without_a_version_load_where_one_is_asked_for(tmp_path: Path) -> None:
    network = Versioned(4, 3)
    save_file(network.state_dict(), tmp_path / "m.safetensors")
    loaded = mmbd.load(tmp_path / "m.safetensors", arch=lambda: Versioned(4, 3), input_shape=(4,))
    points = torch.rand(2, 4)
    assert torch.equal(loaded.classifier(points), network(points))
