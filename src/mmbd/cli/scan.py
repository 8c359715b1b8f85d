"""`mmbd scan`: model files in, verdicts, reports and an exit code out."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from rich.console import Console

from mmbd.base.threads import sharing
from mmbd.cli import models as paths
from mmbd.cli import policies, samples, streams
from mmbd.cli.detecting import scan_options
from mmbd.cli.loading import DEFAULT_LOADING, Loading
from mmbd.cli.options import INPUT, MM_BD, OUTPUT, Plain, Texts, Usage, at_least, duration, level_between
from mmbd.cli.outputs import EVERYTHING_PRINTED, Destinations, plan
from mmbd.cli.progress import watching
from mmbd.workflows import scan_file as gate

if TYPE_CHECKING:
    from mmbd.results.report import Report

LIMIT = 3600.0  # seconds
Count = Annotated[int | None, MM_BD]


def scan(
    models: Annotated[list[Path], Plain, INPUT],
    /,
    *,
    loading: Annotated[Loading, INPUT] = DEFAULT_LOADING,
    data: Annotated[Path | None, INPUT] = None,
    per_class: Annotated[int | None, INPUT] = None,
    trust_code: Annotated[bool, Plain, INPUT] = False,
    trust_unsandboxed: Annotated[bool, Plain, INPUT] = False,
    policy: Path | None = None,
    detector: str | None = None,
    option: Texts = None,
    level: float | None = None,
    seed: int = 0,
    seeds: int = 1,
    limit: float | None = None,
    budget: str | None = None,
    method: Annotated[Literal["fast", "paper"] | None, MM_BD] = None,
    null: Annotated[str | None, MM_BD] = None,
    reference: Annotated[list[Path] | None, Plain, MM_BD] = None,
    universal: Annotated[bool | None, MM_BD] = None,
    restarts: Count = None,
    steps: Count = None,
    constraint: Annotated[Literal["project", "clamp"] | None, MM_BD] = None,
    batch: Count = None,
    precision: Annotated[Literal["auto", "bfloat16", "float32"] | None, MM_BD] = None,
    to: Annotated[Destinations, OUTPUT] = EVERYTHING_PRINTED,
) -> int:
    """Test model files for a backdoor. The default detector, MM-BD, needs no data.

    Nothing in the files is executed, but with --trust-code. Exit codes: 0 clean, 1 backdoored, 2 failed,
    3 refused or not evaluable, 4 usage. With several models the worst decides: 1 over 3 over 2 over 0. Put
    -- before names that a shell writes, as they may look like options: mmbd scan --out reports/ -- *

    Args:
        models: Model files, or folders of them: "mmbd list formats" shows what is read. In a folder of
            several models each is scanned, whatever becomes of the others.
        loading: What the files do not say.
        data: Clean samples of the models' task: a folder of images by class, or a Parquet or .npz
            file. Classes are matched with a model's by name. MM-BD can do without, and finds more
            with them in classifiers of images; some detectors need them.
        per_class: How many of these samples to use of each class; the seed draws them (default: as
            many as the detector takes, 10 for neural-cleanse).
        trust_code: Run files that are programs, TorchScript archives and whole pickles, and scan what they
            make, all of it in a sandbox without network and files. They are refused otherwise.
        trust_unsandboxed: Run them with all your rights where this system has no sandbox.
        policy: A policy in TOML (docs/gates.md): level, detector, null, minimum accuracy, formats, and
            exceptions with an end. Verdicts, exit codes and every output follow it. It is never looked for.
        detector: The detector to ask: one of those that "mmbd list detectors" shows (default: mm-bd).
        option: An option of the detector that has no flag here, as key=value; may be repeated.
        level: The false-positive rate asked for: the share of clean models that may be flagged
            (default: 0.05).
        seed: The number that every random choice follows from, such as the random starts.
        seeds: How many seeds to scan with, seed, seed + 1 and so on; the verdict is that of all
            together, at the same level.
        limit: The seconds that the scan of one model may take; a scan whose first steps show that it
            would take longer fails at once (default: 3600; with --budget at least twice that).
        budget: The time for one model, such as 90s, 10m or 2h, for MM-BD: the best answer that fits.
            Where that left out what could have told otherwise, a model is not called clean (exit 3).
        method: The search for the largest margin: fast, or the procedure of the paper, which takes
            about 100 times longer (default: that of the detector, fast for mm-bd).
        null: The test that decides: one of those that "mmbd list nulls" shows (default: reference
            where references are given, else with-samples with --data, else combined; for other
            inputs than images bootstrap, which clears sounds and point clouds (exit 0) only where it
            is asked for).
        reference: A clean model of the same task, a JSON report on one, or a folder of either, to
            compare with; may be repeated.
        universal: Search for universal perturbations too, which the combined and the joint test need
            (default: with the fast method, for images).
        restarts: The number of searches a class (default: 4). With other searches than the default
            ones those are run as well, and the tables of clean networks judge them.
        steps: The most gradient evaluations a search takes (default: 20).
        constraint: How inputs stay valid: project them after each step, or clamp them in the forward
            pass as the authors' script does (default: project).
        batch: The most searches side by side (default: what memory allows).
        precision: What the search computes in: float32, or bfloat16 for the way, and float32 for every
            number; auto is bfloat16 for heavy networks on processors with units for it (default: float32).
        to: Where the reports go.
    """
    from mmbd.detectors.scan import require_needs

    at_least(1, per_class=per_class, seeds=seeds, restarts=restarts, steps=steps, batch=batch)
    rules = None if policy is None else policies.read(policy)
    detector, level, null = policies.agreed(rules, detector=detector, level=level, null=null)
    level_between(level)
    if limit is not None and not limit > 0:
        raise Usage(f"--limit {limit:g}: expected more than 0 seconds")
    time = duration("--budget", budget)
    if time is not None and limit is not None and time > limit:
        raise Usage(f"--budget {budget} is more than --limit {limit:g}, after which the scan fails")
    most = max(LIMIT, 2 * (time or 0)) if limit is None else limit
    if null == "reference" and not reference:
        raise Usage("--null reference needs --reference, with clean models of the same kind")
    if null == "with-samples" and data is None:
        raise Usage("--null with-samples needs --data, with clean samples of the models' task")
    flags = {
        "method": method,
        "null": null,
        "references": reference,
        "universal": universal,
        "restarts": restarts,
        "steps": steps,
        "constraint": constraint,
        "batch": batch,
        "precision": precision,
    }
    how = scan_options(detector, flags, option, level=level, seed=seed, seeds=seeds, limit=most, budget=time)
    require_needs(how, data)
    if trust_unsandboxed and not trust_code:
        raise Usage("--trust-unsandboxed goes with --trust-code")
    if trust_code and data is not None:
        raise Usage("--trust-code and --data: detectors that need samples take no programs")
    if trust_code and rules is not None and rules.formats is not None:
        raise Usage(f"--trust-code: the policy {policy} names the formats that it allows; programs are none")
    trust: gate.Trust | None = ("unsandboxed" if trust_unsandboxed else "code") if trust_code else None
    known = loading.options()
    models = paths.expanded(models)
    read = [*models, *(reference or ()), loading.class_names, data, policy]
    outputs = plan("report", to.wanted, models, [path for path in read if path is not None])
    if reference:
        others = {name: value for name, value in how.options.items() if name != "references"}
        found = gate.references(reference, known, replace(how, options=others))
        how = replace(how, options=others | {"references": found})
    clean = (
        None
        if data is None
        else partial(samples.drawn, path=data, per_class=per_class or how.row.per_class, seed=seed)
    )
    labelled = None if data is None else partial(samples.labelled, path=data, seed=seed)
    outcomes: list[gate.Outcome] = []
    done = True
    console = streams.console()
    for number, path in enumerate(models):
        with watching(str(path), shown=not to.quiet) as told, sharing(told) as progress:
            outcome = gate.scan_file(
                path,
                known,
                how,
                samples=clean,
                progress=progress,
                trust=trust,
                policy=rules,
                labelled=labelled,
            )
        outcomes.append(outcome)
        if outputs.printed is None:  # the verdict first: whatever happens to the files, it has been told
            show(outcome.report, console, brief=to.quiet or len(models) > 1)
        done &= outputs.write(number, outcome.report)
    done &= outputs.write_all([outcome.report for outcome in outcomes])
    codes = [outcome.code for outcome in outcomes]
    return gate.worst(codes if done else [*codes, gate.FAILED])


def show(report: Report, out: Console, *, brief: bool) -> None:
    """Print a report: in one line, or whole."""
    from mmbd.render.terminal import line, terminal

    if brief:
        streams.say(line(report))
    else:
        terminal(report, out)
