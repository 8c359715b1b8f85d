"""Whether the perturbations that a repair was tuned against say that a backdoor may be left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]  # of a record's perturbations

# The share of samples that a perturbation which still works takes to its class. Where hardening
# undid what bounds had left (of a chessboard), an added one still took 91 %; where bounds had
# undone a patch, up to 62 %. Flows took up to 24 % on networks without a warp, else 37 % and more.
ADDED_STILL_WORKS, FLOW_WORKS = 0.7, 0.3
# And what an added one took before: even a clean network yielded 54 % to the largest change tried,
# 74 % with bounds. Of networks with an added backdoor it was 88 % and more.
ADDED_WORKED = 0.7


def still_working(
    rows: Rows,
    *,
    added_still_works: float = ADDED_STILL_WORKS,
    flow_works: float = FLOW_WORKS,
    added_worked: float = ADDED_WORKED,
) -> Rows:
    """The rows whose perturbations still work: flows, and the added one that had worked best.

    Added ones to other classes say nothing of a backdoor, nor do sparse ones: bounds stop them, and
    a thirtieth of the pixels moves a clean network too.

    Args:
        rows: a record's perturbations.
        added_still_works: the share that the added one has to take after the repair.
        flow_works: the share that a flow has to take after the repair.
        added_worked: the share that the added one has to have taken before.
    """
    most = easiest_added(rows, added_worked)
    flows = [row for row in rows if row["kind"] == "flow" and row["after"] >= flow_works]
    return [*flows, *([most] if most is not None and most["after"] >= added_still_works else [])]


def easiest_added(rows: Rows, added_worked: float = ADDED_WORKED) -> Mapping[str, Any] | None:
    """The added perturbation that took most samples before, if they were many enough."""
    added = (row for row in rows if row["kind"] == "added")
    most = max(added, key=lambda row: row["before"], default=None)
    return most if most is not None and most["before"] >= added_worked else None


def judged(rows: Rows, **limits: float) -> tuple[Mapping[str, Any], ...]:
    """The rows, each saying as `still_works` whether its perturbation does, see `still_working`."""
    working = still_working(rows, **limits)
    return tuple({**row, "still_works": any(row is one for one in working)} for row in rows)
