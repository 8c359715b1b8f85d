"""`mmbd selftest`: whether this installation still gives the answers that are known."""

from __future__ import annotations

from typing import Annotated

from mmbd.base.text import seconds
from mmbd.cli import streams
from mmbd.cli.options import OUTPUT, Plain, device_here
from mmbd.workflows import scan_file as gate


def selftest(*, device: str = "cpu", json: Annotated[bool, Plain, OUTPUT] = False) -> int:
    """Check this installation on known answers that come with it, in seconds.

    A backdoored network has to be found, with its target class; a clean one has to pass; files that
    would run code have to be refused, and nothing in them may run; and the numbers behind the verdicts
    have to be those that were kept, but for what another version of torch, or another processor, makes of
    them.

    Exit codes: 0 all came out, 2 something did not.

    Args:
        device: The device to run on, such as cpu or cuda.
        json: Print a JSON object: passed, the checks, versions and machine, seconds.
    """
    device_here(device)
    from mmbd.workflows.selftest import selftest

    found = selftest(device=device)
    if json:
        streams.say(found.to_json())
    else:
        for check in found.checks:
            word = "passed" if check.passed else "FAILED"
            streams.say(f"{word}  {check.name}: {check.said} ({seconds(check.seconds)})")
        streams.say(", ".join(f"{name} {value}" for name, value in found.environment.items()))
        passed = sum(check.passed for check in found.checks)
        streams.say(f"{passed} of {len(found.checks)} known answers came out, in {seconds(found.seconds)}")
    return gate.CLEAN if found.passed else gate.FAILED
