"""`mmbd compare`: whether two files hold the same classifier."""

from __future__ import annotations

import json as to_json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from mmbd.cli import streams
from mmbd.cli.failing import failing
from mmbd.cli.loading import DEFAULT_LOADING, Loading
from mmbd.cli.options import INPUT, OUTPUT, Plain, Usage

SAME, DIFFERENT = 0, 1


def compare(
    a: Annotated[Path, INPUT],
    b: Annotated[Path, INPUT],
    /,
    *,
    loading: Annotated[Loading, INPUT] = DEFAULT_LOADING,
    tolerance: float = 1e-3,
    seed: int = 0,
    json: Annotated[bool, Plain, OUTPUT] = False,
) -> int:
    """Tell whether two files hold the same classifier, such as a checkpoint and the ONNX made of it.

    Their logits are compared on random inputs and on those that either is surest of, which gradient ascent
    finds. Exit codes: 0 the same, 1 different, 2 failed, 3 refused or not evaluable, 4 usage.

    Args:
        a: A model file or folder.
        b: Another one.
        loading: What the files do not say; --arch is for those that do not describe their network.
        tolerance: How far logits may be apart, as a share of how far they range.
        seed: The number that every random choice follows from.
        json: Print a JSON object.
    """
    from mmbd.base.jsonable import jsonable
    from mmbd.workflows import compare as comparing

    if not tolerance >= 0:
        raise Usage(f"--tolerance {tolerance:g}: expected a number that is not negative")
    options = loading.options()
    one, other = (comparing.load_each(path, options) for path in (a, b))
    with failing(f"{a} and {b}"):
        found = comparing.compare(one.classifier, other.classifier, tolerance=tolerance, seed=seed)
    if json:
        streams.say(to_json.dumps({"same": found.same, **jsonable(asdict(found))}, indent=1))
    else:
        streams.say("the same" if found.same else "different")
        for line in comparing.words(found):
            streams.say(f"  {line}")
    return SAME if found.same else DIFFERENT
