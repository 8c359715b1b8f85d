"""Table 9: accuracy and attack success rate of every classical ensemble, before any detection.

See `common.py` for the command line.
"""

from __future__ import annotations

from typing import Any

from benchmarks.paper.common import cards, mean, options, show
from benchmarks.paper.published import ENSEMBLES


def main() -> None:
    chosen = options(__doc__)
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for card in cards(chosen, "classical"):
        found.setdefault((card["data"], card["arch"], card["attack"]), []).append(card)
    rows: list[tuple[Any, ...]] = []
    for (data, arch, attack), members in sorted(found.items()):
        count, asr, acc = ENSEMBLES.get(data, {}).get(attack, (None, None, None))
        success = mean(100 * card["asr"] for card in members if card["asr"] is not None)
        accuracy = mean(100 * card["accuracy"] for card in members)
        poisoned = members[0]["poisoned"]
        rows.append((data, arch, attack, len(members), poisoned, count, success, asr, accuracy, acc))
    headings = (
        "data",
        "network",
        "ensemble",
        "n",
        "poisoned",
        "the paper's",
        "ASR %",
        "the paper's ASR",
        "ACC %",
        "the paper's ACC",
    )
    show("Table 9: attacks and accuracies", headings, rows, chosen)


if __name__ == "__main__":
    main()
