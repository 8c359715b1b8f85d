"""torchvision beside a build of torch that its operators were not made for.

The wheel of torchvision that registries have links against torch for CUDA. Beside torch for the CPU its
operators are missing, and its import fails where it describes one of them. Networks need none of them:
where the import fails with exactly that message, the two operators are declared, without code, and the
import is repeated. Calling them still fails. Where the real ones load, nothing is declared.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

MISSING = "operator torchvision::nms does not exist"
SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
NAME = "torchvision"
_kept: list[Any] = []  # a library that nobody keeps takes its operators with it


def torchvision_usable() -> None:
    """Have torchvision, where it is installed, imported or importable; other errors of it are left alone."""
    if NAME in sys.modules or importlib.util.find_spec(NAME) is None:
        return
    try:
        importlib.import_module(NAME)
    except RuntimeError as error:
        if str(error) != MISSING or _kept:
            raise
    except ImportError:
        return
    else:
        return
    import torch

    for half in [name for name in sys.modules if name == NAME or name.startswith(f"{NAME}.")]:
        del sys.modules[half]
    library = torch.library.Library(NAME, "DEF")
    _kept.append(library)
    for schema in SCHEMAS:
        library.define(schema)
    importlib.import_module(NAME)
