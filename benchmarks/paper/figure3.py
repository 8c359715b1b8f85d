"""Figure 3 and section 6.6.2: the adaptive attacks, by the weight of the margin term.

See `common.py` for the command line.
"""

from __future__ import annotations

from typing import Any

from benchmarks.paper.common import cards, judged, mean, options, show

# In the text of section 6.6; eq. 14 comes with ACC 88.75 and ASR 96.04.
PAPER_P = {"beta-1e-4": "above 0.05", "stronger-1e-5": "0.34"}


def main() -> None:
    chosen = options(__doc__)
    every = cards(chosen, "adaptive")
    p_values: dict[str, list[float]] = {}
    ranks: dict[str, list[float]] = {}
    for result in judged(chosen, "adaptive").results:
        if result.detector == chosen.detectors[0] and result.p_value is not None:
            assert result.report is not None
            p_values.setdefault(result.attack, []).append(result.p_value)
            values = [value or 0.0 for value in result.report.statistics]
            target = values[result.true_targets[0]]
            others = [v for label, v in enumerate(values) if label not in result.true_targets]
            ranks.setdefault(result.attack, []).append(target / max(others))
    rows: list[tuple[Any, ...]] = []
    for attack in dict.fromkeys(card["attack"] for card in every):
        members = [card for card in every if card["attack"] == attack]
        rows.append(
            (
                attack,
                len(members),
                mean(100 * card["accuracy"] for card in members),
                mean(100 * card["asr"] for card in members if card["asr"] is not None),
                mean(ranks.get(attack, [])),
                " ".join(f"{p:.2g}" for p in p_values.get(attack, [])) or None,
                PAPER_P.get(attack),
            )
        )
    headings = ("attack", "n", "ACC %", "ASR %", "target / largest other", "p", "paper")
    show("Figure 3: adaptive attacks (beta-0 is fine-tuning alone)", headings, rows, chosen)


if __name__ == "__main__":
    main()
