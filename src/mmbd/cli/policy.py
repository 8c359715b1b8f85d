"""`mmbd policy`: look at a policy, and at what it says of models before they are scanned."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App

from mmbd.base.errors import Failed, NotEvaluable, Refused
from mmbd.base.text import clean_text
from mmbd.cli import models as paths
from mmbd.cli import streams
from mmbd.cli.options import HOW, INPUT, Plain
from mmbd.workflows import scan_file as gate

if TYPE_CHECKING:
    from mmbd.workflows.policy import Policy

USUAL = Path("mmbd.toml")
SOON = 30  # days

policy = App(name="policy", help="What a gate asks of models (mmbd scan --policy).", help_format="markdown")


def check(
    file: Annotated[Path, INPUT] = USUAL,
    models: Annotated[list[Path] | None, Plain, INPUT] = None,
    /,
    *,
    max_bytes: Annotated[str | None, INPUT] = None,
) -> int:
    """Check a policy, and what it says of models before any scan: their formats and exceptions.

    Exit codes: 0 nothing to mend, 2 an exception has expired or a model cannot be read, 3 a model is in a
    format that is not allowed, 4 the policy is no policy.

    Args:
        file: The policy.
        models: Model files, or folders of them, to look at: their digests, as exceptions name them, their
            formats, and the exceptions that are theirs. None is scanned.
        max_bytes: The largest model file to read, for example 8GB (default: 4 GiB).
    """
    from mmbd.workflows import policy as policies

    known = policies.read(file)
    day = policies.today()
    if models:
        from mmbd.formats.sandbox import reading

        reading.stand()  # `commands.run` ends it
    streams.say(f"{clean_text(file, 400)}: {_asks(known)}")
    for one in known.exceptions:
        left = (date.fromisoformat(one.expires) - date.fromisoformat(day)).days
        about = "" if one.verdict is None else f", for the verdict {one.verdict!r}"
        when = f"EXPIRED on {one.expires}" if left < 0 else f"until {one.expires}"
        when += f" ({left} days left)" if 0 <= left <= SOON else ""
        streams.say(f"exception {one.sha256}: {when}{about}: {one.reason}")
    codes = [gate.FAILED if known.expired(day) else gate.CLEAN]
    codes += [_looked_at(path, known, day, max_bytes) for path in paths.expanded(models or [])]
    return gate.worst(codes)


def _asks(known: Policy) -> str:
    said = [f"{name} {value}" for name in ("level", "detector", "null") if (value := getattr(known, name))]
    if known.minimum_accuracy is not None:
        said.append(f"minimum accuracy {known.minimum_accuracy:g}")
    if known.formats is not None:
        said.append(f"formats {', '.join(known.formats)}")
    count = len(known.exceptions)
    said.append(f"{count or 'no'} exception{'' if count == 1 else 's'}")
    return f"a policy of version 1: {'; '.join(said)}; SHA-256 {known.sha256}"


def _looked_at(path: Path, known: Policy, day: str, max_bytes: str | None) -> int:
    """Tell what the policy says of one model; the exit code that it asks for."""
    from mmbd.workflows.policy import examine

    named = clean_text(path, 400)
    try:
        digest, what = examine(path, known, _bytes(max_bytes))
    except Refused as error:
        streams.say(f"{named}: refused: {clean_text(error, 400)}")
        return gate.REFUSED
    except (Failed, NotEvaluable) as error:
        streams.say(f"{named}: failed: {clean_text(error, 400)}")
        return gate.FAILED
    found = known.exception_for(digest)
    if found is None:
        said = "no exception"
    else:
        said = f"an exception, {'EXPIRED on' if found.expired(day) else 'until'} {found.expires}"
    streams.say(f"{named}: sha256 {digest}, {what}; {said}")
    return gate.CLEAN


def _bytes(text: str | None) -> int | None:
    from mmbd.cli.options import size

    return size("--max-bytes", text)


policy.command(check, group_parameters=HOW)
