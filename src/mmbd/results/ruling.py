"""What a policy says of one scanned model: passed, accepted by an exception, or rejected, and why.

A ruling changes no finding. A backdoored model that an exception accepts stays backdoored in every output,
and the exception's reason and date stand beside it. What follows the ruling is the exit code, and whether an
output counts the model as a failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mmbd.results.finding import Verdict

State = Literal["passed", "accepted", "rejected"]


@dataclass(frozen=True)
class PolicyException:
    """What a policy accepts of one model although a scan does not, and until when.

    Args:
        sha256: the model's digest, see `ModelInfo.digest`.
        reason: why, in the words of whoever answers for it.
        expires: the last day on which it holds, in UTC, as YYYY-MM-DD.
        verdict: the one verdict that it is about; None for any, and for objections of the policy.
    """

    sha256: str
    reason: str
    expires: str
    verdict: Verdict | None = None

    def expired(self, day: str) -> bool:
        """Whether it no longer holds on this day, given as YYYY-MM-DD."""
        return day > self.expires


@dataclass(frozen=True)
class Ruling:
    """What a policy says of a scan.

    Args:
        policy: the policy's file, as it was given.
        sha256: of that file.
        day: in UTC, on which the policy was applied, as YYYY-MM-DD.
        state: "passed" (clean, and nothing speaks against it), "accepted" (by the exception) or "rejected".
        objections: what the policy has against a model beside the scan's verdict, in sentences.
        notes: what was looked at, what could not be, and exceptions that do not count, in sentences.
        exception: the one that accepts the model; None where none does.

    Raises:
        ValueError: parts that contradict each other.
    """

    policy: str
    sha256: str
    day: str
    state: State
    objections: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    exception: PolicyException | None = None

    def __post_init__(self) -> None:
        if self.state not in get_args(State):
            raise ValueError(f"the ruling is {self.state!r}, expected one of {get_args(State)}")
        if (self.state == "accepted") != (self.exception is not None):
            raise ValueError(f"the ruling is {self.state!r} with the exception {self.exception}")
        if self.exception is not None and self.exception.expired(self.day):
            raise ValueError(f"the exception expired on {self.exception.expires}, and it was {self.day}")
        if self.state == "passed" and self.objections:
            raise ValueError(f"the ruling is 'passed' with objections {list(self.objections)[:3]}")

    def check(self, code: int) -> None:
        """ValueError unless it fits a scan that ended with this exit code."""
        if self.state == "passed" and code:
            raise ValueError(f"the ruling is 'passed' of a scan that ended with {code}")

    def exit_code(self, code: int) -> int:
        """What a scan's own exit code becomes: 0 where accepted, 3 where clean and all the same rejected."""
        if self.state == "accepted":
            return 0
        return 3 if self.state == "rejected" and code == 0 else code

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Ruling:
        """From its JSON form, which the schema of reports has checked; ValueError for contradictions."""
        known = raw["exception"]
        return cls(
            **{name: raw[name] for name in ("policy", "sha256", "day", "state")},
            objections=tuple(raw["objections"]),
            notes=tuple(raw["notes"]),
            exception=None if known is None else PolicyException(**known),
        )
