"""Table 6: speech and point clouds, by the default null and with reference models.

Clean models of the first two seeds are judged like the attacked ones; the others are references for
both, and are judged by the default null only. See `common.py` for the command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.paper.common import cards, judged, mean, options, share, show
from benchmarks.paper.ensembles import right
from benchmarks.paper.published import DOMAINS
from mmbd.evaluation.tables import Result
from mmbd.null import References

NAMES = {"speech": "speech", "clouds": "point cloud"}
JUDGED = 2  # seeds of clean models
LEVEL = 0.05


def with_references(results: Sequence[Result]) -> dict[str, list[bool]]:
    """Whether the answers about one kind of data are right with references, by attack.

    Empty where there are too few references for the level.
    """
    theirs = [numbers(result) for result in results if is_reference(result)]
    found: dict[str, list[bool]] = {}
    for result in results:
        if is_reference(result) or not theirs:
            continue
        own = dict(enumerate(numbers(result)))
        names = tuple(map(str, own))
        given = References(tuple(theirs), "", names)
        compared = given.compare(own, names)
        if given.model_p_value(compared, "", LEVEL).p_value is None:
            continue
        targets = compared.exceeding(LEVEL)
        hit = bool(targets) and targets[0] in result.true_targets
        found.setdefault(result.attack, []).append(hit if result.backdoored else not targets)
    return found


def is_reference(result: Result) -> bool:
    return not result.backdoored and (result.seed or 0) >= JUDGED


def numbers(result: Result) -> tuple[float, ...]:
    """The statistics of all classes."""
    if result.report is None or None in result.report.statistics:
        raise SystemExit(f"{result.model}: a class has no statistic")
    return tuple(value for value in result.report.statistics if value is not None)


def main() -> None:
    chosen = options(__doc__)
    hits: dict[tuple[str, str], list[bool]] = {}
    by_data: dict[str, list[Result]] = {}
    for result in judged(chosen, "domains").results:
        if result.detector == chosen.detectors[0]:
            data = result.group.split()[0]
            hits.setdefault((data, result.attack), []).append(right(result))
            by_data.setdefault(data, []).append(result)
    compared = {data: with_references(results) for data, results in by_data.items()}
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for card in cards(chosen, "domains"):
        found.setdefault((card["data"], card["attack"]), []).append(card)
    rows: list[tuple[Any, ...]] = []
    for (data, attack), members in sorted(found.items()):
        kind = f"{NAMES[data]} {'clean' if attack == 'clean' else 'attacked'}"
        acc, asr, detected = DOMAINS[kind]
        rows.append(
            (
                kind,
                len(members),
                mean(100 * card["accuracy"] for card in members),
                acc,
                mean(100 * card["asr"] for card in members if card["asr"] is not None),
                asr,
                share(hits.get((data, attack), [])),
                share(compared.get(data, {}).get(attack, [])),
                detected,
            )
        )
    headings = (
        "models",
        "n",
        "ACC %",
        "the paper's ACC",
        "ASR %",
        "the paper's ASR",
        "right",
        "right with references",
        "the paper's right",
    )
    show("Table 6: speech and point clouds", headings, rows, chosen)


if __name__ == "__main__":
    main()
