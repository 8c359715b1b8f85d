"""Which detector, with which options: what `mmbd scan` and `mmbd evaluate` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmbd.base.errors import Failed, Refused
from mmbd.cli.options import Usage, one_of

if TYPE_CHECKING:
    from mmbd.detectors.scan import ScanOptions


def scan_options(
    detector: str, flags: Mapping[str, Any], option: Sequence[str] | None, **how: Any
) -> ScanOptions:
    """A detector with what was said about it.

    Args:
        detector: its name.
        flags: options of the detector that have a flag; None for those that were not given.
        option: other options, as key=value.
        **how: further fields of the result: level, seed, seeds, limit, budget.

    Raises:
        Usage: no such detector, an option that it does not take, or options that contradict
            each other.
        Failed, Refused: a file that an option names cannot be read.
    """
    from mmbd.detectors import DETECTORS
    from mmbd.detectors.scan import ScanOptions
    from mmbd.formats.networks.architecture import parse_arguments
    from mmbd.null import NULLS

    one_of("--detector", detector, "detector", DETECTORS, "detectors")
    options = {name: value for name, value in flags.items() if value is not None}
    for name, value in parse_arguments(option or ()).items():
        if name in options:
            raise Usage(f"--option {name}: --{name} says it already")
        options[name] = value
    row = DETECTORS[detector]
    whole = {**row.options, **options}
    if whole.get("null") is not None and row.find is DETECTORS["mm-bd"].find:
        one_of("--null", str(whole["null"]), "null", NULLS, "nulls")
        needs = whole["null"] in ("with-samples", "combined", "joint")
        if needs and not whole.get("universal", whole.get("method", "fast") == "fast"):
            raise Usage(
                f"--null {whole['null']} needs --universal, which --method paper is without by default"
            )
    try:
        return ScanOptions(detector, options=options, **how)
    except (Failed, Refused):  # a file that an option names
        raise
    except ValueError as error:
        raise Usage(f"--detector {detector}: {error}") from error
