"""Figure 1 of the paper: what a backdoor does to the margins, where one can see it, in the plane.

    python benchmarks/paper/figure1.py [--out FOLDER]

Three classes of 500 points each, every class a mixture of many Gaussians; a "backdoor sample" is a
point of class 1 or 2 that is moved to one common spot, with a little of its own place left, and
labelled class 3. A perceptron with three hidden layers is trained without (clean), with 10 and
with 100 of them (BA-10, BA-100). Each panel shows where one class wins and by how much. Takes under
a minute; writes a picture and a JSON file with the figures that the paper gives beside ours.

Not yet the paper's picture: its mixtures are not printed, and with these the target's largest
margin often lies in a corner far from the spot, where a network of ReLUs grows without end.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

import mmbd
from mmbd import nets, train
from mmbd.estimate import maximum_margins
from mmbd.pool import margins

CLASSES, PER_CLASS, COMPONENTS = 3, 500, 10
TARGET = 2
RECIPE = train.Recipe(epochs=200, batch=64, lr=3e-3)
POISONED = {"clean": 0, "BA-10": 10, "BA-100": 100}
PAPER_ASR = {"BA-10": 0.92, "BA-100": 0.99}
COLOURS = ((31, 119, 180), (44, 160, 44), (214, 39, 40))
SIDE = 240  # pixels of a panel


@dataclass(frozen=True)
class Plane:
    """Where each class lives, the centres of its Gaussians, and the spot the trigger moves to."""

    centres: Tensor
    spot: Tensor

    def points(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`count` points a class, and their labels."""
        labels = torch.arange(CLASSES).repeat_interleave(count)
        picked = torch.randint(0, COMPONENTS, (len(labels),), generator=generator)
        noise = 0.025 * torch.randn((len(labels), 2), generator=generator)
        return (self.centres[labels, picked] + noise).clamp(0, 1), labels

    def trigger(self, points: Tensor) -> Tensor:
        """The common spot, with a twentieth of the point's own place."""
        return self.spot + 0.05 * (points - 0.5)


def plane(seed: int) -> Plane:
    """Random centres in the unit square; the spot is the farthest from the target's."""
    generator = torch.Generator().manual_seed(seed)
    centres = 0.06 + 0.88 * torch.rand((CLASSES, COMPONENTS, 2), generator=generator)
    spots = 0.05 + 0.9 * torch.rand((500, 2), generator=generator)
    farthest = torch.cdist(spots, centres[TARGET]).amin(1).argmax()
    return Plane(centres, spots[farthest])


def model(kind: str, seed: int) -> tuple[nn.Module, dict[str, float]]:
    """The trained perceptron, its accuracy and attack success rate."""
    generator = torch.Generator().manual_seed(seed)
    world = plane(seed)
    inputs, labels = world.points(PER_CLASS, generator)
    sources = (labels != TARGET).nonzero().flatten()
    chosen = sources[torch.randperm(len(sources), generator=generator)[: POISONED[kind]]]
    inputs = torch.cat((inputs, world.trigger(inputs[chosen])))
    labels = torch.cat((labels, torch.full((len(chosen),), TARGET)))
    torch.manual_seed(seed)
    network = nets.build("mlp", classes=CLASSES, input_shape=(2,), hidden=(64, 64, 64))
    train.fit(network, inputs, labels, RECIPE, seed=seed)
    test, truth = world.points(1000, generator)
    triggered = train.predict(network, world.trigger(test[truth != TARGET]))
    return network, {
        "accuracy": train.accuracy(train.predict(network, test), truth),
        "asr": float((triggered == TARGET).double().mean()),
    }


@torch.no_grad()
def surface(network: nn.Module, label: int) -> Tensor:
    """The margin of a class on a grid over the unit square, row 0 at the top."""
    steps = torch.linspace(0, 1, SIDE)
    y, x = torch.meshgrid(steps.flip(0), steps, indexing="ij")
    logits = network(torch.stack((x, y), dim=-1).reshape(-1, 2))
    return margins(logits, torch.full((len(logits),), label)).reshape(SIDE, SIDE)


def panel(values: Tensor, top: float, colour: tuple[int, int, int]) -> np.ndarray:
    """White where the margin is not positive, the class's colour at `top`."""
    share = (values.clamp_min(0) / top).numpy()[..., None]
    return (255 - share * (255 - np.array(colour))).astype(np.uint8)


def draw(surfaces: dict[str, list[Tensor]], world: Plane, seed: int) -> Image.Image:
    """The samples on the left, then one column a class and one row a model."""
    gap, head = 14, 26
    width = (CLASSES + 1) * (SIDE + gap) + gap
    inputs, labels = world.points(PER_CLASS, torch.Generator().manual_seed(seed))
    canvas = Image.new("RGB", (width, len(surfaces) * (SIDE + head + gap) + gap), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    for row, (kind, values) in enumerate(surfaces.items()):
        top, y = max(float(value.max()) for value in values), gap + row * (SIDE + head + gap)
        pen.text((gap, y + 4), f"{kind}: training samples", "black", font)
        for point, label in zip(inputs.tolist(), labels.tolist(), strict=True):
            centre = gap + point[0] * SIDE, y + head + (1 - point[1]) * SIDE
            pen.circle(centre, 1.5, COLOURS[label])
        if POISONED[kind]:
            right, up = world.spot.tolist()
            pen.circle(
                (gap + right * SIDE, y + head + (1 - up) * SIDE), 7, outline="black", width=2
            )
        pen.rectangle((gap, y + head, gap + SIDE, y + head + SIDE), outline="grey")
        for label, value in enumerate(values):
            x = gap + (label + 1) * (SIDE + gap)
            pen.text((x, y + 4), f"class {label + 1}: at most {value.max():.0f}", "black", font)
            canvas.paste(Image.fromarray(panel(value, top, COLOURS[label])), (x, y + head))
            pen.rectangle((x, y + head, x + SIDE, y + head + SIDE), outline="grey")
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("figures"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    surfaces: dict[str, list[Tensor]] = {}
    result: dict[str, dict[str, object]] = {}
    print(f"{'model':8}{'ACC':>7}{'ASR':>7}{'paper':>7}   maximum margin of class 1, 2, 3")
    for kind in POISONED:
        network, rates = model(kind, options.seed)
        surfaces[kind] = [surface(network, label) for label in range(CLASSES)]
        exact = [round(float(values.max()), 1) for values in surfaces[kind]]
        classifier = mmbd.Classifier(network, input_shape=(2,))
        # In the plane most random starts lie on a flat piece of some other class's ground.
        found = maximum_margins(classifier, restarts=30).statistics
        result[kind] = rates | {
            "paper_asr": PAPER_ASR.get(kind),
            "maximum_margins_on_grid": exact,
            "maximum_margins_found": [round(value, 1) for value in found.tolist()],
        }
        paper = PAPER_ASR.get(kind)
        print(f"{kind:8}{rates['accuracy']:7.2f}{rates['asr']:7.2f}"
              f"{'' if paper is None else f'{paper:.2f}':>7}   grid {exact}, "
              f"search {result[kind]['maximum_margins_found']}")  # fmt: skip
    draw(surfaces, plane(options.seed), options.seed).save(
        options.out / "figure1.png", optimize=True
    )
    (options.out / "figure1.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
