"""`mmbd fix`: a model and a few clean samples in, a repaired model and what it is worth out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from mmbd.base.errors import Failed
from mmbd.cli import places, samples, streams
from mmbd.cli.failing import failing
from mmbd.cli.loading import DEFAULT_LOADING, Loading
from mmbd.cli.options import INPUT, OUTPUT, Outs, Place, Plain, Texts, Usage, at_least, level_between, one_of
from mmbd.cli.outputs import Outputs, outs, plan, written
from mmbd.cli.progress import watching
from mmbd.workflows import scan_file as gate

if TYPE_CHECKING:
    from mmbd.formats.loaded import Loaded
    from mmbd.model.classifier import Classifier
    from mmbd.results.report import Report
    from mmbd.triggers.backdoor import Backdoor
    from mmbd.workflows.repaired import Repair


def fix(
    model: Annotated[Path, INPUT],
    /,
    *,
    data: Annotated[Path | None, INPUT] = None,
    no_data: Annotated[bool, Plain, INPUT] = False,
    loading: Annotated[Loading, INPUT] = DEFAULT_LOADING,
    per_class: Annotated[int, INPUT] = 20,
    held_out: Annotated[Path | None, INPUT] = None,
    most: Annotated[int, INPUT] = 2000,
    unlabelled: Annotated[bool, Plain, INPUT] = False,
    trigger: Annotated[Path | None, INPUT] = None,
    triggered: Annotated[Path | None, INPUT] = None,
    target: Annotated[int | None, INPUT] = None,
    method: str = "mm-bm",
    option: Texts = None,
    re_attack: Annotated[bool, Plain, INPUT] = False,
    rescan: Annotated[bool, Parameter(negative="--no-rescan")] = True,
    level: float = 0.05,
    seed: int = 0,
    out: Annotated[Outs, OUTPUT] = None,
    json_to: Annotated[Place, OUTPUT, Parameter(name="--json")] = None,
    keep: Annotated[bool, Plain, OUTPUT] = False,
    force: Annotated[bool, Plain, OUTPUT] = False,
    quiet: Annotated[bool, Plain, OUTPUT] = False,
) -> int:
    """Take a backdoor out of a model with a few clean samples, and measure what that did.

    The model's file is left alone. The verdict is "reduced" where a search for triggers, or the known
    one, reaches no more what it reached before. Exit codes: 0 reduced, and written, 2 failed, 3 refused,
    not shown to be reduced, or failed to be (no model is written but with --keep; the record is), 4 usage.

    Args:
        model: The model file: safetensors, or a PyTorch state dict.
        data: Clean samples: a folder of images by class, or a Parquet or .npz file. Classes are
            matched with the model's by name.
        no_data: Repair with drawn inputs instead, where there are no clean samples. It is weaker, and never
            "reduced" without --held-out.
        loading: What the file does not say.
        per_class: How many samples of each class to repair with; the others measure.
        held_out: Other clean samples to measure on, instead of those left over.
        most: The most held-out samples to measure on; the seed draws them.
        unlabelled: Do not use the labels of the samples for the repair.
        trigger: The backdoor's trigger, where it is known: a file that mmbd train wrote; how often it
            works is then measured. A method that takes a trigger (unlearning) gets it too; it also
            takes the JSON report of a detector that found a mask and a pattern.
        triggered: Samples with the trigger on them, in the same forms as --data; needs --target.
        target: The number of the class that the triggered samples are taken to.
        method: The method of repair: mm-bm, auto (weights are trained too where mm-bm is not enough or a
            warp works), or another one of those that "mmbd list methods" shows.
        option: An option of the method, as key=value; may be repeated.
        re_attack: Train a copy of the repaired model on what the search found, one epoch on ten samples,
            and tell how fast it comes back.
        rescan: Scan the model before and after.
        level: The false-positive rate of these scans.
        seed: The number that the choice of the samples and the repair follow from.
        out: A file to write, in the form of its suffix. The model: .safetensors for mmbd, .onnx, .pt2
            (torch.export) or .pt (a pickled module of plain PyTorch). The record of the repair: .json,
            or - to print it. May be repeated (default for the model: MODEL.repaired.safetensors).
        json_to: Write the record as JSON: a file, or - to print it.
        keep: Write the repaired model although the backdoor is not shown to be reduced.
        force: Overwrite models that are there.
        quiet: Show no progress.
    """
    if no_data == (data is not None):
        raise Usage(
            "give --data with clean samples" + (" or --no-data, not both" if no_data else ", or --no-data")
        )
    if no_data and trigger is not None and held_out is None and trigger.suffix.lower() != ".json":
        raise Usage("--trigger needs clean samples to put it on: give --held-out")
    if (triggered is None) != (target is None):
        raise Usage("give --triggered and --target together")
    if trigger is not None and triggered is not None:
        raise Usage("give --trigger or --triggered, not both")
    at_least(0, target=target)
    at_least(1, per_class=per_class, most=most)
    level_between(level)
    given = (model, data, held_out, trigger, triggered, loading.class_names)
    inputs = [path for path in given if path is not None]
    if not model.exists():
        raise Failed(f"{model}: there is no such file")
    targets, outputs = _places(model, out or (), json_to, inputs, force)

    from mmbd.data.dataset import some, split
    from mmbd.formats import export
    from mmbd.formats.loading import load_file
    from mmbd.workflows import repair as fixing

    method, options = _method(method, option, trigger)
    known = loading.options()
    with failing(str(model)):
        loaded = load_file(model, known)
    classifier = loaded.classifier
    for place in targets:
        with failing(f"{model}: cannot be written as {place.suffix}"):
            export.check(classifier, place.suffix.lower(), lambda: loaded.spec)
    if target is not None and target >= classifier.classes:
        raise Usage(f"--target {target}: the model has classes 0 to {classifier.classes - 1}")
    learn, others = "drawn", None
    if data is not None:
        learn, others = split(samples.read(data, classifier), per_class, seed=seed)
    if held_out is not None:
        others = samples.read(held_out, classifier)
    backdoor = None
    if trigger is not None:
        with failing(f"--trigger {trigger}"):
            backdoor, options = _trigger(trigger, method, options)
    shown = None
    if triggered is not None and target is not None:
        there = samples.read(triggered, classifier)
        there = there.take((there.labels != target).nonzero().flatten())
        shown = (there.inputs, target, there.labels)
        if not len(shown[0]):
            raise Failed(f"--triggered {triggered}: no samples of classes other than {target}")
    # The repair runs the model, which is somebody else's code: anything may come.
    with failing(f"{model}: not repaired"), watching(model.name, shown=not quiet) as progress:
        repaired, outcome = fixing.fix(
            classifier,
            learn,
            None if others is None else some(others, most, seed=seed),
            method=method,
            labelled=not unlabelled,
            backdoor=backdoor,
            triggered=shown,
            seed=seed,
            scanning=_scanning(loaded, level) if rescan else None,
            re_attack=re_attack,
            progress=progress,
            options=options,
        )
    reduced, changed = outcome.verdict.word == "reduced", outcome.record.changed
    if outputs.printed is None:
        _tell(outcome)
    if changed and not reduced:
        word = "failed" if outcome.verdict.word == "failed" else "not shown to be reduced"
        end = "written all the same, as --keep asks" if keep else "no model is written; --keep writes it"
        streams.complain(f"{model}: {word}: {end}")
    done, result = True, replace(loaded, classifier=repaired)
    for place in targets if changed and (reduced or keep) else ():
        done &= written(place, partial(export.export, result, place, force=force))
    done &= outputs.write(0, outcome)
    done &= outputs.write_all([outcome])
    return gate.worst([gate.CLEAN if reduced else gate.REFUSED, *([] if done else [gate.FAILED])])


def _stem(model: Path) -> str:
    """The model's name, so that a file of checkpoints and a folder give one too."""
    return model.resolve().name.removesuffix(model.suffix)


def _places(
    model: Path, out: Sequence[str], json_to: str | None, inputs: Sequence[Path], force: bool
) -> tuple[list[Path], Outputs]:
    """Where the repaired model goes, and where the record, before anything long runs.

    Raises:
        Usage: a name that is no place for it.
        Failed: a folder that cannot be written to.
        ImportError: .onnx, and what writes it is not installed.
    """
    from mmbd.formats.export import EXPORTS

    models = [place for place in out if Path(place).suffix.lower() in EXPORTS]
    records = outs([place for place in out if place not in models])
    targets = [Path(place) for place in models] or [model.parent / f"{_stem(model)}.repaired.safetensors"]
    for place in targets:
        places.file("--out", place, list(EXPORTS), inputs)
        if os.path.lexists(place) and not force:
            raise Usage(f"{place} is there already: give --force to overwrite it")
    if len(set(map(os.path.realpath, targets))) < len(targets):
        raise Usage(f"--out {targets[-1]}: two of the outputs are one file")
    if any(place.suffix.lower() == ".onnx" for place in targets):
        from mmbd.base.extras import require

        for module in ("onnx", "onnxscript", "onnxruntime"):
            require(module, extra="onnx")
    return targets, plan(
        "repair", [*records, ("--json", "json", json_to)], [model], inputs, other=list(EXPORTS)
    )


def _method(method: str, option: Sequence[str] | None, trigger: Path | None) -> tuple[str, dict[str, Any]]:
    """The method by its name in the table, and its options.

    Raises:
        Usage: no such method or option, or no trigger for a method that needs one.
    """
    from mmbd.formats.networks.architecture import parse_arguments
    from mmbd.mitigators import ALIASES, MITIGATORS, resolved

    one_of("--method", method, "method", [*MITIGATORS, *ALIASES], "methods")
    takes_trigger = "trigger" in MITIGATORS[ALIASES.get(method, method)].needs
    if takes_trigger and trigger is None:
        raise Usage(
            f"--method {method} needs the trigger that is to be unlearned: give --trigger, a file that mmbd "
            "train wrote, or the JSON report of a detector that found a mask and a pattern"
        )
    options = parse_arguments(option or ())
    if "trigger" in options:
        raise Usage("--option trigger: give --trigger FILE")
    try:
        name, options = resolved(method, options | ({"trigger": trigger} if takes_trigger else {}))
    except ValueError as error:
        raise Usage(f"--option: {error}") from error
    return name, options


def _trigger(path: Path, method: str, options: dict[str, Any]) -> tuple[Backdoor | None, dict[str, Any]]:
    """The known backdoor, if it is one, and the options with what the method is to unlearn."""
    if path.suffix.lower() == ".json":
        if "trigger" not in options:
            raise Usage(
                f"--trigger {path}: what a detector found is for a method that takes a trigger, such as "
                f"--method unlearning, and {method} takes none"
            )
        return None, options | {"trigger": samples.found_trigger(path)}
    from mmbd.triggers.files import load

    backdoor = load(path)
    if "trigger" not in options:
        return backdoor, options
    several = list({id(trigger): trigger for trigger in backdoor.triggers.values()}.values())
    if len(several) > 1:
        raise Failed(f"{len(several)} triggers, each for other source classes: {method} takes one")
    return backdoor, options | {"trigger": several[0]}


def _scanning(loaded: Loaded, level: float) -> Callable[[Classifier], Report]:
    """Scans the model before, as the file it comes from, and after."""
    from mmbd.detectors.scan import ScanOptions, scan_by

    how = ScanOptions(level=level)
    return lambda one: scan_by(loaded if one is loaded.classifier else one, how)


def _tell(outcome: Repair) -> None:
    from mmbd.render.repair import lines

    for line in lines(outcome):
        streams.say(line)
