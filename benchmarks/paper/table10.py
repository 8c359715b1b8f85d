"""Table 10: MM-BM on the other data sets. See `common.py` for the command line."""

from __future__ import annotations

from statistics import fmean

from benchmarks.paper.common import models, options, show
from benchmarks.paper.mitigations import measured
from benchmarks.paper.published import MITIGATION_ELSEWHERE

METHODS = ("auto", "mm-bm", "mm-bm-paper")


def main() -> None:
    chosen = options(__doc__)
    rows = [
        row
        for row in measured(
            models(chosen, "classical"), chosen.data, METHODS, half=chosen.half, only_made=chosen.only_made
        )
        if row["data"] != "cifar10" and row["mitigated"]
    ]
    table = []
    for method in METHODS:
        for key in sorted({(row["data"], row["attack"]) for row in rows}):
            mine = [row for row in rows if (row["data"], row["attack"]) == key and row["method"] == method]
            if not mine:
                continue
            figures = [
                100 * fmean(row[name][place] for row in mine)
                for name in ("attack_success", "accuracy")
                for place in (0, 1)
            ]
            theirs = MITIGATION_ELSEWHERE.get(key) if method == "mm-bm-paper" else None
            table.append((method, *key, len(mine), *figures, *(theirs or (None,) * 4)))
    names = ("ASR before", "ASR", "ACC before", "ACC")
    headings = ("method", "data", "ensemble", "n", *names, *(f"the paper's {name}" for name in names))
    show("Table 10: MM-BM on other data sets, in %", headings, table, chosen)


if __name__ == "__main__":
    main()
