"""Table 3: attack success and accuracy on CIFAR-10 after every mitigation, by ensemble.

All methods repair the same models: those of the plan `rivals`, on which the detectors are compared (at
the paper's scale `--plan classical`). See `common.py` for the command line; `mitigations.py` does the work
and keeps its results. "without trigger" is the share of the same samples that the repaired network takes
to the target when no trigger is on them: networks that are often wrong are sometimes wrong that way.
"fidelity" is TrojAI's figure, the share of the attack that is gone times that of the accuracy that is
kept, 0 to 1. WaNet is not in the paper's table.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from benchmarks.paper.common import Options, models, options, show
from benchmarks.paper.mitigations import measured
from benchmarks.paper.published import MITIGATION, MITIGATION_ENSEMBLES

Row = dict[str, Any]
METHODS = ("mm-bm", "mm-bm-paper", "fine-pruning", "distillation", "nc-m", "mm-bm-fine-pruning", "auto")
HEADINGS = (
    "method",
    "images a class",
    "ensemble",
    "n",
    "hardened",
    "ASR before",
    "ASR",
    "without trigger",
    "ACC before",
    "ACC",
    "drop",
    "fidelity",
    "the paper's ASR",
    "its ACC",
)
# The patterns that bounds are meant for; WaNet bends all of an image, the chessboard is all over it.
LOCAL = ("badnet", "unicolor", "1-pixel", "blend")


def rows_of(chosen: Options) -> list[Row]:
    """Every repair of every model of CIFAR-10 in the plan."""
    folder = models(chosen, chosen.plan)
    return measured(
        folder, chosen.data, METHODS, half=chosen.half, sets=("cifar10",), only_made=chosen.only_made
    )


def summary(label: str, method: str, rows: Sequence[Row]) -> list[Any]:
    """One line of the table."""
    asr = [[100 * row["attack_success"][place] for row in rows] for place in (0, 1)]
    acc = [[100 * row["accuracy"][place] for row in rows] for place in (0, 1)]
    theirs: tuple[float | None, float | None] = (None, None)
    if label in MITIGATION_ENSEMBLES and method in MITIGATION:
        place = MITIGATION_ENSEMBLES.index(label)
        theirs = (MITIGATION[method][1][place], MITIGATION[method][2][place])
    return [
        method,
        rows[0]["images_a_class"],
        label,
        len(rows),
        sum(map(hardened, rows)),
        fmean(asr[0]),
        _spread(asr[1]),
        fmean(100 * row["untriggered"][1] for row in rows),
        fmean(acc[0]),
        _spread(acc[1]),
        fmean(acc[0]) - fmean(acc[1]),
        fmean(row["fidelity"] for row in rows),
        *theirs,
    ]


def hardened(row: Row) -> bool:
    """Whether weights were hardened: by choice, or because that is the method."""
    return "hardening" in (row.get("chosen") or row["method"])


def _spread(values: Sequence[float]) -> str:
    deviation = f"±{stdev(values):.1f}" if len(values) > 1 else ""
    return f"{fmean(values):.1f}{deviation}"


def main() -> None:
    chosen = options(__doc__, plan="rivals")
    rows = [row for row in rows_of(chosen) if row["mitigated"]]
    table: list[list[Any]] = []
    for method in METHODS:
        mine = [row for row in rows if row["method"] == method]
        table += [
            summary(label, method, [row for row in mine if row["attack"] == label])
            for label in sorted({row["attack"] for row in mine})
        ]
        for name, some in (
            ("all", mine),
            ("local patches", [row for row in mine if row["attack"].rpartition("-")[0] in LOCAL]),
        ):
            if some:
                table.append(summary(name, method, some))
    show("Table 3: mitigation on CIFAR-10, in %; fidelity 0 to 1", HEADINGS, table, chosen)


if __name__ == "__main__":
    main()
