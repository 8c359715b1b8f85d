"""`mmbd gate`: what stands between a registry's candidate and its champion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from mmbd.base.text import clean_text
from mmbd.cli import policies, streams
from mmbd.cli.detecting import scan_options
from mmbd.cli.loading import DEFAULT_LOADING, Loading
from mmbd.cli.options import HOW, INPUT, OUTPUT, Plain, Usage, level_between
from mmbd.cli.outputs import EVERYTHING_PRINTED, Destinations, plan
from mmbd.cli.progress import watching
from mmbd.workflows import scan_file as scanning

LIMIT = 3600.0  # seconds

gate = App(name="gate", help="Gates of model registries.", help_format="markdown")


def mlflow(
    name: Annotated[str, INPUT],
    /,
    *,
    candidate: Annotated[str, Parameter(name="--from"), INPUT] = "candidate",
    champion: Annotated[str, Parameter(name="--to"), INPUT] = "champion",
    loading: Annotated[Loading, INPUT] = DEFAULT_LOADING,
    artifact: Annotated[str | None, INPUT] = None,
    tracking_uri: Annotated[str | None, INPUT] = None,
    policy: Path | None = None,
    detector: str | None = None,
    null: str | None = None,
    level: float | None = None,
    seed: int = 0,
    limit: float | None = None,
    dry_run: Annotated[bool, Plain] = False,
    to: Annotated[Destinations, OUTPUT] = EVERYTHING_PRINTED,
) -> int:
    """Scan the version that one alias names, tag it, and move the other alias to it only on exit code 0.

    Exit codes are those of "mmbd scan": 0 the alias was moved, 1 backdoored, 2 failed, 3 refused or not
    evaluable, 4 usage.

    Args:
        name: The registered model.
        candidate: The alias of the version to scan.
        champion: The alias that names it afterwards, if it passes.
        loading: What the files do not say.
        artifact: The model file in what the version holds (default: the only one that looks like one).
        tracking_uri: MLflow's server or store (default: MLFLOW_TRACKING_URI, or as MLflow finds it).
        policy: A policy in TOML (docs/gates.md).
        detector: The detector to ask (default: mm-bd).
        null: The test that decides, as in "mmbd scan".
        level: The false-positive rate asked for (default: 0.05).
        seed: The number that every random choice follows from.
        limit: The seconds that the scan may take (default: 3600).
        dry_run: Scan, and neither tag nor move anything.
        to: Where the report goes.
    """
    from mmbd.cli.scan import show
    from mmbd.workflows import registry

    rules = None if policy is None else policies.read(policy)
    detector, level, null = policies.agreed(rules, detector=detector, level=level, null=null)
    level_between(level)
    if limit is not None and not limit > 0:
        raise Usage(f"--limit {limit:g}: expected more than 0 seconds")
    how = scan_options(detector, {"null": null}, None, level=level, seed=seed, limit=limit or LIMIT)
    known = loading.options()
    outputs = plan("report", to.wanted, [Path(clean_text(name, 100).replace("/", "_"))], [])

    def scan(path: Path) -> scanning.Outcome:
        with watching(name, shown=not to.quiet) as progress:
            return scanning.scan_file(path, known, how, progress=progress, policy=rules)

    found = registry.gate(
        name,
        candidate=candidate,
        champion=champion,
        scan=scan,
        tracking_uri=tracking_uri,
        artifact=artifact,
        dry_run=dry_run,
    )
    report = found.outcome.report
    if outputs.printed is None:
        show(report, streams.console(), brief=to.quiet)
    what = f"{clean_text(name, 200)} version {found.version}"
    moved = f"{champion} names it now" if found.moved else f"{champion} stays as it was"
    streams.complain(f"{what}: {moved}")
    done = outputs.write(0, report) & outputs.write_all([report])
    return scanning.worst([found.outcome.code, *([] if done else [scanning.FAILED])])


gate.command(mlflow, group_parameters=HOW)
