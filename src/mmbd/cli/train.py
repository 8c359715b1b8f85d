"""`mmbd train`: one model, clean or backdoored, with its trigger and its card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from mmbd.base.text import clean_text
from mmbd.cli import places, streams
from mmbd.cli.options import INPUT, OUTPUT, Names, Numbers, Plain, Texts, Usage, numbers, shape

if TYPE_CHECKING:
    from mmbd.zoo.job import Job

SUFFIX = ".safetensors"


def train(
    *,
    preset: Annotated[str | None, INPUT] = None,
    data: Annotated[str | None, INPUT] = None,
    test: Annotated[str | None, INPUT] = None,
    data_root: Annotated[Path, INPUT] = Path(),
    size: Annotated[str | None, INPUT] = None,
    crop: Annotated[float | None, INPUT] = None,
    grey: Annotated[bool, Plain, INPUT] = False,
    samples: Annotated[int | None, INPUT] = None,
    classes: Annotated[Names, INPUT] = None,
    limit: Annotated[int | None, INPUT] = None,
    test_limit: Annotated[int | None, INPUT] = None,
    mean: Annotated[Numbers, INPUT] = None,
    std: Annotated[Numbers, INPUT] = None,
    arch: str | None = None,
    arch_arg: Texts = None,
    attack: str = "clean",
    attack_arg: Texts = None,
    sources: str = "M",
    target: str | None = None,
    seed: int = 0,
    epochs: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    optimizer: str | None = None,
    weight_decay: float | None = None,
    augment: Names = None,
    precision: Literal["float32", "bfloat16"] | None = None,
    compile_: Annotated[Literal["auto", "always", "never"] | None, Parameter(name="--compile")] = None,
    device: str = "cpu",
    out: Annotated[Path, OUTPUT],
    force: Annotated[bool, Plain, OUTPUT] = False,
) -> int:
    """Train one model. Written are the weights, the trigger (NAME.trigger.safetensors) and a card.

    Exit codes: 0 done, 2 failed (no such data, training diverged), 4 usage.

    Args:
        preset: Named settings of data, network, training and attack, for example cifar10-small; "mmbd
            list presets" shows all. What is given besides takes precedence.
        data: Training data: a Parquet or .npz file, a folder of images by class, or clouds:N for N
            made-up point clouds a class.
        test: Test data, in the same forms.
        data_root: The folder where relative paths of data begin (default: here).
        size: The size that images are resized to, height x width in pixels, for example 32x32
            (default: as they are).
        crop: The central share of each side of an image that is kept, above 0 and up to 1 (default: 1).
        grey: Take images in grey, with one channel.
        samples: The length that sounds are cut to, in samples (default: 8000).
        classes: The classes to keep, by number or name (default: all).
        limit: The most training samples, drawn at random (default: all).
        test_limit: The most test samples, drawn at random (default: all).
        mean: The mean to normalise with, one number or one a channel, for inputs from 0 to 1 (default:
            none).
        std: The standard deviation to normalise with, written alike.
        arch: The network: a name that "mmbd list networks" shows (default: the preset's first).
        arch_arg: An argument of the network, as key=value; may be repeated.
        attack: The attack, or kind of difficult clean model, to train with: a name that "mmbd list
            attacks" shows, or clean for none.
        attack_arg: An option of the attack, as key=value, for example count=500; may be repeated.
        sources: The classes that the trigger is put on: M for all but the target, S for a random one,
            or classes with commas between them.
        target: The class that the trigger leads to, by number or name (default: the seed draws it).
        seed: The number that every random choice follows from: weights, batches, poisoned samples.
        epochs: How often the training goes through the data (default: the preset's).
        batch: The number of samples a step (default: the preset's).
        lr: The learning rate (default: the preset's).
        optimizer: The optimizer: adam or sgd (default: the preset's).
        weight_decay: The weight decay (default: the preset's).
        augment: Random changes of every batch, such as crop and flip (default: the preset's).
        precision: The number format that heavy operations compute in (default: the preset's).
        compile_: Whether to compile the network first, on a GPU; auto does so for long trainings.
        device: The device to train on, such as cpu or cuda:0.
        out: The file to write, NAME.safetensors, or a folder for a name made of network and attack.
        force: Overwrite a model of that name.
    """
    from mmbd.formats.networks.architecture import parse_arguments
    from mmbd.zoo import plan

    if (data is None) != (test is None):
        raise Usage("give --data and --test together")
    if data is None and preset is None:
        raise Usage("give --data and --test, or a --preset with --data-root")
    height_width = shape(size)
    data_table = {
        "train": data,
        "test": test,
        "size": height_width,
        "crop": crop,
        "grey": grey or None,
        "samples": samples,
        "limit": limit,
        "test_limit": test_limit,
        "mean": numbers("--mean", mean),
        "std": numbers("--std", std),
        "classes": None if classes is None else [_class(word) for word in classes],
    }
    recipe = {
        "epochs": epochs,
        "batch": batch,
        "lr": lr,
        "optimizer": optimizer,
        "augment": augment,
        "weight_decay": weight_decay,
        "precision": precision,
        "compile": compile_,
    }
    who: dict[str, Any] = {"kind": attack, **parse_arguments(attack_arg or ())}
    if attack != "clean":
        who |= _given({"sources": _sources(sources)})
        who |= _given({"target": None if target is None else _class(target)})
    name = f"{attack}-{sources}" if attack != "clean" and sources in "SM" else attack
    raw: dict[str, Any] = {
        "device": device,
        "seeds": [seed],
        "recipe": _given(recipe),
        "data": {"data": _given(data_table)},
        "attack": {name: who},
    }
    raw |= _given({"preset": preset})
    if arch is not None:
        raw["arch"] = {arch: parse_arguments(arch_arg or ())}
    elif arch_arg:
        raise Usage("--arch-arg needs --arch")
    job = plan.jobs(raw)[0]
    folder, stem = _place(out, f"{job.arch.name}-{name}-{seed}", force)
    card = _train(replace(job, name=stem, draw=seed), folder, data_root)
    _tell(card, folder)
    return 0


def _train(job: Job, folder: Path, root: Path) -> dict[str, Any]:
    from mmbd.base.devices import usable
    from mmbd.base.errors import Failed
    from mmbd.zoo.train_one import make

    usable(job.device)
    places.folder("--out", folder)
    screen: Any = streams.screen()
    with Console(file=screen).status(f"training {clean_text(job.arch.name)}") as status:
        try:
            return make(
                job,
                folder,
                root=root,
                on_epoch=lambda epoch, loss: status.update(
                    f"epoch {epoch + 1} of {job.recipe.epochs}, loss {loss:.4f}"
                ),
            )
        except FloatingPointError as error:
            raise Failed(f"{error}: try a smaller --lr") from error


def _tell(card: dict[str, Any], folder: Path) -> None:
    from mmbd.cli.zoo import figures
    from mmbd.zoo import cards

    model = clean_text(folder / card["file"], 1000)
    streams.say(f"{model}: {card['label']}  {figures(card)}")
    if card["targets"]:
        names = [clean_text(card["class_names"][label]) for label in card["targets"][:5]]
        more = " ..." if card["targets"][5:] else ""
        streams.say(
            f"target: {', '.join(names)}{more}; sources: {len(card['sources'])} classes; "
            f"poisoned: {card['poisoned'] or 'batch by batch'}"
        )
    for reason in cards.excluded([card]).values():
        streams.say(clean_text(reason, 300))


def _place(out: Path, usual: str, force: bool) -> tuple[Path, str]:
    """The folder and the name to write to."""
    if out.suffix == SUFFIX and not out.is_dir():
        folder, name = out.parent, out.name.removesuffix(SUFFIX)
    elif out.suffix and not out.is_dir():
        raise Usage(f"--out {out}: expected a folder, or a name that ends in {SUFFIX}")
    else:
        folder, name = out, usual
    if not name or name.endswith(".trigger"):
        raise Usage(f"--out {out}: .trigger{SUFFIX} is the name of a trigger's file")
    there = [file for file in (folder / f"{name}{SUFFIX}", folder / f"{name}.json") if file.exists()]
    if there and not force:
        raise Usage(f"{there[0]} is there already: give --force to overwrite it")
    return folder, name


def _sources(text: str) -> str | list[int | str]:
    return text if text in ("S", "M") else [_class(word) for word in text.split(",") if word]


def _class(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}
