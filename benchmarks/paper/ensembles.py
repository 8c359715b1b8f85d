"""Detection accuracy by data set and attack: what Tables 1 and 11 both show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.paper.common import Options, judged, share
from mmbd.evaluation.tables import Result

HEADINGS = ("data", "network", "ensemble", "detector", "right (n; 95 % interval)", "paper")


def right(result: Result) -> bool:
    """A clean model that is not flagged, or a backdoored one flagged with its target."""
    return result.flagged and result.located if result.backdoored else not result.flagged


def accuracy(chosen: Options, published: Mapping[str, Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """One row an ensemble: data, network, attack; ours, and the paper's where it has one."""
    found: dict[tuple[str, str, str, str], list[bool]] = {}
    for result in judged(chosen, "classical").results:
        data, _, network = result.group.partition(" ")
        key = (data, network, result.attack, result.detector)
        found.setdefault(key, []).append(right(result))
    return [
        (*key, share(hits), published.get(key[0], {}).get(key[2]))
        for key, hits in sorted(found.items())
        if key[0] in published
    ]
