"""`mmbd scan`: model files in, verdicts, reports and an exit code out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from mmbd.cli import streams
from mmbd.cli.loading import DEFAULT_LOADING, Loading
from mmbd.cli.options import Plain, Usage, at_least, level_between
from mmbd.cli.outputs import plan
from mmbd.cli.progress import watching
from mmbd.workflows import scan_file as gate

if TYPE_CHECKING:
    from mmbd.results.report import Report


def scan(
    models: Annotated[list[Path], Plain],
    /,
    *,
    loading: Loading = DEFAULT_LOADING,
    method: Literal["fast", "paper"] = "fast",
    universal: bool | None = None,
    null: Literal["joint", "population", "bootstrap", "paper", "authors", "reference"] | None = None,
    level: float = 0.05,
    reference: Annotated[list[Path] | None, Plain] = None,
    seed: int = 0,
    seeds: int = 1,
    restarts: int | None = None,
    steps: int | None = None,
    constraint: Literal["project", "clamp"] | None = None,
    batch: int | None = None,
    limit: float = 3600.0,
    json_to: Annotated[str | None, Parameter(name="--json", allow_leading_hyphen=True)] = None,
    html_to: Annotated[str | None, Parameter(name="--html")] = None,
    sarif_to: Annotated[str | None, Parameter(name="--sarif")] = None,
    quiet: Annotated[bool, Plain] = False,
) -> int:
    """Test model files for a backdoor. No data is needed, and nothing in the files is executed.

    Exit codes: 0 clean, 1 backdoored, 2 failed, 3 refused or not evaluable, 4 usage. With several
    models the worst decides: 1 over 3 over 2 over 0. Put -- before names that a shell writes, as
    they may look like options: mmbd scan --json reports -- *

    Args:
        models: Model files: safetensors, or PyTorch state dicts.
        loading: What the files do not say.
        method: The fast search, or the procedure of the paper.
        universal: Search for universal perturbations too (default: with the fast method, for
            images).
        null: Which p-value decides (default: reference where references are given, else joint; for
            other inputs than images bootstrap).
        level: The false-positive rate asked for.
        reference: Clean models of the same domain, or JSON reports on them: a file or a folder;
            may be repeated.
        seed: The seed of the random starts.
        seeds: Repeat with so many seeds; the verdict is that of all together, at the same level.
        restarts: Searches a class (default: 4). With other searches than the default one, that is
            run beside, and the tables of clean networks judge it.
        steps: The most gradient evaluations a search (default: 20).
        constraint: Project onto the domain, or clamp in the forward pass (the authors' script).
        batch: The most searches side by side (default: what memory allows).
        limit: The seconds that the scan of a model may take; one whose first steps show that it
            would take longer fails at once.
        json_to: Write the report as JSON: a file, a folder (one file a model), or - to print it. In
            a folder, a report on the same path is replaced, one on another model is kept.
        html_to: Write the report as one HTML file, or one a model into a folder.
        sarif_to: Write one SARIF file about all models, .sarif or .json.
        quiet: Print one line a model.
    """
    at_least(1, seeds=seeds, restarts=restarts, steps=steps, batch=batch)
    level_between(level)
    if not limit > 0:
        raise Usage(f"--limit {limit:g}: expected more than 0 seconds")
    if null == "reference" and not reference:
        raise Usage("--null reference needs --reference, with clean models of the same kind")
    if null == "joint" and not (method == "fast" if universal is None else universal):
        raise Usage("--null joint needs --universal, which --method paper is without by default")
    scanning: dict[str, Any] = {
        "method": method,
        "null": null,
        "level": level,
        "seed": seed,
        "seeds": seeds,
        "limit": limit,
    }
    overrides = {
        "universal": universal,
        "restarts": restarts,
        "steps": steps,
        "constraint": constraint,
        "batch": batch,
    }
    scanning |= {name: value for name, value in overrides.items() if value is not None}
    known = loading.options()
    named = [loading.class_names] if loading.class_names is not None else []
    outputs = plan(
        models,
        json_to=json_to,
        html_to=html_to,
        sarif_to=sarif_to,
        inputs=[*models, *(reference or ()), *named],
    )
    if reference:
        scanning["references"] = gate.references(reference, loading=known, scanning=scanning)
    outcomes: list[gate.Outcome] = []
    written = True
    out = streams.console()
    for number, path in enumerate(models):
        with watching(str(path), shown=not quiet) as progress:
            outcome = gate.scan_file(path, loading=known, scanning=scanning | {"progress": progress})
        outcomes.append(outcome)
        if json_to != "-":  # the verdict first: whatever happens to the files, it has been told
            _show(outcome.report, out, brief=quiet or len(models) > 1)
        written &= outputs.write(number, outcome.report)
    reports = [outcome.report for outcome in outcomes]
    if json_to == "-":
        texts = [report.to_json() for report in reports]
        streams.say(texts[0] if len(texts) == 1 else "[" + ",\n".join(texts) + "]")
    written &= outputs.write_all(reports)
    codes = [outcome.code for outcome in outcomes]
    return gate.worst(codes if written else [*codes, gate.FAILED])


def _show(report: Report, out: Console, *, brief: bool) -> None:
    from mmbd.render.terminal import line, terminal

    if brief:
        streams.say(line(report))
    else:
        terminal(report, out)
