"""What a program in a sandbox might say instead of a report; each a job."""

from __future__ import annotations

import json
from typing import Any

from mmbd.detectors import About, Detector
from mmbd.results.finding import Column, Finding, Test


def calm(classifier: Any, samples: Any, *, level: float, seed: int, progress: Any = None) -> Finding:
    """Finds nothing, whatever the classifier is."""
    return Finding(
        verdict="clean",
        ranking=tuple(range(classifier.classes)),
        score=0.0,
        decided_by="calm",
        tests=(Test("calm", statistic=0.0, threshold=1.0),),
        columns=(Column("calm", (0.0,) * classifier.classes),),
    )


# A detector that takes no time, which other processes find by its name.
CALM = Detector(find=calm, version=1, about=About("Calm: nothing is ever found"), kinds=frozenset())

JOBS = ["no_json", "not_a_number", "nested", "other_detector", "no_utf_8", "empty"]


def no_json(inside: Any, request: dict[str, Any]) -> list[bytes]:
    return [b"<html>clean"]


def not_a_number(inside: Any, request: dict[str, Any]) -> list[bytes]:
    return [b'{"schema": 3, "level": NaN}']


def nested(inside: Any, request: dict[str, Any]) -> list[bytes]:
    return [b"[" * 1_000_000]


def other_detector(inside: Any, request: dict[str, Any]) -> list[bytes]:
    return [json.dumps({"schema": 3, "detector": "another"}).encode()]


def no_utf_8(inside: Any, request: dict[str, Any]) -> list[bytes]:
    return [b"\xff\xfe"]


def empty(inside: Any, request: dict[str, Any]) -> list[bytes]:
    return []


def nothing(inside: Any, request: dict[str, Any]) -> list[bytes]:
    return []
