"""`mmbd scan`: model files in, verdicts, reports and an exit code out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from mmbd import gate
from mmbd.cli.loading import UNSAID, Loading
from mmbd.cli.options import Plain, Usage
from mmbd.progress import watching

if TYPE_CHECKING:
    from mmbd.report import Report


def scan(
    models: Annotated[list[Path], Plain],
    /,
    *,
    loading: Loading = UNSAID,
    method: Literal["fast", "paper"] = "fast",
    universal: bool | None = None,
    null: Literal["joint", "population", "bootstrap", "paper", "authors", "reference"]
    | None = None,
    level: float = 0.05,
    reference: Annotated[list[Path] | None, Plain] = None,
    seed: int = 0,
    seeds: int = 1,
    restarts: int | None = None,
    steps: int | None = None,
    constraint: Literal["project", "clamp"] | None = None,
    batch: int | None = None,
    json_to: Annotated[str | None, Parameter(name="--json", allow_leading_hyphen=True)] = None,
    html_to: Annotated[Path | None, Parameter(name="--html")] = None,
    sarif_to: Annotated[Path | None, Parameter(name="--sarif")] = None,
    quiet: Annotated[bool, Plain] = False,
) -> int:
    """Test model files for a backdoor. No data is needed, and nothing in the files is executed.

    Exit codes: 0 clean, 1 backdoored, 2 failed, 3 refused or not evaluable, 4 usage. With several
    models the worst decides: 1 over 3 over 2 over 0.

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
        seeds: Repeat with so many seeds and report how stable the outcome is.
        restarts: Searches a class.
        steps: The most gradient evaluations a search.
        constraint: Project onto the domain, or clamp in the forward pass (the authors' script).
        batch: The most searches side by side (default: what memory allows).
        json_to: Write the report as JSON: a file, a folder (one file a model), or - to print it.
        html_to: Write the report as one HTML file, or one a model into a folder.
        sarif_to: Write one SARIF file about all models.
        quiet: Print one line a model.
    """
    files = [Path(json_to) if json_to not in (None, "-") else None, html_to]
    if len(models) > 1 and any(file is not None and file.suffix for file in files):
        raise Usage("with several models, --json and --html take a folder (or --json -)")
    scanning: dict[str, Any] = {
        "method": method, "null": null, "level": level, "seed": seed, "seeds": seeds,
    }  # fmt: skip
    overrides = {
        "universal": universal, "restarts": restarts, "steps": steps, "constraint": constraint,
        "batch": batch,
    }  # fmt: skip
    scanning |= {name: value for name, value in overrides.items() if value is not None}
    known = loading.options()
    if reference:
        scanning["references"] = gate.references(reference, loading=known, scanning=scanning)
    outcomes: list[gate.Outcome] = []
    out = Console(soft_wrap=True)
    for path in models:
        with watching(path.name, shown=not quiet) as progress:
            outcome = gate.scan_file(
                path, loading=known, scanning=scanning | {"progress": progress}
            )
        outcomes.append(outcome)
        for file, suffix in zip(files, (".json", ".html"), strict=True):
            if file is not None:
                _write(outcome.report, path, file, suffix)
        if json_to != "-":
            _show(outcome.report, out, brief=quiet or len(models) > 1)
    reports = [outcome.report for outcome in outcomes]
    if json_to == "-":
        texts = [report.to_json() for report in reports]
        print(texts[0] if len(texts) == 1 else "[" + ",\n".join(texts) + "]")
    if sarif_to is not None:
        from mmbd.render.sarif import sarif
        from mmbd.report import write

        write(sarif_to, sarif(reports))
    return gate.worst(outcome.code for outcome in outcomes)


def _write(report: Report, model: Path, target: Path, suffix: str) -> None:
    """Into the file `target`, or under the model's name into the folder `target`."""
    if not target.suffix:
        target.mkdir(parents=True, exist_ok=True)
        target = target / f"{model.name}{suffix}"
    elif target.suffix != suffix:
        raise Usage(f"{target}: expected a name that ends in {suffix}, or a folder")
    report.save(target)


def _show(report: Report, out: Console, *, brief: bool) -> None:
    from mmbd.render.terminal import line, terminal

    if brief:
        out.print(line(report), markup=False, highlight=False, emoji=False)
    else:
        terminal(report, out)
