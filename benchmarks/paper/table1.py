"""Table 1: all detectors on the classical attacks; clean models right are one minus the false alarms.

See `common.py` for the command line and `rivals.py` for what counts. Every detector has a row with its
own threshold, and one with the threshold that suits these very models best, which flatters it. The
paper's row follows. Detectors are run on every model, so this takes hours: what is done is kept.
"""

from __future__ import annotations

from typing import Any

from benchmarks.paper import rivals
from benchmarks.paper.common import judged, options, share, show
from benchmarks.paper.published import RIVAL_ENSEMBLES, RIVALS


def main() -> None:
    chosen = options(__doc__, plan="rivals", detectors=rivals.ALL)
    results = judged(chosen, chosen.plan).results
    rows: list[tuple[Any, ...]] = []
    seen = {result.attack for result in results}
    attacks = [name for name in RIVAL_ENSEMBLES if name in seen]
    attacks += sorted(seen - set(attacks))
    for group in dict.fromkeys(result.group for result in results):
        some = rivals.by_detector([result for result in results if result.group == group])
        for name, answers in some.items():
            start, silent = (group, name), sum(not one.answered for one in answers)
            images = rivals.images_a_class(name)
            cells = _cells(answers, attacks, lambda one: one.right)
            rows.append((*start, "fixed", images, *cells, silent))
            threshold = rivals.tuned(answers)
            if threshold is not None:
                cells = _cells(answers, attacks, lambda one, at=threshold: one.right_above(at))
                rows.append((*start, "tuned here", images, *cells, silent))
            if name in RIVALS and group.startswith("cifar10 "):
                count, values = RIVALS[name]
                paper = dict(zip(RIVAL_ENSEMBLES, values, strict=True))
                rows.append((*start, "paper, %", count, *map(paper.get, attacks), None, None))
    headings = ("models", "detector", "threshold", "images a class", *attacks, "all attacks", "no answer")
    show("Table 1: models judged rightly, of how many (95 % interval)", headings, rows, chosen)


def _cells(answers: list[rivals.Judged], attacks: list[str], right: Any) -> list[str]:
    return [share(hits) for hits in rivals.rates(answers, attacks, right)]


if __name__ == "__main__":
    main()
