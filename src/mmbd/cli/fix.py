"""`mmbd fix`: a model and a few clean samples in, a repaired model and what it is worth out."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from mmbd import gate
from mmbd.cli.loading import UNSAID, Loading
from mmbd.cli.options import Plain, Usage

if TYPE_CHECKING:
    from mmbd.classifier import Classifier
    from mmbd.data import Dataset
    from mmbd.domain import Domain
    from mmbd.fixing import Repair
    from mmbd.load import Loaded
    from mmbd.mitigators.mitigator import Progress

# By suffix: what is written.
FORMS = (".safetensors", ".onnx", ".pt2", ".pt")


def fix(
    model: Path,
    /,
    *,
    data: Path,
    loading: Loading = UNSAID,
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
    places = out or [model.parent / f"{_stem(model)}.repaired.safetensors"]
    _check_places(places, model, force)
    if (triggered is None) != (target is None):
        raise Usage("give --triggered and --target together")
    if trigger is not None and triggered is not None:
        raise Usage("give --trigger or --triggered, not both")
    if per_class < 1 or most < 1:
        raise Usage("--per-class and --most must be at least 1")

    from mmbd import fixing
    from mmbd.load import load
    from mmbd.load.architecture import parse_arguments
    from mmbd.mitigators import METHODS
    from mmbd.scanning import scan

    if method not in METHODS:
        raise Usage(f"--method {method!r}: known are {', '.join(METHODS)}")
    loaded = load(model, **loading.options())
    classifier = loaded.classifier
    clean = _read(data, loaded)
    learn, left = fixing.split(clean, per_class, seed=seed)
    others = left if held_out is None else _read(held_out, loaded)
    backdoor = None
    if trigger is not None:
        from mmbd.attacks.files import load as load_trigger

        backdoor = load_trigger(trigger)
    shown = None
    if triggered is not None and target is not None:
        there = _read(triggered, loaded)
        shown = (there.inputs[there.labels != target], target)
        if not len(shown[0]):
            raise Usage(f"--triggered {triggered}: no samples of classes other than {target}")
    with _watching(model.name, shown=not quiet) as progress:
        repaired, outcome = fixing.fix(
            classifier, learn, fixing.some(others, most, seed=seed), method=method,
            labelled=not unlabelled, backdoor=backdoor, triggered=shown, seed=seed,
            scanning=(lambda one: scan(one, level=level)) if rescan else None, progress=progress,
            options=parse_arguments(option or ()),
        )  # fmt: skip
    if outcome.record.mitigated:
        for place in places:
            _write(place, repaired, loaded, force)
    _tell(outcome, places, json_to)
    return gate.CLEAN if outcome.record.mitigated else gate.REFUSED


def _stem(model: Path) -> str:
    """The model's name, so that a file of checkpoints and a folder give one too."""
    return model.resolve().name.removesuffix(model.suffix)


def _check_places(places: list[Path], model: Path, force: bool) -> None:
    """Before anything long runs: Usage where the results cannot be written."""
    for place in places:
        if place.suffix not in FORMS:
            raise Usage(f"--out {place}: expected a name that ends in one of {', '.join(FORMS)}")
        if place.exists() and place.samefile(model):
            raise Usage(f"--out {place}: that is the model itself")
        if place.exists() and not force:
            raise Usage(f"{place} is there already: give --force to overwrite it")
        if not place.parent.is_dir():
            raise Usage(f"--out {place}: there is no folder {place.parent}")


def _read(path: Path, loaded: Loaded) -> Dataset:
    """Samples in the shape of the model's inputs, numbered as its classes."""
    from mmbd import data, fixing

    return fixing.named_alike(
        data.load(path, **_shape(loaded.classifier.domain)), loaded.classifier.class_names
    )


def _shape(domain: Domain) -> dict[str, Any]:
    """Options of `data.load` for inputs of this domain."""
    from mmbd.points import Points

    if isinstance(domain, Points):
        return {"points": domain.shape[-1]}
    if len(domain.shape) == 3:
        return {"size": (domain.shape[1], domain.shape[2]), "grey": domain.shape[0] == 1}
    return {"samples": domain.shape[-1]}


@contextmanager
def _watching(name: str, *, shown: bool) -> Generator[Progress | None]:
    """A progress bar on standard error, where somebody sees it."""
    if not shown or not sys.stderr.isatty():
        yield None
        return
    from rich.markup import escape
    from rich.progress import Progress as Bar

    from mmbd.render.text import clean_text

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(clean_text(name)), total=None)
        yield lambda done, expected: bar.update(task, completed=done, total=expected)


def _write(place: Path, repaired: Classifier, loaded: Loaded, force: bool) -> None:
    from mmbd import export

    if place.suffix == ".safetensors":
        export.safetensors(repaired, place, loaded.spec, force=force)
    elif place.suffix == ".onnx":
        export.onnx(repaired, place, force=force)
    elif place.suffix == ".pt2":
        export.torch_export(repaired, place, force=force)
    else:
        import torch

        from mmbd.writing import whole

        with whole(place, force=force) as partial:
            torch.save(export.plain(repaired), partial)


def _tell(outcome: Repair, places: list[Path], json_to: str | None) -> None:
    from mmbd.render.repair import repair
    from mmbd.report import write

    if json_to == "-":
        print(outcome.to_json())
        return
    if json_to is not None:
        write(Path(json_to), outcome.to_json())
    out = Console(soft_wrap=True)
    repair(outcome, out)
    if outcome.record.mitigated:
        written = ", ".join(map(str, places))
        out.print(f"written: {written}", markup=False, highlight=False, emoji=False)
