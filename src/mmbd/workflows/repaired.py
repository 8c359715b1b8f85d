"""What a repair did, as data: what was done, what it cost, what still works, and a word on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from mmbd.base.jsonable import jsonable
from mmbd.data.dataset import Dataset
from mmbd.mitigators import Record
from mmbd.model.classifier import Classifier
from mmbd.results.report import Report
from mmbd.search.still_reached import Reach
from mmbd.workflows import no_data
from mmbd.workflows.re_attack import ReAttack
from mmbd.workflows.triggered import Counted, Triggered
from mmbd.workflows.verdict import Verdict, verdict_of

VERSION = 2  # 1 had `record.mitigated`, and no verdict
Share = tuple[float, float]  # before and after


@dataclass(frozen=True)
class Repair:
    """What a repair did, JSON-ready but for the reports.

    Args:
        record: what the mitigator did.
        held_out: how many clean samples the repair did not see; 0 where there were none.
        accuracy: on those, before and after.
        classes: name, samples, accuracy before and after, of every class with such samples.
        trigger: what the trigger does, before and after; None where there are no triggered samples.
        reached: what the search for triggers reaches, before and after, on samples that the repair did not
            see.
        not_searched: why there was no search.
        drawn: how many drawn inputs stood for clean samples in the repair, 0 where there were some; without
            held-out samples what was searched on was drawn, too.
        re_attack: how fast what was found comes back, where that was asked for; `not_re_attacked` says why
            it could not be tried.
        scans: the report on the model before and after; None where it was not scanned.
    """

    record: Record
    held_out: int = 0
    accuracy: Share | None = None
    classes: tuple[tuple[str, int, float, float], ...] = ()
    trigger: Triggered | None = None
    reached: tuple[Reach, ...] = ()
    not_searched: str | None = None
    drawn: int = 0
    re_attack: ReAttack | None = None
    not_re_attacked: str | None = None
    scans: tuple[Report, Report] | None = None

    @property
    def verdict(self) -> Verdict:
        """In a word, "reduced", "not shown" or "failed", with the evidence; see `verdict_of`."""
        return verdict_of(
            changed=self.record.changed,
            reason=self.record.reason,
            reached=self.reached,
            not_searched=self.not_searched,
            success=self.trigger and self.trigger.success,
            accuracy=self.accuracy,
            unmeasured=no_data.UNMEASURED if self.drawn and not self.held_out else None,
        )

    @property
    def triggered(self) -> int:
        """How many triggered samples the attack success rate is of."""
        return self.trigger.success.n if self.trigger else 0

    @property
    def attack_success(self) -> Share | None:
        """Before and after; None without triggered samples."""
        return self.trigger and self.trigger.success.shares

    @property
    def untriggered(self) -> Share | None:
        """The share of the same samples without their trigger that go to the target, before and after.

        What is left of the attack when nothing is. None where the trigger is not known.
        """
        return self.trigger and self.trigger.untriggered and self.trigger.untriggered.shares

    @property
    def largest_drop(self) -> tuple[str, int, float, float] | None:
        """The class that lost most accuracy."""
        return max(self.classes, key=lambda entry: entry[2] - entry[3], default=None)

    @property
    def fidelity(self) -> float | None:
        """TrojAI's figure, 0 to 1: the share of the attack gone times that of the accuracy kept.

        Without triggered samples there is none.
        """
        return fidelity(self.attack_success, self.accuracy)

    def to_json(self) -> str:
        """As JSON, with the numbers before and after under these names, and exact 95 % intervals."""
        scans = self.scans and [json.loads(report.to_json()) for report in self.scans]
        trigger, verdict = self.trigger, self.verdict
        fields = {
            "version": VERSION,
            "verdict": verdict.word,
            "because": list(verdict.because),
            "record": asdict(self.record) | {"verdict": self.record.verdict},
            "held_out": self.held_out,
            "drawn": self.drawn,
            "accuracy": self.accuracy and _counted(_hits(self.accuracy, self.held_out)),
            "classes": [
                {"name": name, "samples": samples, "before": before, "after": after}
                for name, samples, before, after in self.classes
            ],
            "triggered": self.triggered,
            "attack_success": trigger and _counted(trigger.success),
            "untriggered": trigger and _counted(trigger.untriggered),
            "recovered": trigger and _counted(trigger.recovered),
            "sources": [
                {"name": name, "samples": counted.n, **(_counted(counted) or {})}
                for name, counted in (trigger.sources if trigger else ())
            ],
            "fidelity": self.fidelity,
            "reached": [
                {name: value for name, value in vars(row).items() if name != "change"}
                | {"gave_way": row.gave_way}
                for row in self.reached
            ],
            "not_searched": self.not_searched,
            "re_attack": self.re_attack and asdict(self.re_attack),
            "not_re_attacked": self.not_re_attacked,
            "scans": scans and _pair(scans),
        }
        return json.dumps(jsonable(fields), indent=1, allow_nan=False)


def fidelity(attack_success: Share | None, accuracy: Share | None) -> float | None:
    """See `Repair.fidelity`; None where the attack or the accuracy was nothing before."""
    if attack_success is None or accuracy is None:
        return None
    before, after = attack_success
    if before <= 0 or accuracy[0] <= 0:
        return None
    return (before - after) / before * (accuracy[1] / accuracy[0])


def accuracies(held_out: Dataset, answers: Sequence[Tensor], classifier: Classifier) -> dict[str, Any]:
    """The fields of a `Repair` about accuracy, from the answers (n,) before and after to clean samples."""
    right = [answer == held_out.labels for answer in answers]
    classes: list[tuple[str, int, float, float]] = []
    for label, name in enumerate(classifier.class_names):
        there = held_out.labels == label
        if bool(there.any()):
            before, after = (float(one[there].double().mean()) for one in right)
            classes.append((name, int(there.sum()), before, after))
    before, after = (float(one.double().mean()) for one in right)
    return {"held_out": len(held_out), "accuracy": (before, after), "classes": tuple(classes)}


def _pair(values: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(("before", "after"), values, strict=True))


def _hits(shares: Share, n: int) -> Counted:
    before, after = (round(share * n) for share in shares)
    return Counted(n, before, after)


def _counted(counted: Counted | None) -> dict[str, Any] | None:
    """The shares before and after, and their intervals."""
    return counted and _pair(counted.shares) | {"intervals": _pair(counted.intervals)}
