"""Figure 5: p-values of clean models whose last class has more samples than the others.

The smallest count is the balanced baseline: what the test does without imbalance. See `common.py`
for the command line.
"""

from __future__ import annotations

from typing import Any

from benchmarks.paper.common import judged, options, share, show


def main() -> None:
    chosen = options(__doc__)
    found: dict[tuple[str, str], list[Any]] = {}
    for result in judged(chosen, "imbalance").results:
        found.setdefault((result.attack, result.detector), []).append(result)
    rows = []
    for (training, detector), results in found.items():
        p_values = " ".join(f"{result.p_value:.2g}" for result in results if result.p_value)
        rows.append((training, detector, p_values, share([result.flagged for result in results])))
    headings = ("training and samples of the last class", "detector", "p-values", "flagged")
    show("Figure 5: class imbalance (paper: false alarms once it is severe)", headings, rows, chosen)


if __name__ == "__main__":
    main()
