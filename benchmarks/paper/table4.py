"""Table 4: seconds of each mitigation, and relative to MM-BM's on the same models.

See `common.py` for the command line. Unlearning is given the true trigger, so the time of finding
one is not in its figure.
"""

from __future__ import annotations

from statistics import fmean

from benchmarks.paper.common import options, show
from benchmarks.paper.mitigations import IMAGES
from benchmarks.paper.published import MITIGATION_SECONDS
from benchmarks.paper.table3 import rows_of


def main() -> None:
    chosen = options(__doc__)
    times: dict[str, dict[str, float]] = {method: {} for method in IMAGES}
    for row in rows_of(chosen):
        times[row["method"]][row["model"]] = row["seconds"]
    own = times["mm-bm"]
    table = []
    for method, mine in times.items():
        shared = sorted(mine.keys() & own.keys())
        if shared:
            seconds = fmean(mine[model] for model in shared)
            ratio = seconds / fmean(own[model] for model in shared)
            table.append(
                (method, IMAGES[method], len(shared), seconds, ratio, MITIGATION_SECONDS.get(method))
            )
    headings = ("method", "images a class", "n", "seconds", "over mm-bm", "the paper's seconds")
    show("Table 4: seconds of a repair", headings, table, chosen)


if __name__ == "__main__":
    main()
