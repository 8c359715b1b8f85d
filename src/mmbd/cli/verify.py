"""`mmbd verify`: whether a statement on a model stands, without a scan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from mmbd.base.text import clean_text
from mmbd.cli import policies, streams
from mmbd.cli.options import INPUT, level_between


def verify(
    statement: Annotated[Path, INPUT],
    model: Annotated[Path, INPUT],
    /,
    *,
    level: float | None = None,
    policy: Path | None = None,
) -> int:
    """Say whether a statement (mmbd scan --format intoto) stands for a model, in a second and without a scan.

    The model's files are compared by their digests, and the verdict is derived again from the statistics in
    the statement and this release's table of clean networks. A signature is not looked at: check that first.

    Exit codes: 0 it stands and lets the model through, 1 it stands and says backdoored, 2 it does not stand,
    or something cannot be read, 3 it stands and does not let the model through, or the verdict cannot be
    derived again, 4 usage.

    Args:
        statement: The statement, alone or in a signed envelope (DSSE).
        model: The model's file, or the folder that holds its files.
        level: The false-positive rate that it has to have been made at.
        policy: The policy that it has to have been made under.
    """
    from mmbd.render import policy_words, words
    from mmbd.workflows import statement as statements
    from mmbd.workflows import verified

    if level is not None:
        level_between(level)
    rules = None if policy is None else policies.read(policy)
    made = statements.read(statement)
    found = verified.verify(made, model, level=level, policy=rules)
    named = clean_text(model, 400)
    for said in found.against:
        streams.say(f"does not stand: {named}: {said}")
    if found.open is not None:
        streams.say(f"open: {named}: {found.open}")
    if not found.against and found.open is None:
        report = made.report
        ruled = policy_words.brief(report)
        told = f"{policy_words.verdict(report)}: {words.finding(report)}{f'; {ruled}' if ruled else ''}"
        streams.say(f"stands: {named}: {told}")
    for note in found.notes:
        streams.say(f"note: {named}: {clean_text(note, 400)}")
    return found.code
