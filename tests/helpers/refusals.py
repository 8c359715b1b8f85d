"""The check that a mitigator refused: nothing was done, and the record says why."""

from __future__ import annotations

import dataclasses
import json

from mmbd.mitigators import mitigate


def refused(clf, images, labels=None, *, word: str, **options) -> None:
    """`mitigate` gives the classifier back as it was, with a reason that has these words."""
    made = mitigate(clf, images, labels, **options)
    assert made.classifier is clf
    assert not made.record.changed
    assert word in made.record.reason
    assert made.record.layers == ()
    assert made.record.accuracy is None
    json.dumps(dataclasses.asdict(made.record), allow_nan=False)
