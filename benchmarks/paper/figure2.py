"""Figure 2: MM-BM's attack success and seconds against the number of clean images a class.

On the ensembles of the paper's figure; see `common.py` for the command line.
"""

from __future__ import annotations

from statistics import fmean

from benchmarks.paper.common import models, options, show
from benchmarks.paper.mitigations import measured

ENSEMBLES = ("badnet-M", "unicolor-S", "blend-M")  # the paper's third is blend-S
IMAGES = (10, 20, 50)
METHODS = ("mm-bm", "mm-bm-paper")


def main() -> None:
    chosen = options(__doc__)
    folder = models(chosen, "classical")
    table = []
    for images in IMAGES:
        rows = measured(
            folder,
            chosen.data,
            METHODS,
            half=chosen.half,
            images=images,
            attacks=ENSEMBLES,
            sets=("cifar10",),
            only_made=chosen.only_made,
        )
        for method in METHODS:
            for label in ENSEMBLES:
                mine = [r for r in rows if (r["method"], r["attack"]) == (method, label)]
                if mine:
                    table.append(
                        (
                            method,
                            label,
                            images,
                            len(mine),
                            100 * fmean(row["attack_success"][1] for row in mine),
                            100 * fmean(row["accuracy"][0] - row["accuracy"][1] for row in mine),
                            fmean(row["seconds"] for row in mine),
                        )
                    )
    headings = ("method", "ensemble", "images a class", "n", "ASR", "drop of ACC", "seconds")
    show("Figure 2: the number of clean images", headings, table, chosen)


if __name__ == "__main__":
    main()
