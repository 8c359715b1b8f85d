"""Table 6: speech and point clouds.

See `common.py` for the command line.
"""

from __future__ import annotations

from typing import Any

from common import cards, judged, mean, options, share, show
from ensembles import right
from published import DOMAINS

NAMES = {"speech": "speech", "clouds": "point cloud"}


def main() -> None:
    chosen = options(__doc__)
    hits: dict[tuple[str, str], list[bool]] = {}
    for result in judged(chosen, "domains").results:
        if result.detector == chosen.detectors[0]:
            data = result.group.split()[0]
            hits.setdefault((data, result.attack), []).append(right(result))
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for card in cards(chosen, "domains"):
        found.setdefault((card["data"], card["attack"]), []).append(card)
    rows: list[tuple[Any, ...]] = []
    for (data, attack), members in sorted(found.items()):
        kind = f"{NAMES[data]} {'clean' if attack == 'clean' else 'attacked'}"
        acc, asr, detected = DOMAINS[kind]
        rows.append((
            kind, len(members), mean(100 * card["accuracy"] for card in members), acc,
            mean(100 * card["asr"] for card in members if card["asr"] is not None), asr,
            share(hits.get((data, attack), [])), detected,
        ))  # fmt: skip
    headings = ("models", "n", "ACC %", "the paper's ACC", "ASR %", "the paper's ASR", "right",
                "the paper's right")  # fmt: skip
    show("Table 6: speech and point clouds", headings, rows, chosen)


if __name__ == "__main__":
    main()
