"""The way in: what it refuses and how, and what every method and every architecture must do."""

from __future__ import annotations

import dataclasses
import inspect
import json

import numpy as np
import pytest
import torch
from torch import nn

from helpers import backdoored_networks
from mmbd import nets
from mmbd.base.seeds import generator_for
from mmbd.mitigators import MITIGATORS, NotMitigated, Samples, mitigate, prepare
from mmbd.mitigators.mitigator import batches, disagreement, furthest
from mmbd.model.bounded import Bounded
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box
from mmbd.model.points import Points

# ------------------------------------------------------------------------- every method and network

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
    assert record.mitigated, record.reason
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
    assert json.loads(json.dumps(dataclasses.asdict(record), allow_nan=False))["mitigated"]
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


@pytest.mark.parametrize("arch", ["resnet8", "cnn", "mlp", "m5", "pointnet"])
@pytest.mark.parametrize("method", [name for name in MITIGATORS if name != "mm-bm"])
def test_every_method(method, arch):
    clf, inputs = built(arch)
    if (method, arch) == ("distillation", "mlp"):  # single positions have no attention
        refused(clf, inputs, method=method, word="no activation has more than one position")
    else:
        check(clf, inputs, method)


@pytest.mark.parametrize(
    "method", ["auto", "mm-bm", "mm-bm-paper", "mm-bm-script", "margin-clipping", "hardening"]
)
def test_settings_hold_every_option(method):
    clf, inputs = built("mlp")
    options = SHORT[method]
    record = mitigate(clf, inputs, method=method, seed=3, **options).record
    known = inspect.signature(MITIGATORS[method]).parameters.values()
    named = {p.name: p.default for p in known if p.kind is p.KEYWORD_ONLY}
    expected = {k: v for k, v in named.items() if k not in ("seed", "progress", "teacher")} | options
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


# ------------------------------------------------------------------------------- what it is given


def test_eight_bit_images_and_arrays_are_taken():
    clf, _ = built("cnn")
    drawn = torch.randint(256, (12, 1, 12, 10), generator=generator_for("bytes"))
    images = drawn.to(torch.uint8)
    rows = [
        mitigate(clf, given, method="mm-bm", **SHORT["mm-bm"]).record.layers
        for given in (images, images.numpy(), images.float() / 255, images.double().numpy() / 255)
    ]
    assert rows[0]
    assert rows[0] == rows[1] == rows[2] == rows[3]


def test_labels_of_any_kind_of_whole_number():
    clf = backdoored_networks.two_channels()
    inputs, labels = backdoored_networks.two_samples()
    for given in (
        labels,
        labels.tolist(),
        labels.numpy(),
        labels.to(torch.uint8),
        labels.numpy().astype(np.int32),
    ):
        samples = prepare(clf, inputs, given)
        assert torch.equal(samples.labels, labels)
        assert samples.labels.dtype == torch.int64
        assert not samples.own


def test_inputs_are_copied_and_not_changed():
    clf = backdoored_networks.two_channels()
    inputs, labels = backdoored_networks.two_samples()
    kept = inputs.clone()
    mitigate(clf, inputs, labels, steps=2)
    assert torch.equal(inputs, kept)


def test_what_the_samples_say():
    clf = backdoored_networks.two_channels()
    inputs, labels = backdoored_networks.two_samples(8)
    labels[0] = 1
    samples = prepare(clf, inputs, labels)
    assert samples.correct.tolist() == [False] + [True] * 7
    assert samples.accuracy(samples.logits) == 7 / 8
    flipped = samples.logits.clone()
    flipped[1] = torch.tensor([1.0, 0])
    assert samples.kept(flipped) == pytest.approx(6 / 7)
    assert samples.kept(samples.logits) == 1
    assert samples.accuracy(flipped) == 6 / 8


# ------------------------------------------------------------------------------------ bad input


def refused(clf, images, labels=None, *, word: str, **options) -> None:
    """Nothing was done, and why."""
    made = mitigate(clf, images, labels, **options)
    assert made.classifier is clf
    assert not made.record.mitigated
    assert word in made.record.reason
    assert made.record.layers == ()
    assert made.record.accuracy is None
    json.dumps(dataclasses.asdict(made.record), allow_nan=False)


@pytest.mark.parametrize("method", MITIGATORS)
def test_too_few_samples(method):
    clf = backdoored_networks.two_channels()
    with backdoored_networks.untouched(clf):
        for count in (0, 1, 3):
            refused(
                clf,
                torch.zeros(count, 2),
                method=method,
                word=f"{count} samples for 2 classes: at least 2 of every class",
            )


def test_a_class_is_missing_or_has_too_few():
    clf = backdoored_networks.vectors()
    inputs, labels = backdoored_networks.vector_samples()
    some = labels != 3
    refused(clf, inputs[some], labels[some], word="fewer there are of 3")
    some[3] = True
    refused(clf, inputs[some], labels[some], word="fewer there are of 3")
    named = Classifier(clf.model, input_shape=(64,), class_names=["ant", "bee", "cat", "dog"])
    refused(named, inputs[some], labels[some], word="fewer there are of dog")
    many = backdoored_networks.vectors(9)
    refused(
        many,
        *[part[:20] for part in backdoored_networks.vector_samples(80, classes=4)],
        word="of 4, 5, 6 and 2 more",
    )
    mitigated = mitigate(clf, inputs[labels != 3], steps=2)  # of its own answers none may be had
    assert mitigated.record.mitigated


def test_labels_that_hardly_ever_agree():
    clf = backdoored_networks.vectors()
    inputs, labels = backdoored_networks.vector_samples()
    refused(clf, inputs, (labels + 1) % 4, word="agree with the classifier on 0%")
    labels[: len(labels) * 3 // 4 + 1] += 1
    refused(clf, inputs, labels % 4, word="another order")


@pytest.mark.parametrize(
    "method", ["mm-bm", "paper", "script", "margin-clipping", "fine-pruning", "distillation"]
)
def test_a_model_without_activations(method):
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    clf = Classifier(net, input_shape=(2,))
    inputs, _ = backdoored_networks.two_samples()
    with backdoored_networks.untouched(clf):
        refused(clf, inputs, method=method, word="no activation")


def test_a_model_that_is_a_function():
    net = backdoored_networks.two_channels().model
    clf = Classifier(lambda x: net(x), input_shape=(2,))
    for method in ("mm-bm", "paper", "script", "margin-clipping"):
        refused(clf, *backdoored_networks.two_samples(), method=method, word="no activation")
    refused(clf, *backdoored_networks.two_samples(), method="hardening", word="only an nn.Module")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_model_that_is_compiled():
    clf = Classifier(torch.jit.script(backdoored_networks.two_channels().model.eval()), input_shape=(2,))
    refused(clf, *backdoored_networks.two_samples(), word="no activation")


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.rand(40, 3), r"expected samples of shape \(n, 2\), got \(40, 3\)"),
        (torch.rand(40), r"got \(40,\)"),
        (torch.tensor(0.5), r"got \(\)"),
        (torch.rand(40, 2, 1), r"got \(40, 2, 1\)"),
        (torch.full((40, 2), float("nan")), "NaN or infinity"),
        (torch.rand(40, 2).index_fill(0, torch.tensor(7), float("inf")), "NaN or infinity"),
        (torch.rand(40, 2) * 255, r"outside the classifier's domain Box\(\(2,\), low=0, high=1\)"),
        (torch.rand(40, 2) - 0.5, "give raw inputs, not normalised ones"),
        (torch.randint(256, (40, 2)), "outside"),  # 8-bit images have 8 bits
    ],
)
def test_inputs_of_another_kind_are_errors(images, words):
    clf = backdoored_networks.two_channels()
    with backdoored_networks.untouched(clf), pytest.raises(ValueError, match=words) as caught:
        mitigate(clf, images)
    assert not isinstance(caught.value, NotMitigated)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y: y.float(), r"expected 40 whole numbers as labels, got torch.float32"),
        (lambda y: y.double().numpy(), "torch.float64"),
        (lambda y: y[:39], r"of shape \(39,\)"),
        (lambda y: y[:, None], r"of shape \(40, 1\)"),
        (lambda y: nn.functional.one_hot(y), r"of shape \(40, 2\)"),
        (lambda y: y + 1, "labels must be 0 to 1, got 1 to 2"),
        (lambda y: y - 1, "got -1 to 0"),
    ],
)
def test_labels_of_another_kind_are_errors(change, words):
    inputs, labels = backdoored_networks.two_samples()
    with pytest.raises(ValueError, match=words) as caught:
        mitigate(backdoored_networks.two_channels(), inputs, change(labels))
    assert not isinstance(caught.value, NotMitigated)


def test_values_that_are_rounded_over_the_edge_are_taken():
    clf = backdoored_networks.two_channels()
    inputs, labels = backdoored_networks.two_samples()
    assert mitigate(clf, inputs.clamp_min(1e-3) + 5e-4, labels, steps=1).record.mitigated
    inputs[3] = 1.0005
    assert mitigate(clf, inputs, labels, steps=1).record.mitigated
    inputs[3] = 1.002
    with pytest.raises(ValueError, match="outside"):
        mitigate(clf, inputs, labels)


def test_unknown_methods_and_options():
    clf = backdoored_networks.two_channels()
    known = ", ".join([*MITIGATORS, "paper", "script"])
    with pytest.raises(ValueError, match=f"unknown method 'magic'; known: {known}"):
        mitigate(clf, *backdoored_networks.two_samples(), method="magic")
    for method in MITIGATORS:
        with pytest.raises(ValueError, match=r"no option 'magic'; it has .*(lr|step)"):
            mitigate(clf, *backdoored_networks.two_samples(), method=method, magic=1)
    with pytest.raises(TypeError, match="trigger"):
        mitigate(clf, *backdoored_networks.two_samples(), method="unlearning")


# -------------------------------------------------------------------------------- what they share


def test_batches_go_through_the_samples_again_and_again():
    made = batches(10, 4, 5, generator_for("batches"))
    assert [len(part) for part in made] == [4] * 5
    together = torch.cat(made)
    assert together[:10].sort().values.tolist() == list(range(10))
    assert together[10:].sort().values.tolist() == list(range(10))
    assert [part.sort().values.tolist() for part in batches(3, 100, 2, generator_for("b"))] == [[0, 1, 2]] * 2
    assert batches(3, 2, 0, generator_for("b")) == []


def test_disagreement_is_between_probabilities():
    sure, other = torch.tensor([[100.0, 0], [0, 100]]), torch.tensor([[0.0, 100], [0, 100]])
    assert float(disagreement(sure, sure)) == 0
    assert float(disagreement(sure, other)) == pytest.approx(1)  # one of two, by a distance of 2
    assert float(disagreement(sure, 3 * sure)) == pytest.approx(0)


def test_furthest_tries_from_the_end_down():
    tried = []

    def accuracy(extent: float) -> float:
        tried.append(round(extent, 3))
        return {0.7: 0.9, 0.3: 0.95}.get(round(extent, 3), 0.1)

    assert furthest(accuracy, 0.9) == 0.7
    assert tried == [1.0, 0.9, 0.8, 0.7]
    assert furthest(accuracy, 0.93) == pytest.approx(0.3)
    assert furthest(lambda extent: 1 - extent, 1.0) == 0
    with pytest.raises(NotMitigated, match="nothing kept an accuracy of 99%"):
        furthest(accuracy, 0.99)


def test_samples_may_be_made_by_hand():
    clf = backdoored_networks.two_channels()
    inputs, labels = backdoored_networks.two_samples()
    made = prepare(clf, inputs, labels)
    samples = Samples(made.inputs, made.labels, made.logits)
    assert MITIGATORS["mm-bm-paper"](clf, samples, iterations=2).record.mitigated
    assert prepare(clf, inputs[:4], labels[:4], fewest=1).labels.tolist() == [0, 1, 0, 1]
    with pytest.raises(NotMitigated, match="at least 30 of every class"):
        prepare(clf, inputs, labels, fewest=30)
