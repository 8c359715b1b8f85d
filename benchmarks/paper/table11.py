"""Table 11: MM-BD on every classical ensemble of CIFAR-100 and GTSRB.

See `common.py` for the command line.
"""

from __future__ import annotations

from benchmarks.paper.common import options, show
from benchmarks.paper.ensembles import HEADINGS, accuracy
from benchmarks.paper.published import COMPLETE


def main() -> None:
    chosen = options(__doc__)
    show("Table 11: complete results on CIFAR-100 and GTSRB", HEADINGS, accuracy(chosen, COMPLETE), chosen)


if __name__ == "__main__":
    main()
