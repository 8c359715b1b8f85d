"""Point-cloud models as files: what they say of themselves, and that nothing else is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mmbd
from helpers.cost_limits import bounded
from mmbd.base.errors import Failed
from mmbd.data import generated as clouds
from mmbd.formats.spec import METADATA_KEY, Spec, save
from mmbd.model.forward import classes_of
from mmbd.model.points import Points
from mmbd.training import loop as train

CLASSES = ("chair", "table", "torus", "cone", "ladder", "ellipsoid")
ARGUMENTS = {"k": 5, "width": 4, "dropout": 0.0}
SPEC = Spec("dgcnn", (3, 32), 6, ARGUMENTS, bounds=(-1.0, 1.0), class_names=CLASSES, domain="cube")


def described(path: Path, changes: dict[str, Any], network: torch.nn.Module) -> Path:
    fields = {**json.loads(SPEC.to_json()), **changes}
    save_file(network.state_dict(), path, metadata={METADATA_KEY: json.dumps(fields)})
    return path


@pytest.mark.parametrize("domain", ["box", "cube", "ball"])
def test_the_domain_survives_the_file(domain, tmp_path):
    spec = Spec("pointnet", (3, 16), 4, {"width": 4}, bounds=(-2.0, 2.0), domain=domain)
    assert Spec.from_json(spec.to_json()) == spec
    torch.manual_seed(0)
    save(tmp_path / "m.safetensors", spec.network(), spec)
    loaded = mmbd.load(tmp_path / "m.safetensors")
    expected = {
        "box": "Box((3, 16), low=-2, high=2)",
        "cube": "Points(16, region='cube', radius=2)",
        "ball": "Points(16, region='ball', radius=2)",
    }
    assert repr(loaded.classifier.domain) == loaded.model.domain == expected[domain]
    assert loaded.model.bounds == (-2.0, 2.0)
    narrower = mmbd.load(tmp_path / "m.safetensors", bounds=(-0.5, 0.5))
    assert narrower.model.bounds == (-0.5, 0.5)
    assert type(narrower.classifier.domain) is type(loaded.classifier.domain)


def test_boxes_are_written_as_before():
    """Files of images stay readable by releases that know of no domain."""
    assert "domain" not in json.loads(Spec("mlp", (4,), 3).to_json())
    assert Spec.from_json('{"version": 1, "arch": "mlp", "input_shape": [4], "classes": 3}') == (
        Spec("mlp", (4,), 3)
    )


@pytest.mark.parametrize("domain", ["sphere", "", None, 1, ["cube"], {"cube": 1}])
def test_other_domains_are_refused(domain, tmp_path):
    file = described(tmp_path / "m.safetensors", {"domain": domain}, SPEC.network())
    with pytest.raises(Failed, match="domain must be box, cube or ball"):
        mmbd.load(file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bounds": [0.0, 1.0]}, "bounds are -radius and radius"),
        ({"input_shape": [3, 4]}, "k=5 neighbours are asked for in clouds of 4"),
        ({"input_shape": [4, 32]}, "point-cloud shape"),
        ({"input_shape": [3, 50_000]}, "need gigabytes"),
        ({"input_shape": [3, 4097]}, "need gigabytes"),
        ({"arguments": ARGUMENTS | {"k": 10**9}}, "k=1000000000 neighbours"),
        ({"arguments": ARGUMENTS | {"k": 0}}, "k=0 neighbours"),
        ({"arguments": ARGUMENTS | {"width": 10**7}}, "need gigabytes|too few for that"),
    ],
)
def test_metadata_that_cannot_be_true(changes, message, tmp_path):
    file = described(tmp_path / "m.safetensors", changes, SPEC.network())
    with bounded(megabytes=800), pytest.raises(Failed, match=message):
        mmbd.load(file)


def test_a_ball_of_pixels_is_refused(tmp_path):
    spec = Spec("mlp", (3, 4, 4), 3, {"hidden": (2,)}, bounds=(-1.0, 1.0))
    fields = {**json.loads(spec.to_json()), "domain": "ball"}
    network = spec.network()
    save_file(network.state_dict(), tmp_path / "m.safetensors", metadata={METADATA_KEY: json.dumps(fields)})
    with pytest.raises(Failed, match=r"shape is \(3, points\), got \(3, 4, 4\)"):
        mmbd.load(tmp_path / "m.safetensors")


def test_from_training_to_a_report_without_a_flag(tmp_path):
    torch.manual_seed(0)
    network = SPEC.network()
    training, test = (clouds.generate(16, classes=CLASSES, points=32, seed=s) for s in (0, 1))
    recipe = train.Recipe(epochs=15, batch=16, lr=5e-3)
    train.fit(network, training.inputs, training.labels, recipe, seed=0)
    predictions = classes_of(network, test.inputs)
    assert train.accuracy(predictions, test.labels) > 0.5  # of six classes
    save(tmp_path / "clouds.safetensors", network, SPEC)
    assert load_file(tmp_path / "clouds.safetensors").keys() == network.state_dict().keys()
    loaded = mmbd.load(tmp_path / "clouds.safetensors")
    assert isinstance(loaded.classifier.domain, Points)
    assert torch.equal(loaded.classifier(test.inputs).argmax(1), predictions)
    report = mmbd.scan(loaded, steps=8, restarts=2)
    assert report.class_names == CLASSES
    assert report.model.domain == "Points(32, region='cube', radius=1)"
    assert all(value is not None for value in report.statistics)
    seen = [artifact.tensor for artifact in report.finding.artifacts]
    assert len(seen) == len(CLASSES)
    assert all(float(cloud.abs().max()) <= 1 for cloud in seen)
    report.save(tmp_path / "report.json")
    assert mmbd.Report.from_json((tmp_path / "report.json").read_text()) == report
    report.save(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count('class="cloud"') == len(CLASSES)
    assert "Each cloud is drawn in a cube from -1 to 1" in page
    assert "dark or low" not in page
    assert "3 x 32, from -1 to 1" in page
