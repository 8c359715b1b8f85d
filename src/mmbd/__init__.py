"""Backdoors in trained classifiers: found by maximum margins, from the model alone.

    >>> import mmbd
    >>> clf = mmbd.Classifier(model, input_shape=(3, 32, 32))  # doctest: +SKIP
    >>> mmbd.scan(clf).verdict  # doctest: +SKIP
    'clean'

Names are imported on first use, so that importing the package alone stays quick.
"""

import os
import sys


def _leave_the_working_folder() -> None:
    """For `python -m mmbd`, which would import anything from the folder where it is started.

    That folder may be a stranger's zoo. It stays where Python was told to (-P, -I), where somebody
    else put it into the path, and where this package itself lies there.
    """
    commands = ("mmbd", "mmbd.__main__", "-mmmbd")
    if sys.argv[:1] != ["-m"] or sys.orig_argv[-len(sys.argv)] not in commands:
        return
    if sys.flags.safe_path or not sys.path:
        return
    here = os.getcwd()  # noqa: PTH109 - pathlib may lie there, too
    if sys.path[0] in ("", here) and os.path.abspath(__path__[0]) != os.path.join(here, "mmbd"):  # noqa: PTH100, PTH118
        del sys.path[0]


_leave_the_working_folder()  # before the first import of anything that could lie there

import importlib  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

if TYPE_CHECKING:
    from mmbd.detectors.mm_bd.scan import scan as scan
    from mmbd.evaluation.evaluate import evaluate as evaluate
    from mmbd.formats.load import load as load
    from mmbd.mitigators import mitigate as mitigate
    from mmbd.model.classifier import Classifier as Classifier
    from mmbd.model.domain import Box as Box
    from mmbd.model.points import Points as Points
    from mmbd.results.report import Report as Report
    from mmbd.search import maximum_margins as estimate
    from mmbd.workflows.monitor import Monitor as Monitor

__version__ = "0.1.0"

_HOMES = {
    "Box": "mmbd.model.domain",
    "Classifier": "mmbd.model.classifier",
    "Monitor": "mmbd.workflows.monitor",
    "Points": "mmbd.model.points",
    "Report": "mmbd.results.report",
    "evaluate": "mmbd.evaluate",
    "load": "mmbd.load",
    "mitigate": "mmbd.mitigators",
    "scan": "mmbd.detectors.mm_bd.scan",
}
__all__ = [
    "Box",
    "Classifier",
    "Monitor",
    "Points",
    "Report",
    "estimate",
    "evaluate",
    "load",
    "mitigate",
    "scan",
]


def __getattr__(name: str) -> Any:
    if name == "estimate":
        return importlib.import_module("mmbd.search.maximum_margins")
    if name not in _HOMES:
        raise AttributeError(f"module 'mmbd' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
