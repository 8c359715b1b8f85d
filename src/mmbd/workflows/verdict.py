"""Whether a backdoor is reduced: a word, and the evidence for it.

`reduced` is said only where something was reached before that is not reached after: by the trigger, where it
is known, or by the search for one (`search.still_reached`), on samples that the repair did not see, with
nothing else reached afterwards. `failed` is said where something still works, or the repair left nothing of
the network. Everything in between is `not shown`. The limits are own choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mmbd.base.intervals import clopper_pearson
from mmbd.search.perturbations import KINDS
from mmbd.search.still_reached import GIVES_WAY, Reach
from mmbd.workflows.triggered import Counted

Word = Literal["reduced", "not shown", "failed"]
LEFT = 0.2  # of the attack, or of the samples: more is never reduced
LEAST_KEPT = 0.9  # of the accuracy: a network that knows nothing any more has no backdoor either


@dataclass(frozen=True)
class Verdict:
    """A word on a repair.

    Args:
        word: "reduced", "not shown" or "failed".
        because: the evidence, in sentences; one at least.
    """

    word: Word
    because: tuple[str, ...]


def noun(kind: str) -> str:
    """What a kind of change is called."""
    return "patch" if kind == "patch" else KINDS[kind].noun


def gone(row: Reach) -> bool:
    """Whether what gave way before no longer does.

    No more goes there than to any class at this size; and enough inputs were counted to say, by the upper end
    of an exact interval of 95 %, that less than half do.
    """
    if not row.gave_way or row.after > max(LEFT, row.natural) or not row.counted:
        return False
    return clopper_pearson(round(row.after * row.counted), row.counted)[1] < GIVES_WAY


def works(row: Reach) -> bool:
    """Whether a class gives way after a repair, at a size that tells something."""
    return row.stands_out and row.after >= GIVES_WAY


def verdict_of(
    *,
    changed: bool,
    reason: str | None = None,
    reached: Sequence[Reach] = (),
    not_searched: str | None = None,
    success: Counted | None = None,
    accuracy: tuple[float, float] | None = None,
    unmeasured: str | None = None,
) -> Verdict:
    """The verdict on a repair.

    Args:
        changed: whether the classifier differs from the one given.
        reason: why it does not.
        reached: what the search reaches before and after.
        not_searched: why there was no search.
        success: of the trigger, where it is known.
        accuracy: on held-out samples, before and after.
        unmeasured: why all this is not enough to say that anything is reduced, if it is not.
    """
    found = _verdict(changed, reason, reached, not_searched, success, accuracy)
    if unmeasured is None or found.word == "failed":
        return found
    return Verdict("not shown", (unmeasured, *found.because))


def _verdict(
    changed: bool,
    reason: str | None,
    reached: Sequence[Reach],
    not_searched: str | None,
    success: Counted | None,
    accuracy: tuple[float, float] | None,
) -> Verdict:
    if not changed:
        return Verdict("failed", (f"nothing was repaired: {reason}",))
    if accuracy is not None and accuracy[1] < LEAST_KEPT * accuracy[0]:
        return Verdict("failed", (f"the accuracy fell from {accuracy[0]:.1%} to {accuracy[1]:.1%}",))
    trigger, trigger_says = _of_trigger(success)
    if trigger == "failed":
        return Verdict("failed", (trigger_says,))
    said = [trigger_says] if trigger_says else []
    if not_searched is not None:
        return Verdict("not shown", (*said, f"there was no search for what still works: {not_searched}"))
    left = [row for row in reached if works(row)]
    before = [row for row in reached if row.gave_way]
    stopped = [row for row in before if gone(row)]
    said += [_words(row) for row in (*left, *(row for row in before if row not in left))]
    if trigger is None:  # where many classes give way, the one that was stopped must not be among them
        targets = {row.target for row in stopped}
        hidden = [row for row in reached if row.target in targets and row.after >= GIVES_WAY]
        said += [_words(row) for row in hidden if row not in left]
        left = [*left, *(row for row in hidden if row not in left)]
    if left:
        shown = trigger == "reduced" or stopped
        return Verdict("not shown" if shown else "failed", tuple(said))
    if not before:
        said.append("the search reached no class before that would tell a backdoor from a clean network")
    if trigger == "reduced" or (trigger is None and before and len(stopped) == len(before)):
        return Verdict("reduced", tuple(said))
    return Verdict("not shown", tuple(said))


def _of_trigger(success: Counted | None) -> tuple[Word | None, str]:
    """What the trigger says, if it is known."""
    if success is None or not success.n:
        return None, ""
    before, after = success.shares
    said = f"the trigger took {before:.1%} of {success.n} samples before and takes {after:.1%} after"
    if after > LEFT * before and after > LEFT:
        return "failed", said
    if before < LEFT:
        return "not shown", f"{said}: it did not work before"
    if after > LEFT * before:
        return "not shown", f"{said}: more than {LEFT:.0%} of its success is left"
    if clopper_pearson(success.after, success.n)[1] > LEFT:
        return "not shown", f"{said}: too few samples to say that less than {LEFT:.0%} do"
    return "reduced", said


def _words(row: Reach) -> str:
    size = f" of size {row.size:g}" if row.kind == "patch" else ""
    return (
        f"a {noun(row.kind)}{size} found by search took {row.before:.0%} of other classes' samples to class "
        f"{row.target} before; the best one of the same size takes {row.after:.0%} of {row.counted} after"
    )
