"""Table 5: clean-label, input-aware, WaNet and label-smoothed attacks.

Attacks that fail (ASR below 80 %) are shown but not judged. See `common.py` for the command line.
"""

from __future__ import annotations

from typing import Any

from benchmarks.paper.common import cards, judged, mean, options, share, show
from benchmarks.paper.published import ADVANCED


def main() -> None:
    chosen = options(__doc__)
    hits: dict[str, list[bool]] = {}
    for result in judged(chosen, "advanced").results:
        if result.detector == chosen.detectors[0]:
            right = result.flagged and result.located
            hits.setdefault(result.attack, []).append(right if result.backdoored else result.flagged)
    found: dict[str, list[dict[str, Any]]] = {}
    for card in cards(chosen, "advanced"):
        found.setdefault(card["attack"], []).append(card)
    rows: list[tuple[Any, ...]] = []
    for attack, members in sorted(found.items()):
        _, acc, asr, detected = ADVANCED.get(attack, (None, None, None, None))
        rows.append(
            (
                attack,
                len(members),
                mean(100 * card["accuracy"] for card in members),
                acc,
                mean(100 * card["asr"] for card in members if card["asr"] is not None),
                asr,
                share(hits.get(attack, [])),
                detected,
            )
        )
    headings = (
        "attack",
        "n",
        "ACC %",
        "the paper's ACC",
        "ASR %",
        "the paper's ASR",
        "flagged (backdoored: right target)",
        "the paper's right",
    )
    show("Table 5: advanced attacks", headings, rows, chosen)


if __name__ == "__main__":
    main()
