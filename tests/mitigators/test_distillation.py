"""Attention distillation: which activations, what attention is, and what cannot be compared."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from helpers import colour_networks
from mmbd import nets
from mmbd.base.errors import NotMitigated
from mmbd.mitigators.distillation import attention, deep, distillation
from mmbd.mitigators.fine_tuning import tune
from mmbd.mitigators.mitigator import Mitigation, duplicate
from mmbd.model import activations
from mmbd.model.activations import Activation, ActivationHook
from mmbd.model.classifier import Classifier
from mmbd.model.samples import prepare


def conv(channels: int, side: int) -> Activation:
    return Activation("x", 0, channels, 1, (channels, side, side))


def test_attention_has_length_one_and_knows_no_scale():
    generator = torch.Generator().manual_seed(0)
    output = torch.rand(5, 4, 3, 3, generator=generator)
    maps = attention(conv(4, 3), output)
    assert maps.shape == (5, 9)
    torch.testing.assert_close(maps.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(attention(conv(4, 3), 7 * output), maps)
    torch.testing.assert_close(attention(conv(4, 3), torch.ones(1, 4, 3, 3)), torch.full((1, 9), 1 / 3))
    assert bool((attention(conv(4, 3), torch.zeros(1, 4, 3, 3)) == 0).all())  # nothing to divide by


def test_attention_of_known_activations():
    output = torch.tensor([[[[3.0, 0]], [[0, 2]]]])  # energies 9 and 4
    expected = torch.tensor([[9.0, 4]]) / (81 + 16) ** 0.5
    torch.testing.assert_close(attention(Activation("x", 0, 2, 1, (2, 1, 2)), output), expected)
    tokens = output.reshape(1, 2, 2).transpose(1, 2)  # the channels last
    torch.testing.assert_close(attention(Activation("x", 0, 2, -1, (2, 2)), tokens), expected)


def names(arch: str, **arguments) -> list[str]:
    net = nets.build(arch, classes=4, input_shape=(3, 32, 32), **arguments).eval()
    return [
        activation.name for activation in deep(activations.find(Classifier(net, input_shape=(3, 32, 32))))
    ]


@pytest.mark.parametrize(
    ("arch", "arguments", "expected"),
    [
        ("resnet8", {"width": 2}, [f"layer{i}.0.relu#2" for i in (1, 2, 3)]),
        ("resnet18", {"width": 2}, [f"layer{i}.1.relu#2" for i in (2, 3, 4)]),
        # There a block begins with the activation of the stage before it.
        ("preact_resnet18", {"width": 2}, ["layer3.0.relu", "layer4.0.relu", "layer4.1.relu#2"]),
        ("cnn", {"widths": (2, 2, 2), "depth": 2, "hidden": (5,)}, ["5", "12", "19"]),
        ("vgg16", {"width": 2}, ["features.22", "features.32", "features.42"]),
        ("lenet", {}, ["1", "4"]),
        ("mlp", {}, []),
    ],
)
def test_the_last_three_resolutions_are_compared(arch, arguments, expected):
    assert names(arch, **arguments) == expected


def perceptron() -> Classifier:
    return colour_networks.classifier(
        nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 3))
    )


def pooled() -> Classifier:
    torch.manual_seed(0)
    net = nets.build("cnn", classes=3, input_shape=(3, 4, 4), widths=(4,), hidden=(5,))
    return Classifier(net.eval(), input_shape=(3, 4, 4))


def repaired(clf: Classifier | None = None, **options) -> Mitigation:
    clf = pooled() if clf is None else clf
    inputs, _ = colour_networks.images()
    return distillation(clf, prepare(clf, inputs), **{"teacher_epochs": 1, "epochs": 2} | options)


def test_a_single_position_has_no_attention():
    with pytest.raises(NotMitigated, match="no activation has more than one position"):
        repaired(perceptron())
    hidden = activations.find(pooled())[-1].name
    with pytest.raises(NotMitigated, match=f"{hidden} has not more than one position"):
        repaired(layers=[hidden])


def test_the_original_stays_and_the_student_differs():
    clf = pooled()
    before = colour_networks.state(clf)
    made = repaired(clf)
    assert colour_networks.same(before, colour_networks.state(clf))
    assert not colour_networks.same(before, colour_networks.state(made.classifier))
    assert type(made.classifier.model) is type(clf.model)
    assert made.classifier.model.state_dict().keys() == clf.model.state_dict().keys()
    assert not any(module.training for module in made.classifier.model.modules())
    assert [len(curve) for curve in made.record.curves.values()] == [1, 2]


def test_the_seed_decides():
    first, again, other = (colour_networks.state(repaired(seed=seed).classifier) for seed in (0, 0, 1))
    assert colour_networks.same(first, again)
    assert not colour_networks.same(first, other)


def test_a_student_like_its_teacher_pays_nothing():
    still = {"teacher_epochs": 0, "epochs": 1, "lr": 1e-12, "weight_decay": 0, "move_statistics": False}
    free, dear = (repaired(betas=[beta], **still).record.curves["loss"] for beta in (0, 1e6))
    assert dear == pytest.approx(free, rel=1e-5)
    moved = {**still, "move_statistics": True}  # by the batch's statistics it looks elsewhere
    free, dear = (repaired(betas=[beta], **moved).record.curves["loss"] for beta in (0, 1e6))
    assert dear[0] > 2 * free[0]


def test_attention_is_drawn_to_the_teachers():
    clf = pooled()
    inputs, labels = colour_networks.images()
    samples = prepare(clf, inputs, labels)
    (activation,) = deep(activations.find(clf))

    def maps(model: nn.Module) -> torch.Tensor:
        seen = []
        look = ActivationHook(
            lambda index, out: (seen.append(out) if index == activation.index else None, out)[1]
        )
        with torch.no_grad(), look:
            model(inputs)
        return attention(activation, seen[0])

    def apart(model: nn.Module) -> float:
        return float((maps(model) - maps(teacher)).square().mean())

    def student(beta: float) -> nn.Module:
        options = {"betas": [beta], "teacher_epochs": 20, "epochs": 60, **common}
        return distillation(clf, samples, **options).classifier.model

    common = {"lr": 0.02, "batch": 20, "move_statistics": False, "weight_decay": 0}
    teacher = duplicate(clf)
    tune(clf, teacher, inputs, labels, epochs=20, clip=1.0, augment=(), seed=0, **common)
    assert apart(student(1000)) < 0.1 * apart(clf.model)
    assert apart(student(0)) > apart(clf.model)


def test_of_fewer_activations_the_last_betas_count():
    assert repaired(betas=(1, 2, 3)).record.settings["betas"] == (3,)
    with pytest.raises(ValueError, match="0 betas for 1"):
        repaired(betas=())
    with pytest.raises(ValueError, match="nope"):
        repaired(layers=["nope"])


def test_progress_counts_teacher_and_student():
    calls = []
    repaired(batch=20, progress=lambda at: calls.append((at.done, at.total)))
    assert calls == [(step, 9) for step in range(1, 10)]
