"""Reports that a policy has been applied to."""

from __future__ import annotations

from dataclasses import replace

from helpers.report_parts import CLEAN_STATISTICS, mm_bd, model, p_values, report
from mmbd.results.report import Report
from mmbd.results.ruling import PolicyException, Ruling

REASON, EXPIRES, POLICY = "trained by us, flagged for its imbalance <b>[x](y) {0}", "2027-03-31", "mmbd.toml"
SHA256 = "ab" * 32


def _ruled(made: Report, state: str, **parts: object) -> Report:
    values: dict[str, object] = {"policy": POLICY, "sha256": SHA256, "day": "2026-11-22", "state": state}
    return replace(made, ruling=Ruling(**values | parts))  # pyright: ignore[reportArgumentType]


def _clean() -> Report:
    return report(mm_bd(CLEAN_STATISTICS, p_values(0.41, paper=0.31)))


def _backdoored() -> Report:
    found = (*CLEAN_STATISTICS[:3], 41.7, *CLEAN_STATISTICS[4:])
    return report(mm_bd(found, p_values(0.0021), verdict="backdoored", targets=(3,)))


def passed() -> Report:
    return _ruled(_clean(), "passed", notes=("the policy asks for an accuracy of 90.0% at least",))


def accepted() -> Report:
    digest = model().sha256
    assert digest is not None
    return _ruled(_backdoored(), "accepted", exception=PolicyException(digest, REASON, EXPIRES))


def rejected() -> Report:
    objection = "the policy asks for an accuracy of 90.0% at least, and it is 85.0% of 100 clean samples"
    return _ruled(_clean(), "rejected", objections=(objection,))


def expired() -> Report:
    note = "the exception for this model expired on 2026-11-21 (its reason: ours)"
    return _ruled(_backdoored(), "rejected", notes=(note,))


ALL = (passed, accepted, rejected, expired)
