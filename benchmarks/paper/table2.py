"""Table 2: seconds a model. The paper's are of an RTX 3090; compare detectors within one run.

See `common.py` for the command line.
"""

from __future__ import annotations

from statistics import fmean, stdev

from benchmarks.paper.common import judged, options, show
from benchmarks.paper.published import SECONDS


def main() -> None:
    chosen = options(__doc__)
    found: dict[tuple[str, str, str], list[float]] = {}
    for result in judged(chosen, "classical").results:
        if result.seconds is not None:
            data, _, network = result.group.partition(" ")
            found.setdefault((data, network, result.detector), []).append(result.seconds)
    rows = [
        (*key, len(values), fmean(values), stdev(values) if len(values) > 1 else None, SECONDS.get(key[0]))
        for key, values in sorted(found.items())
    ]
    headings = ("data", "network", "detector", "n", "seconds", "deviation", "paper (RTX 3090)")
    show("Table 2: execution times", headings, rows, chosen)


if __name__ == "__main__":
    main()
