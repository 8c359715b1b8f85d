"""What a race costs and what it loses: scans with many classes, with and without it.

    python -m benchmarks.race ZOO... [--counts 100,1000] [--out FILE.json]

ZOO are folders of `mmbd zoo make` with models of 13 classes or more. For every model: both p-values, whether
the three classes that lead are the same with the same numbers, and the gradient evaluations. The counts are
of linear networks of random pictures, 3 x 32 x 32, one a class.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

import mmbd
from mmbd.model.classifier import Classifier
from mmbd.search.race import Race
from mmbd.zoo.own import cards_in

LEADING = 3


def leading(report: mmbd.Report) -> list[tuple[int, float]]:
    """The classes that lead by what decides, and their numbers."""
    finding = report.finding
    column = finding.column(finding.ranked_by or "maximum margin")
    assert column is not None
    return [(label, float(column.values[label] or 0)) for label in finding.ranking[:LEADING]]


def compared(classifier: Classifier) -> dict[str, Any]:
    """One model, scanned with a race and without."""
    raced, whole = mmbd.scan(classifier), mmbd.scan(classifier, race=False)
    same = all(
        label == other and abs(value - number) <= 1e-4 * abs(number)
        for (label, value), (other, number) in zip(leading(raced), leading(whole), strict=True)
    )
    return {
        "classes": classifier.classes,
        "p-values": [raced.p_value, whole.p_value],
        "verdicts": [raced.verdict, whole.verdict],
        "leading classes alike": same,
        "evaluations": [one.finding.facts["evaluations"] for one in (raced, whole)],
    }


def pictures(classes: int) -> Classifier:
    """A linear network of random pictures."""
    weight = torch.randn(classes, 3072, generator=torch.Generator().manual_seed(0)) / 10
    return Classifier(lambda x: (x - 0.5).flatten(1) @ weight.T, input_shape=(3, 32, 32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("zoo", type=Path, nargs="*")
    parser.add_argument("--counts", default="10,43,100,1000")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for folder in chosen.zoo:
        for name, card in sorted(cards_in(folder).items()):
            classifier = mmbd.load(folder / card["file"]).classifier
            if classifier.classes >= Race().fewest:
                rows.append({"model": name, **compared(classifier)})
                print(rows[-1], flush=True)
    counts = {
        int(classes): mmbd.scan(pictures(int(classes))).finding.facts["evaluations"]
        for classes in chosen.counts.split(",")
    }
    print(counts)
    if chosen.out:
        found = {"rows": rows, "evaluations by classes": counts, "torch": torch.__version__}
        chosen.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
