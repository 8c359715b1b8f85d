"""`mmbd shadows`: shadow models of a data set, and the meta-classifier of the detector meta."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from mmbd.base.text import clean_text
from mmbd.cli import places, streams
from mmbd.cli.options import INPUT, OUTPUT, Plain, Texts, Usage, at_least, device_here, one_of, shape
from mmbd.cli.progress import watching

SUFFIX = ".safetensors"


def shadows(
    data: Annotated[Path, INPUT],
    /,
    *,
    size: Annotated[str | None, INPUT] = None,
    grey: Annotated[bool, Plain, INPUT] = False,
    samples: Annotated[int, INPUT] = 8000,
    limit: Annotated[int | None, INPUT] = None,
    arch: str | None = None,
    arch_arg: Texts = None,
    count: int = 64,
    epochs: int = 30,
    precision: Literal["float32", "bfloat16"] = "bfloat16",
    seed: int = 0,
    workers: int = 0,
    device: str = "cpu",
    out: Annotated[Path, OUTPUT],
    store: Annotated[Path | None, OUTPUT] = None,
    force: Annotated[bool, Plain, OUTPUT] = False,
) -> int:
    """Train shadow models, and on them what "mmbd scan --detector meta" judges models of this data with.

    Shadow models are kept as they come: a run that was killed goes on where it was, and a later one
    with more of them trains the new ones alone. Use the file that comes out with
    --option shadow_models=FILE.

    Exit codes: 0 done, 2 failed (no such data, training diverged), 4 usage.

    Args:
        data: Clean samples of the models' task: a Parquet or .npz file, or a folder of images by class.
        size: The size that images are resized to, height x width in pixels, for example 32x32
            (default: as they are). It must be that of the models to be judged.
        grey: Take images in grey, with one channel.
        samples: The length that sounds are cut to, in samples.
        limit: The most samples to use, drawn at random (default: all). The paper uses 1000 of CIFAR-10.
        arch: The network of the shadow models, best that of the models to be judged: a name that "mmbd
            list networks" shows (default: the paper's for CIFAR-10).
        arch_arg: An argument of the network, as key=value; may be repeated.
        count: How many shadow models to train of each kind, clean and backdoored (the paper: 2048).
        epochs: How often the training of each goes through the samples (the paper: 100).
        precision: The number format that heavy operations compute in, where the processor has it.
        seed: The number that every random choice follows from.
        workers: How many processes train side by side, each with one CPU thread; 0 trains in this
            process, with all threads.
        device: The device to train on, such as cpu or cuda:0.
        out: The file to write, NAME.safetensors.
        store: The file that keeps the shadow models (default: results.sqlite beside what --out names).
        force: Overwrite the file that --out names.
    """
    from mmbd import nets
    from mmbd.data import read
    from mmbd.data.dataset import some
    from mmbd.detectors.meta.classifier import Learning
    from mmbd.detectors.meta.plan import RECIPE
    from mmbd.detectors.meta.shadows import train_shadows
    from mmbd.detectors.meta.train import meta_of, plan_of
    from mmbd.formats.networks.architecture import parse_arguments
    from mmbd.results.store import NAME, Store

    at_least(1, limit=limit, epochs=epochs, samples=samples)
    at_least(2, count=count)
    at_least(0, workers=workers)
    height_width = shape(size)
    if height_width is not None and len(height_width) != 2:
        raise Usage(f"--size {size}: expected height and width, such as 32x32")
    if arch is not None:
        one_of("--arch", arch, "architecture", nets.ARCHITECTURES, "networks")
    elif arch_arg:
        raise Usage("--arch-arg needs --arch")
    device_here(device)
    place = places.file("--out", out, [SUFFIX], [data])
    if place.exists() and not force:
        raise Usage(f"{clean_text(place, 400)} is there already: give --force to overwrite it")
    kept = Store(places.file("--store", store or place.with_name(NAME), [".sqlite"], [data, place]))
    found = read.load(data, size=height_width, grey=grey, samples=samples)
    if limit is not None:
        found = some(found, limit, seed=seed)
    plan = plan_of(
        found,
        arch,
        parse_arguments(arch_arg or ()),
        recipe=replace(RECIPE, epochs=epochs, precision=precision),
        seed=seed,
        device=device,
    )
    repaired = kept.repair()
    with watching(data.name or str(data)) as progress:
        trained = train_shadows(found, plan, count=count, store=kept, workers=workers, progress=progress)
    for warning in filter(None, (repaired, *trained.warnings)):
        streams.complain(warning)
    with watching(data.name or str(data)) as progress:
        meta = meta_of(trained, found, Learning(), seed=seed, progress=progress)
    meta.save(place, force=force)
    said = meta.shadows
    streams.say(
        f"{clean_text(place, 400)}: {said['clean']} clean and {said['backdoored']} backdoored shadow models "
        f"of {said['architecture']}"
    )
    streams.say(
        f"ACC {said['accuracy']:.1%}  ASR {said['ASR']:.1%} on their own samples; AUC {meta.auc:.3f} on the "
        f"{said['held out']} held out"
    )
    return 0
