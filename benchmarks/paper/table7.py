"""Table 7: true and false positives on CIFAR-10 at smaller levels.

A true positive needs the right target. See `common.py` for the command line.
"""

from __future__ import annotations

from benchmarks.paper.common import judged, options, share, show
from benchmarks.paper.published import LEVELS


def main() -> None:
    chosen = options(__doc__)
    results = [
        result
        for result in judged(chosen, "classical").results
        if result.group.split()[0].startswith("cifar10")
    ]
    rows = []
    for detector in chosen.detectors:
        for level, (fpr, tpr) in LEVELS.items():
            hits: dict[bool, list[bool]] = {True: [], False: []}
            for result in results:
                if result.detector == detector:
                    p = result.p_value
                    flagged = p is not None and p <= level
                    hits[result.backdoored].append(flagged and (result.located or not result.backdoored))
            rows.append((detector, level, share(hits[False]), fpr, share(hits[True]), tpr))
    headings = ("detector", "level", "FPR", "the paper's FPR %", "TPR", "the paper's TPR %")
    show("Table 7: levels on CIFAR-10", headings, rows, chosen)


if __name__ == "__main__":
    main()
