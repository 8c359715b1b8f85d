"""The way in to mitigators: what it takes, what it refuses and how."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from helpers import backdoored_networks
from helpers.refusals import refused
from mmbd import nets
from mmbd.base.seeds import generator_for
from mmbd.mitigators import ALIASES, MITIGATORS, NotMitigated, mitigate, prepare, resolved
from mmbd.model.classifier import Classifier

# ------------------------------------------------------------------------------- what it is given


def test_eight_bit_images_and_arrays_are_taken():
    torch.manual_seed(0)
    net = nets.build("cnn", classes=3, input_shape=(1, 12, 10), widths=(4, 4))
    clf = Classifier(net, input_shape=(1, 12, 10))
    drawn = torch.randint(256, (12, 1, 12, 10), generator=generator_for("bytes"))
    images = drawn.to(torch.uint8)
    rows = [
        mitigate(clf, given, method="mm-bm", steps=2, accuracy=0.0).record.layers
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


@pytest.mark.parametrize("method", MITIGATORS)
def test_too_few_samples(method):
    clf = backdoored_networks.two_channels()
    with backdoored_networks.untouched(clf):
        for count in (0, 1, 3):
            refused(
                clf,
                torch.zeros(count, 2),
                method=method,
                **dict.fromkeys(MITIGATORS[method].needs),
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
    assert mitigated.record.changed


def test_labels_that_hardly_ever_agree():
    clf = backdoored_networks.vectors()
    inputs, labels = backdoored_networks.vector_samples()
    refused(clf, inputs, (labels + 1) % 4, word="agree with the classifier on 0%")
    labels[: len(labels) * 7 // 8] += 1
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
    assert mitigate(clf, inputs.clamp_min(1e-3) + 5e-4, labels, steps=1).record.changed
    inputs[3] = 1.0005
    assert mitigate(clf, inputs, labels, steps=1).record.changed
    inputs[3] = 1.002
    with pytest.raises(ValueError, match="outside"):
        mitigate(clf, inputs, labels)


def test_unknown_methods_and_options():
    clf = backdoored_networks.two_channels()
    known = ", ".join([*MITIGATORS, *ALIASES])
    with pytest.raises(ValueError, match=f"'hardning'; did you mean 'hardening'.*known: {known}"):
        mitigate(clf, *backdoored_networks.two_samples(), method="hardning")
    for method in MITIGATORS:
        with pytest.raises(ValueError, match=r"unknown option of .* 'magic'; .*known: .*(lr|step)"):
            mitigate(clf, *backdoored_networks.two_samples(), method=method, magic=1)
    with pytest.raises(ValueError, match="unlearning needs the option trigger: give trigger="):
        mitigate(clf, *backdoored_networks.two_samples(), method="unlearning")


def test_older_names_of_methods_and_options_are_taken():
    assert resolved("paper", {"iterations": 3}) == ("mm-bm-paper", {"iterations": 3})
    assert resolved("script", {}) == ("mm-bm-script", {})
    older, newer = (
        {"standing": 0.8, "flowing": 0.2, "worked": 0.6, "steps": 2},
        {"added_still_works": 0.8, "flow_works": 0.2, "added_worked": 0.6, "steps": 2},
    )
    assert resolved("auto", older) == resolved("auto", newer) == ("auto", newer)
    clf = backdoored_networks.vectors()
    record = mitigate(clf, *backdoored_networks.vector_samples(), method="auto", **older).record
    assert {name: record.settings[name] for name in newer} == newer
    with pytest.raises(ValueError, match="auto got flow_works twice"):
        resolved("auto", {"flowing": 0.2, "flow_works": 0.2})
    with pytest.raises(ValueError, match="unknown option of mm-bm 'standing'"):
        resolved("mm-bm", {"standing": 0.8})
