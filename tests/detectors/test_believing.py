"""What a file says of itself may not make it clean: real files, the weights untouched."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import save_file

import mmbd
from mmbd.formats.spec import METADATA_KEY, Spec
from mmbd.render.terminal import terminal

EXAMPLES = Path(__file__).parents[2] / "examples" / "models"
TARGET = {"badnet-resnet8": 1, "blend-cnn": 3}


def rewritten(name: str, path: Path, tensors: dict[str, Any] | None = None, **changes: Any) -> Path:
    """A bundled model with other words in its metadata."""
    source = EXAMPLES / f"{name}.safetensors"
    with safe_open(source, "pt") as opened:
        said = json.loads(opened.metadata()[METADATA_KEY])
        weights = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    arguments = {**said["arguments"], **changes.pop("arguments", {})}
    text = json.dumps({**said, "arguments": arguments, **changes})
    save_file({**weights, **(tensors or {})}, path, metadata={METADATA_KEY: text})
    return path


def exit_code(path: Path, **options: Any) -> int:
    return mmbd.scan(mmbd.load(path, **options)).exit_code


def test_a_narrow_range_of_inputs_makes_nothing_clean(tmp_path):
    path = rewritten("badnet-resnet8", tmp_path / "m.safetensors", bounds=[0.49, 0.51])
    assert exit_code(path) in (1, 3)
    assert exit_code(path, bounds=(0, 1)) == 1


def test_another_activation_makes_nothing_clean(tmp_path):
    path = rewritten("blend-cnn", tmp_path / "m", arguments={"nonlinearity": "tanh"})
    report = mmbd.scan(mmbd.load(path))
    assert report.exit_code == 3
    assert "nonlinearity=tanh, which the weights do not show" in report.reason
    assert "--arch-arg nonlinearity=..." in report.reason
    believed = mmbd.load(path, as_claimed=True)
    said = mmbd.load(path, arch_args={"nonlinearity": "tanh"})
    assert (believed.doubts, said.doubts) == ((), ())
    # One network to the last weight, and so one scan.
    assert repr(believed.classifier.model) == repr(said.classifier.model)
    inputs = torch.rand(4, 3, 32, 32)
    assert torch.equal(believed.classifier(inputs), said.classifier(inputs))
    assert repr(believed.classifier.domain) == repr(said.classifier.domain)
    assert mmbd.scan(said).verdict == "clean"


def test_a_deviation_that_squeezes_all_inputs_makes_nothing_clean(tmp_path):
    path = rewritten("clean-resnet8", tmp_path / "m", mean=[0.5] * 3, std=[100.0] * 3)
    report = mmbd.scan(mmbd.load(path))
    assert report.exit_code == 3
    rated = mmbd.load(path).doubts
    assert len(rated) == 1
    assert "standard deviation of 100 100 100" in rated[0]


def limits(value: float) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    from mmbd.model import activations

    found = activations.find(mmbd.load(EXAMPLES / "badnet-resnet8.safetensors").classifier)
    tensors = {
        f"mmbd.upper.{activation.index}": torch.full((activation.channels,), value) for activation in found
    }
    return tensors, [
        {"name": activation.name, "index": activation.index, "fold": False} for activation in found
    ]


def test_bounds_on_activations_are_left_off_once_more(tmp_path):
    tensors, entries = limits(0.5)
    path = rewritten("badnet-resnet8", tmp_path / "m.safetensors", tensors, limits=entries)
    report = mmbd.scan(mmbd.load(path))
    assert (report.exit_code, report.targets) == (1, (1,))
    words = next(one for one in report.caveats if one.startswith("Without the bounds"))
    assert "and is judged so" in words
    assert "--as-claimed" in words
    assert "bounds on activations" in report.claimed
    believed = mmbd.scan(mmbd.load(path, as_claimed=True))
    assert believed.p_value > report.p_value
    assert not any(one.startswith("Without the bounds") for one in believed.caveats)


def test_what_the_file_claims_is_said_in_every_form(tmp_path):
    report = mmbd.scan(mmbd.load(EXAMPLES / "clean-cnn.safetensors"))
    claimed = ("architecture", "input shape", "bounds", "mean", "std", "class names")
    assert (report.verdict, report.claimed) == ("clean", claimed)
    assert json.loads(report.to_json())["claimed"] == list(claimed)
    assert mmbd.Report.from_json(report.to_json()).claimed == claimed
    report.save(tmp_path / "r.html")
    assert "by the file&#39;s own word" in (tmp_path / "r.html").read_text(encoding="utf-8")
    report.save(tmp_path / "r.sarif")
    log = json.loads((tmp_path / "r.sarif").read_text(encoding="utf-8"))
    properties = log["runs"][0]["artifacts"][0]["properties"]
    assert properties == {"verdict": "clean", "claimedByTheFile": list(claimed)}
    said = Console(file=io.StringIO(), width=200)
    terminal(report, said)
    assert "By the file's own words alone: architecture, input shape" in said.file.getvalue()
    given = mmbd.load(
        EXAMPLES / "clean-cnn.safetensors", bounds=(0, 1), mean=0.49, class_names=list("abcdefghij")
    )
    assert given.claimed == ("architecture", "input shape", "std")


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"arch": "cnn"}, ("mean", "std")),
        ({"input_shape": (3, 32, 32)}, ("mean", "std")),
        ({"arch": "cnn", "mean": 0.49, "std": 0.25}, ()),
    ],
)
def test_who_describes_the_network_does_so_alone(given, left):
    loaded = mmbd.load(EXAMPLES / "clean-cnn.safetensors", **given)
    assert tuple(doubt.split()[0] for doubt in loaded.doubts) == left
    report = mmbd.scan(loaded)
    assert report.exit_code == (3 if left else 0)
    if left:
        assert "give --mean" in report.reason
    assert mmbd.load(EXAMPLES / "clean-cnn.safetensors", **given, as_claimed=True).doubts == ()


def test_a_backdoor_is_one_whatever_the_file_claims():
    assert exit_code(EXAMPLES / "blend-cnn.safetensors", arch="cnn") == 1


SPEC = Spec("cnn", (3, 12, 12), 5, {"widths": (4, 8)}, mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"bounds": (-1.0, 1.0)}, None),
        ({"bounds": (0.0, 255.0), "mean": (120.0,) * 3, "std": (60.0,) * 3}, None),
        ({"bounds": (0.0, 0.6)}, "inputs from 0 to 0.6"),
        ({"bounds": (-3.0, 3.0)}, "inputs from -3 to 3"),
        ({"std": (1.0,) * 3}, None),
        ({"std": (1.2,) * 3}, "standard deviation"),
        ({"std": (0.25, 0.25, 0.001)}, "standard deviation"),
        ({"std": None, "mean": None}, None),
        ({"arguments": {"widths": (4, 8), "dropout": 0.5}}, None),  # no matter in a scan
        ({"arguments": {"widths": (4, 8), "nonlinearity": "relu"}}, None),  # the default
        ({"arguments": {"widths": (4, 8), "nonlinearity": "elu"}}, "nonlinearity=elu"),
    ],
    ids=str,
)
def test_what_is_usual_and_what_is_not(changes, words, tmp_path):
    from mmbd.formats.spec import save

    spec = replace(SPEC, **changes)
    save(tmp_path / "m.safetensors", spec.network(), spec)
    found = mmbd.load(tmp_path / "m.safetensors").doubts
    assert len(found) == (words is not None)
    assert words is None or words in found[0]
