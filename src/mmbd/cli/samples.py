"""Clean samples and found triggers for models, read for `mmbd scan` and `mmbd fix`."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mmbd.base.errors import Failed
from mmbd.cli.options import Usage
from mmbd.workflows import scan_file as gate

if TYPE_CHECKING:
    from mmbd.data.dataset import Dataset
    from mmbd.model.classifier import Classifier
    from mmbd.triggers.trigger import Trigger

MOST_LABELLED = 2000  # samples that an accuracy is measured on


def read(path: Path, classifier: Classifier) -> Dataset:
    """Samples in the shape of the model's inputs, numbered as its classes.

    Raises:
        Failed: nothing there, broken, or of other classes.
    """
    from mmbd.data import read as data
    from mmbd.workflows import repair, sampling

    with _named(path):
        return repair.fitting(data.load(path, **sampling.reading(classifier.domain)), classifier)


def drawn(classifier: Classifier, *, path: Path, per_class: int, seed: int) -> Dataset:
    """At most so many of these samples of each class, numbered as the classifier's; Failed as `read`."""
    from mmbd.workflows import sampling

    with _named(path):
        return sampling.drawn(path, classifier, per_class, seed=seed)


def labelled(classifier: Classifier, *, path: Path, seed: int) -> Dataset:
    """At most `MOST_LABELLED` of all samples, drawn, to measure an accuracy on; Failed as `read`."""
    from mmbd.data.dataset import some
    from mmbd.workflows import sampling

    with _named(path):
        found = some(sampling.drawn(path, classifier, None, seed=seed), MOST_LABELLED, seed=seed)
        if not len(found):
            raise Failed("there are no samples to measure the accuracy on")
        return found


def found_trigger(path: Path) -> Trigger:
    """The trigger that a detector found: the mask and the pattern in a stored report.

    Of several classes it is that of the most suspicious one.

    Raises:
        Failed: no report, or a broken one.
        Usage: the report holds no mask with a pattern.
    """
    from mmbd.results.report import Report
    from mmbd.triggers.mask_pattern import in_box

    report = Report.load(path)
    found = {(artifact.kind, artifact.label): artifact.tensor for artifact in report.finding.artifacts}
    for label in dict.fromkeys([*report.targets, *report.finding.ranking, *(label for _, label in found)]):
        mask, pattern = found.get(("trigger mask", label)), found.get(("trigger pattern", label))
        if mask is not None and pattern is not None:
            low, high = report.model.bounds or (0.0, 1.0)
            return in_box(mask, pattern, low, high)
    raise Usage(
        f"--trigger {path}: expected the report of a detector that reverse-engineers triggers, with a mask "
        f"and a pattern beside it; this one, of {report.detector}, has none"
    )


@contextmanager
def _named(path: Path) -> Generator[None]:
    """Whatever goes wrong with these samples is a failure that names them."""
    try:
        yield
    except (ValueError, OSError) as error:
        words = str(error)
        raise Failed(words if str(path) in words else f"{path}: {words}") from error
    except Exception as error:
        raise Failed(f"{path}: these samples cannot be used: {gate.raised(error)}") from error
