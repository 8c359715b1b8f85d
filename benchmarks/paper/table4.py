"""Table 4: seconds of each mitigation, and relative to MM-BM's on the same models.

See `common.py` for the command line; the models are Table 3's. Seconds are the processor's, of one
thread: other programs on the machine change them less than those on the clock. The trigger that NC-M
unlearns has to be found first, which is a column of its own: the paper's 40.7 s are less than the 308 s
of its Table 2 for finding it, so they are without.
"""

from __future__ import annotations

from statistics import fmean
from typing import Any

from benchmarks.paper.common import options, show
from benchmarks.paper.mitigations import IMAGES
from benchmarks.paper.published import MITIGATION_SECONDS
from benchmarks.paper.table3 import METHODS, rows_of

HEADINGS = (
    "method",
    "images a class",
    "n",
    "seconds",
    "over mm-bm",
    "seconds of finding the trigger",
    "the paper's seconds",
)


def main() -> None:
    chosen = options(__doc__, plan="rivals")
    found: dict[str, dict[str, dict[str, Any]]] = {method: {} for method in METHODS}
    for row in rows_of(chosen):
        found[row["method"]][row["model"]] = row
    own = found["mm-bm"]
    table = []
    for method, mine in found.items():
        shared = sorted(mine.keys() & own.keys())
        if shared:
            seconds = fmean(mine[model]["seconds"] for model in shared)
            ratio = seconds / fmean(own[model]["seconds"] for model in shared)
            finding = fmean(mine[model]["seconds_of_finding"] for model in shared)
            table.append(
                (
                    method,
                    IMAGES[method],
                    len(shared),
                    seconds,
                    ratio,
                    finding if method == "nc-m" else None,
                    MITIGATION_SECONDS.get(method),
                )
            )
    show("Table 4: seconds of a repair", HEADINGS, table, chosen)


if __name__ == "__main__":
    main()
