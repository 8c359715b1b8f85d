"""`--policy`: what a policy settles, beside the flags that say the same things."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmbd.base.text import clean_text
from mmbd.cli import streams
from mmbd.cli.options import Usage

if TYPE_CHECKING:
    from mmbd.workflows.policy import Policy

LEVEL, DETECTOR = 0.05, "mm-bd"


def read(path: Path) -> Policy:
    """The policy, whose expired exceptions are told on standard error; BadPolicy (exit 4) if it is none."""
    from mmbd.workflows import policy as policies

    found = policies.read(path)
    for one in found.expired(policies.today()):
        streams.complain(
            f"{clean_text(path, 200)}: the exception for {one.sha256[:12]}... expired on {one.expires} and "
            f"accepts nothing any more: {one.reason}"
        )
    return found


def agreed(
    policy: Policy | None, *, detector: str | None, level: float | None, null: str | None
) -> tuple[str, float, str | None]:
    """Detector, level and null: the policy's, else those that were given, else the usual ones.

    Raises:
        Usage: something was given otherwise than the policy has it.
    """
    given: dict[str, Any] = {"detector": detector, "level": level, "null": null}
    if policy is not None:
        for name, value in given.items():
            settled = getattr(policy, name)
            if settled is not None and value is not None and value != settled:
                where = clean_text(policy.file, 200)
                raise Usage(f"--{name} {value}: the policy {where} says {settled}; leave the flag out")
            given[name] = value if settled is None else settled
    return given["detector"] or DETECTOR, LEVEL if given["level"] is None else given["level"], given["null"]
