"""Table 2: seconds a model. The paper's are of an RTX 3090; compare detectors within one run.

Gradient evaluations (of one image each) do not depend on the machine; `times mm-bd` is the median
over models of both detectors' seconds in this run. Medians, as a machine may be busy or stand still.

See `common.py` for the command line.
"""

from __future__ import annotations

from statistics import fmean, median

from benchmarks.paper import rivals
from benchmarks.paper.common import judged, options, show
from benchmarks.paper.published import SECONDS


def main() -> None:
    chosen = options(__doc__, plan="rivals", detectors=rivals.ALL)
    results = judged(chosen, chosen.plan).results
    rows = []
    for group in dict.fromkeys(result.group for result in results):
        members = [result for result in results if result.group == group]
        ours = {one.model: one.seconds for one in members if one.detector == "mm-bd" and one.seconds}
        for name in dict.fromkeys(result.detector for result in members):
            answers = [one for one in members if one.detector == name and one.seconds is not None]
            if not answers:
                continue
            seconds = [one.seconds for one in answers if one.seconds is not None]
            ratios = [one.seconds / ours[one.model] for one in answers if one.seconds and one.model in ours]
            spent = [rivals.judged(one).evaluations for one in answers]
            known = [value for value in spent if value is not None]
            rows.append(
                (
                    group,
                    name,
                    len(seconds),
                    median(seconds),
                    min(seconds),
                    median(ratios) if ratios else None,
                    round(fmean(known)) if known else None,
                    SECONDS.get(name, {}).get(group.partition(" ")[0]),
                )
            )
    headings = (
        "models",
        "detector",
        "n",
        "seconds (median)",
        "least",
        "times mm-bd",
        "gradient evaluations",
        "paper (RTX 3090)",
    )
    show("Table 2: execution times", headings, rows, chosen)


if __name__ == "__main__":
    main()
