"""Figure 4: the statistics of target classes under all-to-all attacks against clean classifiers'.

Every class of an all-to-all model is a target, every class of a clean one is not; a threshold on
the statistic alone separates them. See `common.py` for the command line.
"""

from __future__ import annotations

from benchmarks.paper.common import judged, options, show
from mmbd.evaluation.metrics import partial_auc

PAPER = 0.2470


def main() -> None:
    chosen = options(__doc__)
    values: dict[bool, list[float]] = {True: [], False: []}
    for result in judged(chosen, "all-to-all").results:
        if result.detector == chosen.detectors[0] and result.report is not None:
            values[result.backdoored] += [value for value in result.report.statistics if value is not None]
    if not (values[True] and values[False]):
        raise SystemExit("needs a clean model, and one whose all-to-all attack works")
    edges = sorted(values[False] + values[True])
    low, width = edges[0], (edges[-1] - edges[0]) / 10
    print("statistics, from .. to: target classes, other classes")
    for step in range(10):
        start, end = low + step * width, low + (step + 1) * width
        counts = [
            sum(start <= value < end or (step == 9 and value == end) for value in values[kind])
            for kind in (True, False)
        ]
        print(f"{start:8.1f} .. {end:8.1f}  {counts[0]:4} {counts[1]:4}")
    rows = [(len(values[True]), len(values[False]), partial_auc(values[True], values[False]), PAPER)]
    headings = ("target classes", "other classes", "partial AUC below FPR 0.25", "paper")
    show("Figure 4: all-to-all attacks; 0.25 is the most", headings, rows, chosen)


if __name__ == "__main__":
    main()
