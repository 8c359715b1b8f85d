"""Loading bytes that may be anything: a classifier or one of the three errors comes of it."""

from __future__ import annotations

from pathlib import Path

import mmbd
from mmbd.base.errors import Failed, NotEvaluable, Refused
from mmbd.formats.spec import Spec

SPEC = Spec("mlp", (4,), 3, {"hidden": (5,)}, mean=(0.5,), class_names=("a", "b", "c"))


def answers(path: Path, data: bytes, described: bool = False) -> str:
    """Load; the name of what came of it. Any other exception is the test's failure."""
    path.write_bytes(data)
    options = {} if described else {"arch": SPEC.network, "input_shape": (4,)}
    message = outcome = "loaded"
    try:
        mmbd.load(path, **options)
    except (Refused, Failed, NotEvaluable) as error:
        outcome, message = type(error).__name__, str(error)
    assert message.isprintable()
    assert len(message) < 20_000
    return outcome
