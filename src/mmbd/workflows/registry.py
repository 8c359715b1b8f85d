"""A gate for MLflow's model registry: a candidate becomes the champion where its scan lets it.

The registry has no gate of its own. So this downloads the version that an alias names, scans its model file,
tags the version with what came out, and moves the other alias only where the exit code is 0. The version is
looked up once: what is scanned, tagged and promoted is that version, whatever the alias means meanwhile.

MLflow is the user's own; its flavours are not loaded, as most of them are pickles. The one model file in what
was downloaded is scanned, as data, like any other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmbd.base.errors import Failed
from mmbd.base.extras import require
from mmbd.base.text import clean_text, listed
from mmbd.results.report import Report
from mmbd.workflows.scan_file import Outcome

MOST = 4900  # characters of a tag's value; registries take 5,000
PREFIX = "mmbd."


@dataclass(frozen=True)
class Gated:
    """What became of a candidate: its version, the outcome of its scan, and whether the alias was moved."""

    name: str
    version: str
    outcome: Outcome
    moved: bool


def gate(
    name: str,
    *,
    candidate: str,
    champion: str,
    scan: Callable[[Path], Outcome],
    tracking_uri: str | None = None,
    artifact: str | None = None,
    dry_run: bool = False,
) -> Gated:
    """Scan the version that the alias `candidate` names, tag it, and let `champion` name it if it passes.

    Args:
        name: of the registered model.
        candidate: the alias of the version to scan.
        champion: the alias that is moved to it.
        scan: scans one file.
        tracking_uri: of the server or the store; by default as MLflow finds it (`MLFLOW_TRACKING_URI`).
        artifact: the model file's path in what the version holds; by default the one that looks like one.
        dry_run: neither tag nor move anything.

    Raises:
        ImportError: MLflow is missing; names the extra.
        Failed: no such model or alias, no connection, or not one model file in what was downloaded.
    """
    mlflow = require("mlflow", extra="mlflow")
    client = _asked(lambda: mlflow.MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri))
    found = _asked(lambda: client.get_model_version_by_alias(name, candidate))
    version = str(found.version)
    with tempfile.TemporaryDirectory(prefix="mmbd-gate-") as folder:
        source = _asked(lambda: client.get_model_version_download_uri(name, version))
        download = mlflow.artifacts.download_artifacts
        place = _asked(lambda: download(artifact_uri=source, dst_path=folder, tracking_uri=tracking_uri))
        outcome = scan(_model_in(Path(place), artifact))
    if dry_run:
        return Gated(name, version, outcome, moved=False)
    for tag, value in tags(outcome.report).items():
        _asked(lambda tag=tag, value=value: client.set_model_version_tag(name, version, tag, value))
    moved = outcome.code == 0
    if moved:
        _asked(lambda: client.set_registered_model_alias(name, champion, version))
    return Gated(name, version, outcome, moved)


def tags(report: Report) -> dict[str, str]:
    """What a version is tagged with: the verdict, the numbers behind it, and what a policy says."""
    test, ruling = report.finding.test, report.ruling
    found: dict[str, object] = {
        "verdict": report.verdict,
        "exit_code": report.exit_code,
        "detector": f"{report.detector} {report.version}",
        "level": report.level,
        "p_value": None if test is None else test.p_value,
        "targets": ", ".join(map(str, report.targets)) or None,
        "reason": report.reason,
        "sha256": report.model.digest,
        "started": None if report.run is None else report.run.started,
        "release": None if report.run is None else report.run.versions.get("mmbd"),
    }
    if ruling is not None:
        found |= {"policy": ruling.state, "policy_sha256": ruling.sha256}
        found["objections"] = "; ".join(ruling.objections) or None
        if ruling.exception is not None:
            found["exception"] = f"until {ruling.exception.expires}: {ruling.exception.reason}"
    return {f"{PREFIX}{key}": clean_text(value, MOST) for key, value in found.items() if value is not None}


def _model_in(place: Path, artifact: str | None) -> Path:
    """The one model file in what was downloaded; Failed where there is not one."""
    from mmbd.formats.table import SUFFIXES

    if artifact is not None:
        wanted = (place / artifact).resolve()
        if not wanted.is_relative_to(place.resolve()) or not wanted.exists():
            raise Failed(f"the version holds no {clean_text(artifact, 200)}")
        return wanted
    if place.is_file():
        return place
    names = tuple(suffix for suffix in SUFFIXES if not suffix.endswith(".json"))
    inside = [each for each in sorted(place.rglob("*")) if each.is_file()]
    models = [each for each in inside if each.name.lower().endswith(names)]
    if len(models) != 1:
        there = listed(str(each.relative_to(place)) for each in (models or inside))
        many = f"{len(models)} model files" if models else "no model file"
        raise Failed(f"the version holds {many} ({there}): name the one to scan with --artifact")
    return models[0]


def _asked(ask: Callable[[], Any]) -> Any:
    """What MLflow answers; whatever it raises becomes a failure in its words."""
    try:
        return ask()
    except Exception as error:
        raise Failed(f"MLflow: {clean_text(error, 400) or type(error).__name__}") from error
