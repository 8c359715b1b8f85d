"""Figure 9: what maximising does to all logits, and why the margin and not the logit alone.

(a) The logits of a backdoored and of a clean classifier where the target's logit alone is
maximised: the backdoor lifts the target and holds all others down. (b) The statistics of a clean
classifier by either objective: with the logit alone, close classes stand out. From the classical
models; see `common.py` for the command line.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.paper.common import models, options, pick, show
from mmbd.model.classifier import Classifier
from mmbd.search.maximum_margins import maximum_margins
from mmbd.zoo.read import read


class LogitAlone(nn.Module):
    """The margin of class c is the logit c itself: its only rival is a constant far below."""

    def __init__(self, classifier: Classifier, label: int) -> None:
        super().__init__()
        self.classifier, self.label = classifier, label

    def forward(self, x: Tensor) -> Tensor:
        logit = self.classifier(x)[:, self.label]
        return torch.stack((logit, torch.zeros_like(logit)), dim=1)


def highest_logit(classifier: Classifier, label: int) -> tuple[float, Tensor]:
    """The largest logit that the fast search finds for a class, and all logits there."""
    alone = Classifier(LogitAlone(classifier, label), domain=classifier.domain)
    with classifier.frozen():
        found = maximum_margins(alone, classes=[0])
        with torch.no_grad():
            logits = classifier(found.inputs[0][None])[0]
    return float(found.statistics[0]), logits


def main() -> None:
    chosen = options(__doc__)
    entries = read(models(chosen, "classical")).entries
    usable = [entry for entry in entries if entry.excluded is None]
    attacked = pick(usable, "1-pixel-M", lambda entry: entry.attack == "1-pixel-M")
    clean = pick(
        usable,
        f"clean in {attacked.group}",
        lambda entry: entry.label == "clean" and entry.group == attacked.group,
    )
    target = attacked.targets[0]
    opened = {"backdoored": attacked.open(), "clean": clean.open()}
    rows = []
    for kind, classifier in opened.items():
        _, logits = highest_logit(classifier, target)
        others = torch.cat((logits[:target], logits[target + 1 :]))
        rows.append((f"(a) {kind}", float(logits[target]), float(others.max()), float(others.mean()), None))
    margins = maximum_margins(opened["clean"]).statistics.tolist()
    logits = [highest_logit(opened["clean"], c)[0] for c in range(opened["clean"].classes)]
    for objective, values in (("margin", margins), ("logit", logits)):
        ordered = sorted(values, reverse=True)
        rows.append(
            (
                f"(b) clean, by {objective}",
                ordered[0],
                ordered[1],
                sum(values) / len(values),
                ordered[0] / ordered[1],
            )
        )
    headings = ("case", "target / largest", "largest other", "mean (of others)", "ratio")
    show(f"Figure 9: {attacked.name}, {clean.name}, class {target}", headings, rows, chosen)


if __name__ == "__main__":
    main()
