"""A network made by hand that tells red, green and blue, with a backdoor of one channel.

Clean images are bright in one colour only. A white pixel, the trigger, is what the last channel
of the convolution answers to and nothing else does; it leads to class 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of
from mmbd.model.samples import Samples, prepare

CHANNELS = 4  # red, green, blue, white
WHITE = 3
SHAPE = (3, 4, 4)


def white_pixel(images: Tensor) -> Tensor:
    images = images.clone()
    images[:, :, 1, 2] = 1
    return images


def network(strength: float = 60.0) -> nn.Module:
    """`strength` is how much the white channel adds to the logit of class 0."""
    first = nn.Conv2d(3, CHANNELS, 1)
    last = nn.Linear(CHANNELS, 3)
    with torch.no_grad():
        first.weight.zero_()
        first.weight[:3, :, 0, 0] = torch.eye(3)
        first.weight[WHITE] = 1
        first.bias.copy_(torch.tensor([0.0, 0, 0, -2]))
        last.weight.zero_()
        last.weight[:, :3] = 10 * torch.eye(3)
        last.weight[0, WHITE] = 10 * strength
        last.bias.zero_()
    return nn.Sequential(first, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)


def images(count: int = 60, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    pixels = 0.3 * torch.rand(count, *SHAPE, generator=generator)
    pixels[torch.arange(count), labels] += 0.7
    return pixels, labels


def classifier(model: nn.Module | None = None) -> Classifier:
    return Classifier(network() if model is None else model, input_shape=SHAPE)


def samples(of: Classifier, count: int = 60) -> Samples:
    return prepare(of, *images(count))


def rates(of: Classifier, trigger=white_pixel) -> tuple[float, float]:
    """The accuracy on other clean images, and the share of triggered ones that go to class 0."""
    inputs, labels = images(90, seed=1)
    right = logits_of(of, inputs).argmax(1) == labels
    taken = logits_of(of, trigger(inputs[labels != 0])).argmax(1) == 0
    return float(right.float().mean()), float(taken.float().mean())


def state(of: Classifier) -> dict[str, object]:
    """All of a classifier's network that a mitigator could change by mistake."""
    model = of.model
    assert isinstance(model, nn.Module)
    return {
        **{name: value.clone() for name, value in model.state_dict().items()},
        "modes": [module.training for module in model.modules()],
        "trainable": [weight.requires_grad for weight in model.parameters()],
        "gradients": [weight.grad is None for weight in model.parameters()],
        "hooks": [len(module._forward_hooks) for module in model.modules()],
    }


def same(first: dict[str, object], second: dict[str, object]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) if isinstance(value, Tensor) else value == second[name]
        for name, value in first.items()
    )
