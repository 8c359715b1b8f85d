"""`mmbd fix`: a model and a few clean samples in, a repaired model and what it is worth out."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from mmbd.base.errors import Failed
from mmbd.base.text import clean_text
from mmbd.base.writing import write_text
from mmbd.cli import places, samples, streams
from mmbd.cli.failing import failing
from mmbd.cli.loading import DEFAULT_LOADING, Loading
from mmbd.cli.options import Plain, Usage, at_least, level_between
from mmbd.data.dataset import some, split
from mmbd.workflows import scan_file as gate

if TYPE_CHECKING:
    from mmbd.mitigators.mitigator import Progress
    from mmbd.workflows.repair import Repair


def fix(
    model: Path,
    /,
    *,
    data: Path,
    loading: Loading = DEFAULT_LOADING,
    out: Annotated[list[Path] | None, Plain] = None,
    method: str = "mm-bm",
    option: Annotated[list[str] | None, Plain] = None,
    per_class: int = 20,
    held_out: Path | None = None,
    most: int = 2000,
    unlabelled: Annotated[bool, Plain] = False,
    trigger: Path | None = None,
    triggered: Path | None = None,
    target: int | None = None,
    rescan: Annotated[bool, Parameter(negative="--no-rescan")] = True,
    level: float = 0.05,
    seed: int = 0,
    json_to: Annotated[str | None, Parameter(name="--json", allow_leading_hyphen=True)] = None,
    force: Annotated[bool, Plain] = False,
    quiet: Annotated[bool, Plain] = False,
) -> int:
    """Take a backdoor out of a model with a few clean samples, and measure what that did.

    The model's file is left alone. Exit codes: 0 repaired and written, 2 failed, 3 refused or
    nothing could be mitigated (nothing is written), 4 usage.

    Args:
        model: The model file: safetensors, or a PyTorch state dict.
        loading: What the file does not say.
        data: Clean samples: a folder of images by class, or a Parquet or .npz file.
        out: What to write: .safetensors for mmbd, .onnx, .pt2 (torch.export) or .pt (a pickled
            module of plain PyTorch); may be repeated (default: MODEL.repaired.safetensors).
        method: How: mm-bm, auto (hardening where mm-bm is not enough or a warp works), paper,
            script, margin-clipping, hardening, fine-pruning, distillation.
        option: An option of the method, key=value; may be repeated.
        per_class: How many samples of each class to repair with; the others measure.
        held_out: Samples to measure on, instead of those left over.
        most: Measure on at most so many.
        unlabelled: Do not use the labels of the samples for the repair.
        trigger: The backdoor's trigger where it is known, as mmbd train writes it.
        triggered: Samples with the trigger on them, in the same forms as --data; needs --target.
        target: The class the triggered samples are taken to.
        rescan: Scan the model before and after.
        level: The false-positive rate of the scans.
        seed: Of the choice of the samples and of the repair.
        json_to: Write the whole record as JSON: a file, or - to print it.
        force: Overwrite what is there.
        quiet: No progress.
    """
    if (triggered is None) != (target is None):
        raise Usage("give --triggered and --target together")
    if trigger is not None and triggered is not None:
        raise Usage("give --trigger or --triggered, not both")
    at_least(0, target=target)
    at_least(1, per_class=per_class, most=most)
    level_between(level)
    inputs = [
        path for path in (model, data, held_out, trigger, triggered, loading.class_names) if path is not None
    ]
    if not model.exists():
        raise Failed(f"{model}: there is no such file")
    targets = _targets(out or [model.parent / f"{_stem(model)}.repaired.safetensors"], inputs, force=force)
    record_to = None
    if json_to not in (None, "-"):
        record_to = places.file("--json", json_to, [".json"], inputs)

    from mmbd.detectors.scan import scan
    from mmbd.formats import export
    from mmbd.formats.loading import load_file
    from mmbd.formats.networks.architecture import parse_arguments
    from mmbd.mitigators import METHODS, SHORT, options_of
    from mmbd.workflows import repair as fixing

    if method not in METHODS:
        raise Usage(f"--method {method!r}: known are {', '.join(METHODS)}")
    options = parse_arguments(option or ())
    if unknown := sorted(set(options) - set(has := options_of(SHORT.get(method, method)))):
        raise Usage(f"--option {unknown[0]}: {method} has no such option; it has {', '.join(has)}")
    known = loading.options()
    with failing(str(model)):
        loaded = load_file(model, known)
    classifier = loaded.classifier
    for place in targets:
        with failing(f"{model}: cannot be written as {place.suffix}"):
            export.check(classifier, place.suffix.lower(), lambda: loaded.spec)
    if target is not None and target >= classifier.classes:
        raise Usage(f"--target {target}: the model has classes 0 to {classifier.classes - 1}")
    clean = samples.read(data, loaded)
    learn, left = split(clean, per_class, seed=seed)
    others = left if held_out is None else samples.read(held_out, loaded)
    backdoor = None
    if trigger is not None:
        from mmbd.triggers.files import load as load_trigger

        with failing(f"--trigger {trigger}"):
            backdoor = load_trigger(trigger)
    shown = None
    if triggered is not None and target is not None:
        there = samples.read(triggered, loaded)
        shown = (there.inputs[there.labels != target], target)
        if not len(shown[0]):
            raise Failed(f"--triggered {triggered}: no samples of classes other than {target}")
    # The repair runs the model, which is somebody else's code: anything may come.
    with failing(f"{model}: not repaired"), _watching(model.name, shown=not quiet) as progress:
        repaired, outcome = fixing.fix(
            classifier,
            learn,
            some(others, most, seed=seed),
            method=method,
            labelled=not unlabelled,
            backdoor=backdoor,
            triggered=shown,
            seed=seed,
            scanning=(lambda one: scan(one, level=level)) if rescan else None,
            progress=progress,
            options=options,
        )
    _tell(outcome, json_to)
    codes = [gate.CLEAN if outcome.record.mitigated else gate.REFUSED]
    written = replace(loaded, classifier=repaired)
    todo = [(place, partial(export.export, written, place, force=force)) for place in targets]
    if not outcome.record.mitigated:
        todo = []
    if record_to is not None:
        todo.append((record_to, partial(write_text, record_to, outcome.to_json())))
    for place, act in todo:
        try:
            with failing(f"{place}: not written"):
                act()
        except Failed as error:
            streams.complain(clean_text(error, 1000))
            codes.append(gate.FAILED)
        else:
            if json_to != "-":
                streams.say(f"written: {clean_text(place, 1000)}")
    return gate.worst(codes)


def _stem(model: Path) -> str:
    """The model's name, so that a file of checkpoints and a folder give one too."""
    return model.resolve().name.removesuffix(model.suffix)


def _targets(given: list[Path], inputs: list[Path], *, force: bool) -> list[Path]:
    """Where the model goes, before anything long runs.

    Raises:
        Usage: a name that is no place for it.
        Failed: a folder that cannot be written to.
        ImportError: .onnx, and what writes it is not installed.
    """
    from mmbd.formats.export import EXPORTS

    for place in given:
        places.file("--out", place, list(EXPORTS), inputs)
        if os.path.lexists(place) and not force:
            raise Usage(f"{place} is there already: give --force to overwrite it")
    if len(set(map(os.path.realpath, given))) < len(given):
        raise Usage(f"--out {given[-1]}: two of the outputs are one file")
    if any(place.suffix.lower() == ".onnx" for place in given):
        from mmbd.base.extras import require

        for module in ("onnx", "onnxscript", "onnxruntime"):
            require(module, extra="onnx")
    return given


@contextmanager
def _watching(name: str, *, shown: bool) -> Generator[Progress | None]:
    """A progress bar on standard error, where somebody sees it."""
    if not shown or not sys.stderr.isatty():
        yield None
        return
    from rich.markup import escape
    from rich.progress import Progress as Bar

    from mmbd.base.text import clean_text

    screen: Any = streams.screen()
    with Bar(
        console=Console(file=screen), transient=True, redirect_stdout=False, redirect_stderr=False
    ) as bar:
        task = bar.add_task(escape(clean_text(name)), total=None)
        yield lambda done, expected: bar.update(task, completed=done, total=expected)


def _tell(outcome: Repair, json_to: str | None) -> None:
    from mmbd.render.repair import lines

    if json_to == "-":
        streams.say(outcome.to_json())
        return
    for line in lines(outcome):
        streams.say(line)
