"""Table 1: detection accuracy on the classical attacks (clean: one minus the false-positive rate).

See `common.py` for the command line.
"""

from __future__ import annotations

from benchmarks.paper.common import options, show
from benchmarks.paper.ensembles import HEADINGS, accuracy
from benchmarks.paper.published import DETECTION


def main() -> None:
    chosen = options(__doc__)
    show("Table 1: detection accuracy; the paper's in %", HEADINGS, accuracy(chosen, DETECTION), chosen)


if __name__ == "__main__":
    main()
