"""What every detector is: it looks at a classifier and says whether and where it is backdoored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mmbd.model.classifier import Classifier


@dataclass(frozen=True)
class Detection:
    """A detector's answer about one model; JSON-ready.

    Args:
        flagged: whether the model is called backdoored; None where there is no answer.
        targets: the classes named as targets, the most suspicious first; may be filled in although
            the model is not flagged.
        score: the higher, the more suspicious; what ROC curves are drawn from. None: no answer.
        p_value: where the detector has one.
        statistics: one number a class, where the detector has them; None where one is not valid.
        reason: why there is no answer.
        seconds: what it took.
        details: anything else worth keeping.
    """

    flagged: bool | None
    targets: tuple[int, ...] = ()
    score: float | None = None
    p_value: float | None = None
    statistics: tuple[float | None, ...] = ()
    reason: str | None = None
    seconds: float = 0.0
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Detector(Protocol):
    """Tests one classifier; the random choices follow from `seed`."""

    def __call__(self, classifier: Classifier, *, level: float, seed: int) -> Detection: ...
