"""What every mitigator must do, and with every architecture: the contract over `MITIGATORS`."""

from __future__ import annotations

import dataclasses
import inspect
import json

import pytest
import torch

from helpers import backdoored_networks
from helpers.refusals import refused
from mmbd import nets
from mmbd.base.seeds import generator_for
from mmbd.mitigators import ALIASES, METHODS, MITIGATORS, mitigate, options_of, prepare
from mmbd.model.bounded import Bounded
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box
from mmbd.model.points import Points

DARK = lambda inputs: inputs.clone().index_fill_(-1, torch.tensor([0, 1]), 0)  # noqa: E731
# Few steps, and no demands on accuracy that untrained networks could fail.
SHORT = {
    "auto": {
        "steps": 2,
        "hardening_steps": 2,
        "accuracy": 0.0,
        "added_still_works": 0.0,
        "added_worked": 0.0,
    },
    "mm-bm": {"steps": 2, "accuracy": 0.0},
    "mm-bm-paper": {"iterations": 2, "accuracy": 0.0},
    "mm-bm-script": {"epochs": 2},
    "margin-clipping": {"epochs": 2, "maximised": 2, "steps": 2},
    "hardening": {"steps": 2, "accuracy": 0.0},
    "latent-shift": {"steps": 2, "accuracy": 0.0},
    "fine-pruning": {"epochs": 1, "stride": 0.5},
    "mm-bm-fine-pruning": {"epochs": 1, "stride": 0.5},
    "distillation": {"epochs": 1, "teacher_epochs": 1},
    "unlearning": {"epochs": 1, "trigger": DARK},
}
BOUNDS_ONLY = {"mm-bm", "mm-bm-paper", "mm-bm-script", "margin-clipping"}
IMAGE, SMALL = Box((3, 32, 32)), Box((3, 16, 16))
NETWORKS = {
    "resnet18": (SMALL, {"width": 2}),
    "resnet34": (SMALL, {"width": 2}),
    "preact_resnet18": (SMALL, {"width": 2}),
    "vgg16": (IMAGE, {"width": 2}),
    "mobilenet": (Box((3, 8, 8)), {}),
    "resnet8": (SMALL, {"width": 2}),
    "resnet20": (SMALL, {"width": 2, "normalisation": "group"}),
    "resnet32": (SMALL, {"width": 2, "shortcut": "A"}),
    "resnet56": (SMALL, {"width": 2}),
    "resnet110": (SMALL, {"width": 2, "shortcut": "A"}),
    "resnet18_imagenet": (IMAGE, {"width": 2}),
    "resnet34_imagenet": (IMAGE, {"width": 2}),
    "cnn": (Box((1, 12, 10)), {"widths": (4, 4), "nonlinearity": "gelu", "hidden": (5,)}),
    "lenet": (Box((1, 28, 28)), {"nonlinearity": "silu"}),
    "vit": (Box((3, 8, 8)), {"width": 8, "depth": 2}),
    "mlp": (Box((20,), -2, 2), {"hidden": (8, 6), "nonlinearity": "elu"}),
    "m5": (Box((1, 8000), -1, 1), {"width": 2}),
    "dgcnn": (Points(12), {"k": 3, "width": 2}),
    "pointnet": (Points(12, region="ball"), {"width": 4}),
}


def built(arch: str, classes: int = 3) -> tuple[Classifier, torch.Tensor]:
    domain, arguments = NETWORKS[arch]
    torch.manual_seed(0)
    net = nets.build(arch, classes=classes, input_shape=domain.shape, **arguments)
    inputs = torch.stack([domain.sample(generator_for("inputs", i)) for i in range(4 * classes)])
    names = [f"class {label}" for label in range(classes)]
    return Classifier(net, domain=domain, class_names=names), inputs


def check(clf: Classifier, inputs: torch.Tensor, method: str, **options) -> None:
    with backdoored_networks.untouched(clf):
        repaired, record = mitigate(clf, inputs, method=method, **SHORT[method] | options)
    assert record.changed, record.reason
    assert record.reason is None
    assert repaired is not clf
    assert repaired.model is not clf.model
    assert repaired.domain is clf.domain
    assert repaired.class_names == clf.class_names
    assert (repaired.mean, repaired.std, repaired.device) == (clf.mean, clf.std, clf.device)
    own = {id(weight) for weight in clf.model.parameters()}
    assert not any(id(weight) in own for weight in repaired.model.parameters())
    with torch.no_grad(), repaired.frozen():
        logits = repaired(inputs)
    assert logits.shape == (len(inputs), 3)
    assert bool(torch.isfinite(logits).all())
    assert (record.samples, record.own_labels) == (len(inputs), True)
    assert record.accuracy[0] == 1  # by its own answers
    right = prepare(clf, inputs).labels == logits.argmax(1)
    assert record.accuracy[1] == pytest.approx(float(right.double().mean()))
    assert record.seconds > 0
    assert record.weights_changed is (method not in BOUNDS_ONLY)
    assert json.loads(json.dumps(dataclasses.asdict(record), allow_nan=False))["changed"]
    for layer in record.layers:
        assert len(layer["upper"]) == len(layer["highest"]) == layer["channels"]
        assert all(value >= 0 for value in layer["upper"])


@pytest.mark.parametrize("arch", NETWORKS)
def test_every_architecture_is_bounded(arch):
    clf, inputs = built(arch)
    check(clf, inputs, "mm-bm", perturbations=("added",) if arch != "mobilenet" else ())


def test_every_architecture_is_tested_above():
    assert set(NETWORKS) == set(nets.ARCHITECTURES)
    assert set(SHORT) == set(MITIGATORS)


def test_every_row_says_what_it_is_and_what_it_needs():
    for name, method in MITIGATORS.items():
        assert method.title
        assert "\n" not in method.title
        assert set(method.needs) <= set(options_of(name))
        parameters = inspect.signature(method.function).parameters.values()
        without = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
        assert set(method.needs) == without, name
    assert set(METHODS) == {name for name, method in MITIGATORS.items() if not method.needs} | set(ALIASES)
    assert set(ALIASES.values()) <= set(MITIGATORS)


@pytest.mark.parametrize("arch", ["resnet8", "cnn", "mlp", "m5", "pointnet"])
@pytest.mark.parametrize("method", [name for name in MITIGATORS if name != "mm-bm"])
def test_every_method(method, arch):
    clf, inputs = built(arch)
    if (method, arch) == ("distillation", "mlp"):  # single positions have no attention
        refused(clf, inputs, method=method, word="no activation has more than one position")
    else:
        check(clf, inputs, method)


@pytest.mark.parametrize(
    "method", ["auto", "mm-bm", "mm-bm-paper", "mm-bm-script", "margin-clipping", "hardening", "latent-shift"]
)
def test_settings_hold_every_option(method):
    clf, inputs = built("mlp")
    options = SHORT[method]
    record = mitigate(clf, inputs, method=method, seed=3, **options).record
    known = inspect.signature(MITIGATORS[method].function).parameters.values()
    named = {p.name: p.default for p in known if p.kind is p.KEYWORD_ONLY}
    expected = {k: v for k, v in named.items() if k not in ("seed", "progress", "teacher", "aside")} | options
    assert {name: record.settings.get(name, "missing") for name in expected} == expected
    assert record.method == method


def test_short_names_are_those_of_mm_bm():
    clf, inputs = built("mlp")
    for name in ("paper", "script"):
        record = mitigate(clf, inputs, method=name, **SHORT[f"mm-bm-{name}"]).record
        assert record.method == f"mm-bm-{name}"
    default = mitigate(clf, inputs, **SHORT["mm-bm"])
    assert default.record.method == "mm-bm"
    assert isinstance(default.classifier.model, Bounded)


def test_bounding_what_has_bounds_changes_no_weight_either():
    clf = backdoored_networks.vectors()
    first = mitigate(clf, *backdoored_networks.vector_samples(), method="mm-bm", steps=2)
    second = mitigate(first.classifier, *backdoored_networks.vector_samples(), method="mm-bm", steps=2)
    assert not first.record.weights_changed
    assert not second.record.weights_changed
