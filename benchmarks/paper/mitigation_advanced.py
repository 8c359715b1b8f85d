"""Mitigation of the other attacks: the last rows of Table 5, sections 6.6 and 7.1.

Clean-label, input-aware, WaNet and label-smoothed attacks, the attackers who adapt to MM-BD, and
all-to-all, on the models of the plans `advanced`, `wanet`, `adaptive` and `all-to-all`; and, which
the paper does not have, sounds and point clouds (`domains`). Only models whose attack works (ASR of
80 % or more) count. See `common.py` for the command line; `mitigations.py` does the work and keeps
its results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.paper.common import Options, mean, models, options, show
from benchmarks.paper.mitigations import measured
from benchmarks.paper.published import ADVANCED_MITIGATION
from benchmarks.paper.table3 import hardened

METHODS = ("auto", "mm-bm", "mm-bm-paper")
PLANS = ("advanced", "wanet", "adaptive", "all-to-all", "domains")
HEADINGS = (
    "plan",
    "attack",
    "method",
    "n",
    "hardened",
    "ASR before",
    "ASR",
    "ACC before",
    "ACC",
    "fidelity",
    "the paper's ASR",
    "its ACC",
)


def rows_of(chosen: Options, plan: str) -> list[list[Any]]:
    """One line for each attack of a plan and each method."""
    folder = models(chosen, plan)
    if not folder.is_dir():
        return []
    found = measured(folder, chosen.data, METHODS, half=chosen.half, only_made=chosen.only_made)
    keys = dict.fromkeys((row["attack"], row["method"]) for row in found if row["mitigated"])
    return [
        summary(
            plan,
            attack,
            method,
            [row for row in found if (row["attack"], row["method"]) == (attack, method) and row["mitigated"]],
        )
        for attack, method in sorted(keys)
    ]


def summary(plan: str, attack: str, method: str, rows: Sequence[dict[str, Any]]) -> list[Any]:
    """The means over some models, in %."""
    figures = [
        mean(100 * row[name][place] for row in rows)
        for name in ("attack_success", "accuracy")
        for place in (0, 1)
    ]
    label = attack.removesuffix("-M") if plan in ("advanced", "wanet") else plan
    acc, asr = ADVANCED_MITIGATION.get(label, (None, None)) if method == "mm-bm-paper" else (None, None)
    return [
        plan,
        attack,
        method,
        len(rows),
        sum(map(hardened, rows)),
        *figures,
        mean(row["fidelity"] for row in rows),
        asr,
        acc,
    ]


def main() -> None:
    chosen = options(__doc__)
    table = [row for plan in PLANS for row in rows_of(chosen, plan)]
    show(
        "Mitigation of advanced, adaptive and all-to-all attacks, in %; fidelity 0 to 1",
        HEADINGS,
        table,
        chosen,
    )


if __name__ == "__main__":
    main()
