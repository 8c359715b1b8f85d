"""The policy of a gate: what a model must be to pass. It is a TOML file, read strictly and before all else.

    version = 1
    level = 0.01                        # the false-positive rate to scan at
    detector = "mm-bd"                  # the detector to ask
    null = "combined"                   # the test that decides
    minimum_accuracy = 0.9              # on clean samples, where a scan is given some (--data)
    formats = ["safetensors", "onnx"]   # names of `mmbd list formats`; a file of another one is not read

    [[exceptions]]
    sha256 = "9f86..."                  # of the model, as "mmbd policy check FILE MODEL" and reports say it
    reason = "trained by us; flagged for its class imbalance"
    expires = 2027-03-31                # the last day, in UTC
    verdict = "backdoored"              # the one verdict that it is about (default: any)

Only `version` is needed. What the policy settles cannot be said otherwise on the command line. What it leaves
open is as it would be without a policy.

A policy counts where it is named (`--policy mmbd.toml`), and is never looked for: models are scanned in
folders that strangers filled, and an exception in a file of theirs would open the gate.

Whoever reads this file relies on every word of it, so that an unknown field, a wrong type, another version,
two exceptions for one model or an exception without an end are errors in one line, and nothing is scanned. An
exception that has expired is no error in the file: it accepts nothing any more, which is said wherever the
policy is used (`workflows.ruled`).
"""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args

from mmbd.base import reading
from mmbd.base.choose import unknown
from mmbd.base.text import clean_text
from mmbd.results.finding import Verdict
from mmbd.results.ruling import PolicyException

NAME = "mmbd.toml"  # what a policy is usually called
VERSION = 1
MOST_BYTES = 4 << 20
MOST_REASON = 1000  # characters
HEX = frozenset("0123456789abcdef")


class BadPolicy(ValueError):
    """The policy cannot be used (exit 4); one line says where and why."""


@dataclass(frozen=True)
class Policy:
    """What a policy asks for; None is what it leaves open.

    Args:
        file: where it was read, as given.
        sha256: of that file.
        level: the false-positive rate, in (0, 1).
        detector: a name in `mmbd.detectors.DETECTORS`.
        null: a name in `mmbd.null.NULLS`.
        minimum_accuracy: of the classifier on clean samples, in (0, 1].
        formats: names in `mmbd.formats.table.FORMATS`.
        exceptions: at most one a model.
    """

    file: str
    sha256: str
    level: float | None = None
    detector: str | None = None
    null: str | None = None
    minimum_accuracy: float | None = None
    formats: tuple[str, ...] | None = None
    exceptions: tuple[PolicyException, ...] = ()

    def exception_for(self, digest: str | None) -> PolicyException | None:
        """The exception for the model of this digest, expired or not."""
        return next((one for one in self.exceptions if one.sha256 == digest), None)

    def expired(self, day: str) -> tuple[PolicyException, ...]:
        """The exceptions that no longer hold on this day (YYYY-MM-DD)."""
        return tuple(one for one in self.exceptions if one.expired(day))


def today() -> str:
    """The day that exceptions are held against: in UTC, as YYYY-MM-DD."""
    return datetime.now(UTC).date().isoformat()


def read(path: str | Path) -> Policy:
    """The policy in a file.

    Raises:
        BadPolicy: there is no such file, it is no TOML, or it says anything that is not foreseen.
    """
    where = reading.named(path)
    try:
        text = reading.text(path, MOST_BYTES)
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadPolicy(f"{where}: not TOML: {clean_text(error, 200)}") from None
    except (OSError, ValueError, RecursionError) as error:
        said = str(error).removeprefix(f"{where}: ")
        raise BadPolicy(f"{where}: {clean_text(said, 300)}") from error
    try:
        known = _policy(raw)
    except ValueError as error:
        raise BadPolicy(f"{where}: {error}") from None
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Policy(str(path), digest, **known)


def examine(path: str | Path, policy: Policy, max_bytes: int | None = None) -> tuple[str, str]:
    """A model's digest, as exceptions name it, and its format in words; nothing is built or scanned.

    Raises:
        Refused: a format that the policy does not allow, or that is none for weights.
        Failed: it cannot be read.
    """
    from mmbd.formats import files, permitted
    from mmbd.formats.options import MAX_BYTES
    from mmbd.formats.sandbox.reading import contents
    from mmbd.formats.table import FORMATS
    from mmbd.model.info import ModelInfo

    file = files.read(path, max_bytes or MAX_BYTES)
    permitted.of_kind(file.kind, policy.formats)
    if file.kind in FORMATS and FORMATS[file.kind].neighbours:  # which are the others, only its contents say
        contents(file, None)
        permitted.beside(file.beside.digests, policy.formats)
    info = ModelInfo(file.path.name, sha256=file.sha256, beside=dict(file.beside.digests))
    title = FORMATS[file.kind].title if file.kind in FORMATS else "a pickle"
    return info.digest or file.sha256, title


def _policy(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a policy, checked; ValueError says which is wrong."""
    version = raw.get("version")
    if type(version) is not int:
        given = "is missing" if version is None else f"is {reading.brief(version)}"
        raise ValueError(f"version {given}: expected version = {VERSION}")
    if version != VERSION:
        raise ValueError(f"a policy of version {version}; this release reads version {VERSION}")
    found = _checked({name: value for name, value in raw.items() if name != "version"}, FIELDS, "field")
    if found.get("null") is not None:
        _null_fits(found.get("detector"))
    return found


def _checked(
    raw: Mapping[str, Any], known: Mapping[str, Callable[[Any], Any]], kind: str, where: str = ""
) -> dict[str, Any]:
    """Every value as its check gives it back; ValueError names the field."""
    made: dict[str, Any] = {}
    for name, value in raw.items():
        if name not in known:
            raise ValueError(f"{where}{unknown(kind, name, ('version', *known) if not where else known)}")
        try:
            made[name] = known[name](value)
        except ValueError as error:
            raise ValueError(f"{where}{name}: {error}") from None
    return made


def _rate(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ValueError(f"expected a number between 0 and 1, got {reading.brief(value)}")
    return float(value)


def _share(value: Any) -> float:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not 0 < number <= 1:
        raise ValueError(f"expected a share above 0 and at most 1, got {reading.brief(value)}")
    return float(number)


def _detector(value: Any) -> str:
    from mmbd.detectors import DETECTORS

    return _one_of("detector", value, list(DETECTORS))


def _null(value: Any) -> str:
    from mmbd.null import NULLS

    return _one_of("null", value, list(NULLS))


def _formats(value: Any) -> tuple[str, ...]:
    from mmbd.formats.table import FORMATS

    if not isinstance(value, list) or not value:
        raise ValueError(f"expected a list of formats, got {reading.brief(value) if value else 'none'}")
    return tuple(dict.fromkeys(_one_of("format", name, list(FORMATS)) for name in value))


def _one_of(kind: str, value: Any, known: Sequence[str]) -> str:
    if value not in known:
        given = value if isinstance(value, str) else reading.brief(value)
        raise ValueError(unknown(kind, given, known))
    return value


def _exceptions(value: Any) -> tuple[PolicyException, ...]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError("expected [[exceptions]] tables")
    made = [_exception(item, number) for number, item in enumerate(value)]
    for number, one in enumerate(made):
        if (first := next(at for at, other in enumerate(made) if other.sha256 == one.sha256)) < number:
            raise ValueError(
                f"number {number + 1} is for the model of number {first + 1}, {one.sha256[:12]}..."
            )
    return tuple(made)


def _exception(raw: Mapping[str, Any], number: int) -> PolicyException:
    where = f"number {number + 1}: "
    found = _checked(raw, OF_EXCEPTIONS, "field", where)
    for name in ("sha256", "reason", "expires"):
        if name not in found:
            hint = ", the last day on which it holds, such as 2027-03-31" if name == "expires" else ""
            raise ValueError(f"{where}{name} is missing{hint}")
    return PolicyException(**found)


def _digest(value: Any) -> str:
    if not isinstance(value, str) or len(value) != 64 or not HEX.issuperset(value.lower()):
        raise ValueError(f"expected 64 hexadecimal digits, got {reading.brief(value)}")
    return value.lower()


def _reason(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected a sentence, got {reading.brief(value)}")
    return clean_text(value.strip(), MOST_REASON)


def _expires(value: Any) -> str:
    if type(value) is not date:  # a date with a time is one, too
        raise ValueError(
            f"expected a day without quotes or time, such as 2027-03-31, got {clean_text(value)}"
        )
    return value.isoformat()


def _verdict(value: Any) -> str:
    return _one_of("verdict", value, get_args(Verdict))


def _null_fits(detector: str | None) -> None:
    from mmbd.detectors import DETECTORS

    if detector is not None and DETECTORS[detector].find is not DETECTORS["mm-bd"].find:
        raise ValueError(f"null: {detector} compares with none; nulls are of the detectors of MM-BD")


FIELDS: dict[str, Callable[[Any], Any]] = {
    "level": _rate,
    "detector": _detector,
    "null": _null,
    "minimum_accuracy": _share,
    "formats": _formats,
    "exceptions": _exceptions,
}
OF_EXCEPTIONS: dict[str, Callable[[Any], Any]] = {
    "sha256": _digest,
    "reason": _reason,
    "expires": _expires,
    "verdict": _verdict,
}
assert {*FIELDS, "file", "sha256"} == {item.name for item in fields(Policy)}
