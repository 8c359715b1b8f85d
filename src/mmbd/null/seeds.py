"""One verdict from the same test with several random seeds, at the level that was asked for.

The p-values of one model under different seeds depend on each other in ways nobody knows. The k-th
smallest of m, times m / k, is a p-value whatever they have in common (Rueger 1978). With k the
smallest majority, a model is called backdoored where most seeds say so, and a little more clearly
than one alone has to; two seeds have to agree. Tests by a threshold vote: the majority decides.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from mmbd.results.finding import Finding, Test


def majority(count: int) -> int:
    """The smallest number that is more than half of `count`."""
    return count // 2 + 1


def pooled(findings: Sequence[Finding], level: float) -> tuple[int, Finding]:
    """The place of the seed that decides, and its finding with the p-value of all of them.

    A seed that could not be judged counts as a p-value of 1; unless the others suffice for
    "backdoored", the model is then not evaluable.

    Args:
        findings: of one detector on the same model, one a seed.
        level: reject at p <= level.
    """
    if len(findings) == 1:
        return 0, findings[0]
    count, rank = len(findings), majority(len(findings))
    values = [_suspicion(finding) for finding in findings]
    place = sorted(range(count), key=lambda seed: (values[seed], seed))[rank - 1]
    decisive, factor = findings[place], count / rank
    by_p_value = decisive.test is not None and decisive.test.p_value is not None
    together = min(1.0, values[place] * factor) if by_p_value else values[place]
    unjudged = next((one for one in findings if one.verdict == "not evaluable"), None)
    if together <= level and decisive.verdict == "backdoored":
        votes = Counter(label for one in findings for label in one.targets)
        named = tuple(label for label in decisive.targets if votes[label] >= rank)
        return place, _with(decisive, together, factor, targets=named or decisive.targets, flagged=True)
    if unjudged is not None:
        return findings.index(unjudged), unjudged
    return place, _with(decisive, together, factor, targets=(), flagged=False)


def _suspicion(finding: Finding) -> float:
    """The p-value that decides, 1 without a verdict; by a threshold 0 where it was exceeded, else 1."""
    if finding.verdict == "not evaluable":
        return 1.0
    if finding.test is not None and finding.test.p_value is not None:
        return finding.test.p_value
    return 0.0 if finding.verdict == "backdoored" else 1.0


def _with(one: Finding, value: float, factor: float, *, targets: tuple[int, ...], flagged: bool) -> Finding:
    tests = tuple(
        replace(
            test,
            p_value=value,
            log10=min(0.0, _log10(test) + math.log10(factor)),
            parameters={**test.parameters, "seeds_factor": factor},
        )
        if test.name == one.decided_by and test.p_value is not None
        else test
        for test in one.tests
    )
    made = replace(
        one, verdict="backdoored" if flagged else "clean", reason=None, targets=targets, tests=tests
    )
    before = None if one.test is None else one.test.log10
    if before is None or made.test is None or made.test.log10 is None or one.score != -before:
        return made  # a score of the detector's own
    return replace(made, score=-made.test.log10)


def _log10(test: Test) -> float:
    if test.log10 is not None:
        return test.log10
    return math.log10(max(test.p_value or 1.0, 1e-300))
