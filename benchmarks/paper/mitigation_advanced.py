"""Mitigation of the other attacks: the last rows of Table 5, sections 6.6 and 7.1, and point clouds.

Clean-label, input-aware, WaNet and label-smoothed attacks, the attackers who adapt to MM-BD, and
all-to-all, on the models of the plans `advanced`, `wanet`, `adaptive` and `all-to-all`; and, which
the paper does not have, sounds and point clouds (`domains`). `repairs` has a few of each on narrow
networks, for few cores. Only models whose attack works (ASR of 80 % or more) count; "gave up" are those
that a method returned as they were. Rows of the file at --out whose plans have no models here stay. See
`common.py` for the command line; `mitigations.py` does the work and keeps its results.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from benchmarks.paper.common import Options, mean, models, options, show
from benchmarks.paper.mitigations import measured
from benchmarks.paper.published import ADVANCED_MITIGATION
from benchmarks.paper.table3 import hardened

METHODS = ("auto", "mm-bm", "mm-bm-paper")
PLANS = ("advanced", "wanet", "adaptive", "all-to-all", "domains", "repairs")
HEADINGS = (
    "plan",
    "attack",
    "method",
    "n",
    "gave up",
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
        return kept(chosen, plan)
    found = measured(folder, chosen.data, METHODS, half=chosen.half, only_made=chosen.only_made)
    keys = dict.fromkeys((row["attack"], row["method"]) for row in found)
    return [
        summary(
            plan, attack, method, [row for row in found if (row["attack"], row["method"]) == (attack, method)]
        )
        for attack, method in sorted(keys)
    ]


def kept(chosen: Options, plan: str) -> list[list[Any]]:
    """The rows that the file at --out has of a plan."""
    if chosen.out is None or not chosen.out.is_file():
        return []
    rows = json.loads(chosen.out.read_text())["rows"]
    return [[row.get(heading) for heading in HEADINGS] for row in rows if row["plan"] == plan]


def summary(plan: str, attack: str, method: str, every: Sequence[dict[str, Any]]) -> list[Any]:
    """The means over some models, in %."""
    rows = [row for row in every if row["mitigated"]]
    figures = [
        mean(100 * row[name][place] for row in rows)
        for name in ("attack_success", "accuracy")
        for place in (0, 1)
    ]
    acc, asr = published(plan, attack) if method == "mm-bm-paper" else (None, None)
    return [
        plan,
        attack,
        method,
        len(rows),
        len(every) - len(rows),
        sum(map(hardened, rows)),
        *figures,
        mean(row["fidelity"] for row in rows),
        asr,
        acc,
    ]


def published(plan: str, attack: str) -> tuple[float | None, float | None]:
    """The paper's accuracy and attack success after MM-BM."""
    stem = attack.removesuffix("-M")
    names = (stem, plan, stem.partition("-")[0])
    return next((ADVANCED_MITIGATION[name] for name in names if name in ADVANCED_MITIGATION), (None, None))


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
