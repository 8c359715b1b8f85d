"""Figure 7: stem plots of MM-BM's bounds, from clean and from triggered samples.

Bounds of the first activation by Algorithm 1. "clean" keeps the answers on clean samples;
"backdoor" keeps the target on triggered ones as well. Where the second stand above the first, the
trigger needs activations that clean samples do without, so bounds stop it. The paper learns the
second from triggered samples alone; then bounds of zero do too, where they give the target always.
An SVG for each of BadNet-M and chessboard-M goes beside --out, or here. See `common.py` for the
command line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup

from benchmarks.paper.common import models, options, show
from benchmarks.paper.mitigations import IMAGES, defended, working
from mmbd.data.dataset import split
from mmbd.formats.load import load
from mmbd.mitigators.mm_bm_published import paper
from mmbd.model.forward import logits_of, scaled
from mmbd.model.samples import Samples, prepare
from mmbd.render import svg
from mmbd.triggers import files
from mmbd.triggers.trigger import stamp

WIDTH, HEIGHT, LEFT, FOOT = 720, 260, 50, 40
STYLE = """<style>
text{font:12px sans-serif;fill:#222}.clean{stroke:#1f6fb2;fill:#1f6fb2;stroke-width:2}
.backdoor{stroke:#c0392b;fill:#c0392b;stroke-width:2}.axis{stroke:#888}
</style>"""


def bounds(folder: Path, card: Any, root: Path) -> dict[str, list[float]]:
    """The bounds of the first activation by what they were learnt from."""
    classifier = load(folder / card["file"]).classifier
    backdoor = files.load(folder / card["trigger_file"])
    learn, _ = split(defended(card["settings"]["data"], root)[0], IMAGES["mm-bm-paper"], seed=card["seed"])
    clean = prepare(classifier, learn.inputs, learn.labels)
    target = card["targets"][0]
    sources = learn.take((learn.labels != target).nonzero().flatten())
    inputs = scaled(stamp(next(iter(backdoor.triggers.values())), sources.inputs))
    both = Samples(
        torch.cat((clean.inputs, inputs)),
        torch.cat((clean.labels, torch.full((len(inputs),), target))),
        torch.cat((clean.logits, logits_of(classifier, inputs))),
    )
    return {
        kind: list(paper(classifier, samples).record.layers[0]["upper"])
        for kind, samples in (("clean", clean), ("backdoor", both))
    }


def stems(title: str, found: dict[str, list[float]]) -> str:
    """A stem plot as one SVG."""
    top = max(max(values) for values in found.values()) or 1.0
    base = HEIGHT - FOOT
    count = len(next(iter(found.values())))
    gap = (WIDTH - 2 * LEFT) / count

    def height(value: float) -> float:
        return base - value / top * (base - 30)

    parts = [svg.line(LEFT, base, WIDTH - LEFT, base, "axis"), svg.text(LEFT, 18, title)]
    for place, (kind, values) in enumerate(found.items()):
        for channel, value in enumerate(values):
            x = LEFT + gap * (channel + 0.35 + 0.3 * place)
            parts += [svg.line(x, base, x, height(value), kind), svg.circle(x, height(value), kind, 3)]
        parts.append(svg.text(WIDTH - LEFT - 90, 18 + 16 * place, f"● {kind}", kind))
    parts += [
        svg.text(LEFT, HEIGHT - 12, f"channel, 0 to {count - 1}"),
        svg.text(4, height(top) + 4, f"{top:.2g}"),
    ]
    drawn = str(svg.plot(WIDTH, HEIGHT, title, parts))
    return drawn.replace(">", f' xmlns="http://www.w3.org/2000/svg">{Markup(STYLE)}', 1)


def main() -> None:
    chosen = options(__doc__)
    folder = models(chosen, "classical")
    place = Path() if chosen.out is None else chosen.out.parent
    table = []
    for attack in ("badnet-M", "chessboard-M"):
        card = working(folder, attack)
        found = bounds(folder, card, chosen.data)
        (place / f"figure7-{attack}.svg").write_text(stems(f"{card['name']}: bounds", found))
        needed = zip(found["clean"], found["backdoor"], strict=True)
        above = sum(backdoor > clean for clean, backdoor in needed)
        table += [
            (card["name"], kind, len(values), sum(values) / len(values), max(values), above)
            for kind, values in found.items()
        ]
    headings = ("model", "from samples", "channels", "mean", "largest", "backdoor above clean")
    show("Figure 7: bounds of the first activation", headings, table, chosen)


if __name__ == "__main__":
    main()
