"""`mmbd inspect`: what model files are, before anybody scans them."""

from __future__ import annotations

import json as to_json
from pathlib import Path
from typing import Annotated

from mmbd.cli import models as paths
from mmbd.cli import streams
from mmbd.cli.loading import DEFAULT_LOADING, Loading
from mmbd.cli.options import INPUT, OUTPUT, Plain
from mmbd.workflows import scan_file as gate


def inspect(
    models: Annotated[list[Path], Plain, INPUT],
    /,
    *,
    loading: Annotated[Loading, INPUT] = DEFAULT_LOADING,
    json: Annotated[bool, Plain, OUTPUT] = False,
) -> int:
    """Say what model files are: format, network, inputs, classes, digests, and what would run.

    Nothing in the files is executed, and nothing is searched for. Exit codes: 0 readable, 2 broken, 3
    refused, 4 usage; with several files the worst decides, 3 over 2 over 0. A file of weights alone is
    readable; what a scan has to be told besides is said.

    Args:
        models: Model files, or folders of them.
        loading: What the files do not say; may be left out.
        json: Print a JSON list with an object a file.
    """
    from mmbd.render.inspection import inspection
    from mmbd.workflows.inspect_file import inspect_file

    options = loading.options()
    codes: list[int] = []
    found: list[dict[str, object]] = []
    for path in paths.expanded(models):
        one = inspect_file(path, options)
        codes.append(one.code)
        if json:
            found.append(one.to_dict())
        else:
            streams.say(inspection(one))
    if json:
        streams.say(to_json.dumps(found, indent=1))
    return gate.worst(codes)
