"""Table 4: seconds of each mitigation, on the same models in one run, and relative to MM-BM's.

See `common.py` for the command line. Unlearning is given the true trigger, so the time of finding
one is not in its figure.
"""

from __future__ import annotations

from statistics import fmean

from common import options, show
from mitigations import IMAGES
from published import MITIGATION_SECONDS
from table3 import rows_of


def main() -> None:
    chosen = options(__doc__)
    rows = rows_of(chosen)
    done = [{row["model"] for row in rows if row["method"] == method} for method in IMAGES]
    common = set.intersection(*done)
    times = {
        method: [row["seconds"] for row in rows
                 if row["method"] == method and row["model"] in common]
        for method in IMAGES
    }  # fmt: skip
    own = fmean(times["mm-bm"])
    table = [
        (method, IMAGES[method], len(values), fmean(values), fmean(values) / own,
         MITIGATION_SECONDS.get(method))
        for method, values in times.items()
    ]  # fmt: skip
    headings = ("method", "images a class", "n", "seconds", "over mm-bm", "the paper's seconds")
    show("Table 4: seconds of a repair", headings, table, chosen)


if __name__ == "__main__":
    main()
