"""The clean samples of a scan: as detectors get them, and what a finding says of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mmbd.base.errors import NotEvaluable, NotMitigated
from mmbd.data.dataset import Dataset
from mmbd.detectors.detector import Detector
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples, prepare
from mmbd.results.finding import Finding


def prepared(classifier: Classifier, samples: Any, row: Detector, name: str) -> Samples | None:
    """The samples as detectors get them; NotEvaluable where they cannot be of this model.

    A detector that neither needs nor takes any gets none, so that they cannot spoil its verdict.
    """
    if samples is None or not (row.takes_samples or row.needs & {"samples", "labels"}):
        return None
    if isinstance(samples, Samples):
        return samples
    if isinstance(samples, str | list):
        raise TypeError(
            f"expected samples as a Dataset, (inputs, labels) or inputs, got {type(samples).__name__}"
        )
    if isinstance(samples, Dataset):
        inputs, labels = samples.inputs, samples.labels
    else:
        inputs, labels = samples if isinstance(samples, tuple) else (samples, None)
    if labels is None and "labels" in row.needs:
        raise ValueError(f"{name} needs the samples' labels: samples=(inputs, labels)")
    try:
        return prepare(classifier, inputs, labels, fewest=row.fewest)
    except NotMitigated as error:
        raise NotEvaluable(f"the clean samples do not do: {error}") from error


def with_samples(finding: Finding, samples: Samples | None) -> Finding:
    """The finding, with how many samples were used and how many the model gets wrong."""
    if samples is None:
        return finding
    count, caveats = len(samples.labels), finding.caveats
    facts = {"samples_used": count, **finding.facts}
    if not samples.own:
        facts["samples_wrong"] = wrong = count - int(samples.correct.sum())
        if wrong:
            said = (
                f"The model puts {wrong} of the {count} clean samples into another class than their labels."
            )
            caveats = (*caveats, said)
    return replace(finding, facts=facts, caveats=caveats)
