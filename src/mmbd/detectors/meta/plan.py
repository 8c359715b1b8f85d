"""What shadow models are: their network, how they train, and what they are kept by in a store."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from mmbd import nets
from mmbd.base.seeds import generator_for
from mmbd.formats.networks.architecture import label
from mmbd.results import identity
from mmbd.training.loop import Recipe

VERSION = 1  # raised when shadow models would come out otherwise; part of what stored ones are known by
METHOD = "meta shadow"
Kind = Literal["clean", "jumbo"]
Arch = str | Callable[..., nn.Module]

# The shadow network of the authors' script for CIFAR-10: two convolutions of 32 and two of 64
# channels with a pool after each two, then 256, 256 (dropout 0.5 after each) and the logits.
PAPER: tuple[str, Mapping[str, Any]] = (
    "cnn",
    {
        "widths": (32, 64),
        "depth": 2,
        "hidden": (256, 256),
        "head": "flat",
        "dropout": 0.5,
        "normalisation": "none",
    },
)
# The authors' script: Adam with 1e-3 throughout, batches of 100, 100 epochs, in float32. Own choice:
# 30 epochs, and bfloat16 where the processor computes in it, which is several times as fast.
RECIPE = Recipe(epochs=30, batch=100, lr=1e-3, schedule="constant", precision="bfloat16")


@dataclass(frozen=True)
class Plan:
    """How the shadow models of one data set are made.

    Args:
        input_shape: of one sample.
        classes: how many there are.
        arch: a name in `nets.ARCHITECTURES`, or a function that is called with classes= and
            input_shape= and returns a network for raw inputs.
        arguments: further ones of the architecture.
        recipe: how each is trained.
        seed: of everything.
        device: where they are trained.

    Raises:
        ValueError: the architecture cannot be made for such inputs.
    """

    input_shape: tuple[int, ...]
    classes: int
    arch: Arch = PAPER[0]
    arguments: Mapping[str, Any] = field(default_factory=lambda: PAPER[1])
    recipe: Recipe = RECIPE
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        self.template()

    @property
    def name(self) -> str:
        """The architecture as one writes it."""
        return label(self.arch, self.arguments)

    def network(self, seed: int) -> nn.Module:
        """A network on the CPU with random weights of that seed; torch's own generator is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if isinstance(self.arch, str):
                return nets.build(
                    self.arch, classes=self.classes, input_shape=self.input_shape, **self.arguments
                )
            return self.arch(classes=self.classes, input_shape=self.input_shape, **self.arguments)

    def template(self) -> nn.Module:
        """A network to put weights into: in eval mode, without gradients of its own weights."""
        return self.network(0).eval().requires_grad_(False)

    def draw(self, kind: Kind, number: int) -> int:
        """The seed of one shadow model."""
        return int(
            torch.randint(1 << 62, (), generator=generator_for("meta shadow", self.seed, kind, number))
        )

    def target(self, kind: Kind, number: int) -> int:
        """The class that the backdoor of one shadow model leads to, uniform over all."""
        generator = generator_for("meta target", self.seed, kind, number)
        return int(torch.randint(self.classes, (), generator=generator))

    def settings(self, kind: Kind, number: int) -> str | None:
        """All that a shadow model depends on but the data and the seed, as canonical JSON.

        None for a function of one's own that has no name by which it is known elsewhere.
        """
        arch = self.arch if isinstance(self.arch, str) else identity.function(self.arch)
        if arch is None:
            return None
        said = {
            "arch": arch,
            "arguments": dict(self.arguments),
            "classes": self.classes,
            "recipe": asdict(self.recipe),
            "kind": kind,
            "number": number,
        }
        return json.dumps(said, sort_keys=True)


def bounds_of(shape: tuple[int, ...]) -> tuple[float, float]:
    """The lowest and the highest sample of such a shape: sounds are in [-1, 1], all others in [0, 1]."""
    return (-1.0, 1.0) if len(shape) == 2 else (0.0, 1.0)
