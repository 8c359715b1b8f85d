"""Backdoors in trained classifiers: found by maximum margins, from the model alone.

    >>> import mmbd, torch
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 4 * 4, 6))
    >>> classifier = mmbd.Classifier(model, input_shape=(3, 4, 4))
    >>> report = mmbd.scan(classifier)
    >>> report.finding.decided_by, len(report.statistics)
    ('combined', 6)

Names and rooms are imported on first use, so that importing the package alone stays quick.
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

from mmbd.base.version import __version__ as __version__  # noqa: E402

if TYPE_CHECKING:
    from mmbd import attacks as attacks
    from mmbd import base as base
    from mmbd import cli as cli
    from mmbd import data as data
    from mmbd import detectors as detectors
    from mmbd import evaluation as evaluation
    from mmbd import formats as formats
    from mmbd import mitigators as mitigators
    from mmbd import model as model
    from mmbd import nets as nets
    from mmbd import null as null
    from mmbd import render as render
    from mmbd import results as results
    from mmbd import search as search
    from mmbd import training as training
    from mmbd import triggers as triggers
    from mmbd import workflows as workflows
    from mmbd import zoo as zoo
    from mmbd.base.errors import Failed as Failed
    from mmbd.base.errors import MmbdError as MmbdError
    from mmbd.base.errors import NotEvaluable as NotEvaluable
    from mmbd.base.errors import NotExported as NotExported
    from mmbd.base.errors import NotMitigated as NotMitigated
    from mmbd.base.errors import Refused as Refused
    from mmbd.detectors.scan import scan as scan
    from mmbd.evaluation.evaluate import evaluate as evaluate
    from mmbd.formats.export import export as export
    from mmbd.formats.load import load as load
    from mmbd.mitigators import mitigate as mitigate
    from mmbd.model.classifier import Classifier as Classifier
    from mmbd.model.domain import Box as Box
    from mmbd.model.points import Points as Points
    from mmbd.null.references import References as References
    from mmbd.render.save import save as save
    from mmbd.results.report import Report as Report
    from mmbd.workflows.monitor import Monitor as Monitor
    from mmbd.workflows.repair import fix as fix
    from mmbd.workflows.selftest import selftest as selftest
    from mmbd.workflows.strip import Strip as Strip

_HOMES = {
    "Box": "mmbd.model.domain",
    "Classifier": "mmbd.model.classifier",
    "Failed": "mmbd.base.errors",
    "MmbdError": "mmbd.base.errors",
    "Monitor": "mmbd.workflows.monitor",
    "NotEvaluable": "mmbd.base.errors",
    "NotExported": "mmbd.base.errors",
    "NotMitigated": "mmbd.base.errors",
    "Points": "mmbd.model.points",
    "References": "mmbd.null.references",
    "Refused": "mmbd.base.errors",
    "Report": "mmbd.results.report",
    "Strip": "mmbd.workflows.strip",
    "evaluate": "mmbd.evaluation.evaluate",
    "export": "mmbd.formats.export",
    "fix": "mmbd.workflows.repair",
    "load": "mmbd.formats.load",
    "mitigate": "mmbd.mitigators",
    "save": "mmbd.render.save",
    "scan": "mmbd.detectors.scan",
    "selftest": "mmbd.workflows.selftest",
}
_ROOMS = (
    *("attacks", "base", "cli", "data", "detectors", "evaluation", "formats", "mitigators", "model", "nets"),
    *("null", "render", "results", "search", "training", "triggers", "workflows", "zoo"),
)
__all__ = ["__version__", *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"mmbd.{name}")
    raise AttributeError(f"module 'mmbd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *_ROOMS]
