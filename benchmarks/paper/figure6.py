"""Figure 6: the trigger of every attack, and an image with it.

Every row of `ATTACKS` that images can have attacks a small network on a few images, for its trigger
alone: nothing is claimed of the network. Options are the attacks' own, which are the paper's where it
states them. A trigger that hardly shows is drawn amplified, and its caption says how often: on grey
where it is the same for all images, on this image where it is not (warps, few levels, and triggers that
a network paints, which is trained here for a few steps only).

    python -m benchmarks.paper.figure6 IMAGES [--out FOLDER]

writes figure6.svg, figure6.png and figure6.json. IMAGES are labelled ones in any form that
`mmbd.data.read` takes.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from markupsafe import Markup
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mmbd import nets
from mmbd.attacks import ATTACKS, Trigger, Victim, Warp
from mmbd.attacks.networks import seeded
from mmbd.base.environment import environment
from mmbd.base.writing import write_text
from mmbd.data.dataset import Dataset
from mmbd.data.read import load
from mmbd.render import svg
from mmbd.render.pictures import picture
from mmbd.training.loop import Recipe
from mmbd.triggers.generated import Generated
from mmbd.triggers.painted import Painted
from mmbd.triggers.quantised import Quantised

OTHERS = ("sound", "points")  # attacks on what is no image
IMAGES, TARGET = 1000, 0
RECIPE = Recipe(epochs=1, batch=50, lr=1e-3)
LONGER = Recipe(epochs=6, batch=50, lr=1e-3)
# Painting networks need a while until they paint anything; a few in a thousand are none of a few images.
OWN = {
    "input-aware": (LONGER, {"width": 8, "mask_epochs": 6}),
    "lira": (LONGER, {"width": 8, "lr": 1e-3}),
    "adaptive-blend": (RECIPE, {"count": 3, "covers": 3}),
    "adaptive-patch": (RECIPE, {"count": 3, "covers": 3}),
}
OF_THE_IMAGE = (Warp, Quantised, Generated, Painted)  # triggers that change each image in its own way
SHOWN = 0.25  # a change as large as this needs no amplification
TILE, GAP, COLUMNS, TEXT = 96, 14, 7, 34
STYLE = "<style>text{font:11px sans-serif;fill:#222}image{image-rendering:pixelated}</style>"


@dataclass(frozen=True)
class Tile:
    """One attack: its trigger, drawn, and an image with it, (channels, height, width) from 0 to 1.

    `change` is the largest of a pixel of the image, `pixels` how many change.
    """

    name: str
    title: str
    trigger: Tensor
    image: Tensor
    factor: int = 1
    change: float = 0.0
    pixels: int = 0

    @property
    def amplified(self) -> str:
        return "" if self.factor == 1 else f"trigger x {self.factor}"


def tile(name: str, training: Dataset, image: Tensor, label: int, seed: int) -> Tile:
    """Let an attack make its trigger, and put it on an image of class `label`."""
    recipe, options = OWN.get(name, (RECIPE, {}))
    shape, classes = tuple(image.shape), len(training.names)
    with seeded("figure 6", seed):
        network = nets.build("cnn", classes=classes, input_shape=shape, widths=(8, 16), head="mean")
    sources = [source for source in range(classes) if source != TARGET]
    attack = ATTACKS[name]
    backdoor = attack(Victim(network, training, recipe, seed), sources=sources, target=TARGET, **options)
    return drawn(name, attack.title, backdoor.triggers[label], image)


def drawn(name: str, title: str, trigger: Trigger, image: Tensor) -> Tile:
    """What a trigger does to grey, or to the image where it depends on that, and the image with it."""
    own = isinstance(trigger, OF_THE_IMAGE)
    grey = torch.full_like(image, 0.5)
    change = _change(trigger, image if own else grey)
    largest = float(change.abs().max())
    factor = 1 if not 0 < largest < SHOWN else int(0.5 / largest)
    moved = _change(trigger, image)
    return Tile(
        name,
        title,
        (grey + factor * change).clamp(0, 1),
        image + moved,
        factor,
        float(moved.abs().max()),
        int((moved.abs().amax(0) > 0.5 / 255).sum()),
    )


def _change(trigger: Trigger, image: Tensor) -> Tensor:
    return trigger(image[None])[0] - image


def gallery(images: Dataset) -> list[Tile]:
    """The first image that is not of the target class: as it is, and with the trigger of every attack."""
    training = images.take(torch.arange(min(IMAGES, len(images))))
    place = int((images.labels != TARGET).nonzero()[0])
    image, label = images.inputs[place].float() / 255, int(images.labels[place])
    names = [name for name in ATTACKS if name not in OTHERS]
    clean = Tile("clean", "the image as it is", torch.full_like(image, 0.5), image)
    return [clean, *(tile(name, training, image, label, seed) for seed, name in enumerate(names))]


def places(count: int) -> tuple[int, int, list[tuple[int, int]]]:
    """The width and height of the picture, and the upper left corner of each tile."""
    high = 2 * TILE + 4 + TEXT + GAP
    rows = -(-count // COLUMNS)
    corners = [
        (GAP + (TILE + GAP) * (number % COLUMNS), GAP + high * (number // COLUMNS)) for number in range(count)
    ]
    return GAP + (TILE + GAP) * min(count, COLUMNS), GAP + high * rows, corners


def as_svg(tiles: Sequence[Tile]) -> str:
    """The gallery as one SVG: above each trigger, below the image with it."""
    width, height, corners = places(len(tiles))
    parts: list[Markup] = []
    for one, (x, y) in zip(tiles, corners, strict=True):
        for row, (what, shown) in enumerate((("trigger", one.trigger), ("image", one.image))):
            uri = picture(shown, (0, 1), one.title).uri
            told = f"{one.name}: {what}"
            top = y + row * (TILE + 4)
            parts.append(
                svg.element(
                    "image",
                    [svg.element("title", told)],
                    x=x,
                    y=top,
                    width=TILE,
                    height=TILE,
                    href=uri,
                    aria_label=told,
                )
            )
        foot = y + 2 * TILE + 4
        parts += [svg.text(x, foot + 14, one.name), svg.text(x, foot + 27, one.amplified)]
    title = "Figure 6: the triggers of the attacks, and an image with each"
    whole = str(svg.plot(width, height, title, parts))
    return whole.replace(">", f' xmlns="http://www.w3.org/2000/svg">{Markup(STYLE)}', 1)


def as_png(tiles: Sequence[Tile]) -> bytes:
    """The same as one PNG."""
    width, height, corners = places(len(tiles))
    page = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    for one, (x, y) in zip(tiles, corners, strict=True):
        for row, shown in enumerate((one.trigger, one.image)):
            pixels = (shown * 255).round().to(torch.uint8).expand(3, -1, -1).permute(1, 2, 0)
            drawn = Image.fromarray(pixels.contiguous().numpy())
            page.paste(drawn.resize((TILE, TILE), Image.Resampling.NEAREST), (x, y + row * (TILE + 4)))
        foot = y + 2 * TILE + 4
        pen.text((x, foot + 3), one.name, fill="#222", font=font)
        pen.text((x, foot + 16), one.amplified, fill="#222", font=font)
    file = io.BytesIO()
    page.save(file, "PNG", optimize=True)
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--out", type=Path, default=Path("figures"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    started = time.monotonic()
    tiles = gallery(load(options.images, size=(32, 32), limit=IMAGES))
    write_text(options.out / "figure6.svg", as_svg(tiles))
    (options.out / "figure6.png").write_bytes(as_png(tiles))
    rows = [
        {
            "attack": one.name,
            "what": one.title,
            "pixels changed": one.pixels,
            "largest change, of 255": round(255 * one.change, 1),
            "drawn times": one.factor,
        }
        for one in tiles
    ]
    content = {
        "title": "Figure 6: the triggers, and an image with each",
        "environment": dict(environment()),
        "seconds": round(time.monotonic() - started, 1),
        "rows": rows,
    }
    write_text(options.out / "figure6.json", json.dumps(content, indent=1) + "\n")
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
