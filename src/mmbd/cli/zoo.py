"""`mmbd zoo`: make labelled sets of clean and backdoored models, and list them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App

from mmbd.base import reading
from mmbd.cli import places, streams
from mmbd.cli.options import HOW, INPUT, OUTPUT, at_least
from mmbd.cli.progress import watching
from mmbd.workflows import scan_file as gate

if TYPE_CHECKING:
    from mmbd.base.progress import Progress
    from mmbd.zoo import Zoo

HEADINGS: tuple[str, ...] = ("model", "label", "attack", "targets", "ACC", "train", "ASR", "excluded")

zoo = App(name="zoo", help="Labelled sets of clean and backdoored models.", help_format="markdown")


def make(
    plan: Annotated[Path, INPUT],
    out: Annotated[Path, OUTPUT],
    /,
    *,
    data_root: Annotated[Path | None, INPUT] = None,
    workers: int = 0,
    device: str | None = None,
) -> int:
    """Train the models of a plan; what is there already stays. Can be killed and started again.

    Exit codes: 0 done, 2 some models failed (the others are made), 4 usage.

    Args:
        plan: A plan in TOML: a grid of data, networks, attacks and seeds.
        out: The folder of the zoo.
        data_root: The folder where relative paths of the plan begin (default: the plan's folder).
        workers: How many processes train side by side, each with one CPU thread; 0 trains in this
            process, with all threads.
        device: Where to train, such as cpu or cuda:0 (default: as in the plan, else cpu).
    """
    at_least(0, workers=workers)
    from mmbd.zoo import plan as plans
    from mmbd.zoo.make import make as make_zoo

    jobs = plans.read(plan, device=device)
    places.folder("OUT", out)
    with watching(plan.name, line=model_line) as progress:
        summary = make_zoo(
            jobs,
            out,
            root=data_root or plan.parent,
            workers=workers,
            text=reading.text(plan),
            progress=progress,
        )
    streams.say(
        f"{_shown(str(out), 400)}: {summary.made} models made, {summary.kept} were there already, "
        f"{len(summary.failures)} failed"
    )
    for name, reason in summary.failures.items():
        streams.say(f"failed: {_shown(name)}: {_shown(reason, 300)}")
    return gate.FAILED if summary.failures else gate.CLEAN


zoo.command(make, group_parameters=HOW)


@zoo.command(name="list")
def list_(path: Path, /, *, quiet: bool = False) -> int:
    """Show the models of a zoo, with the truth about each, and why some are excluded.

    Exit codes: 0 every entry could be read, 2 some could not.

    Args:
        path: A zoo's folder (mmbd's, BackdoorBench's or TrojAI's), or a CSV table with the
            columns path, label and target.
        quiet: Print names and labels alone, one model a line.
    """
    from mmbd.zoo.own import cards_in
    from mmbd.zoo.read import read

    found = read(path)
    if quiet:
        for entry in found.entries:
            streams.say(f"{_shown(entry.name)}\t{entry.label}")
    else:
        for line in table(rows(found, cards_in(path))):
            streams.say(line)
        excluded = sum(entry.excluded is not None for entry in found.entries)
        clean = sum(entry.label == "clean" for entry in found.entries)
        streams.say(
            f"{len(found.entries)} models: {clean} clean, {len(found.entries) - clean} backdoored; "
            f"{excluded} excluded, {len(found.broken)} broken"
        )
    for name, reason in found.broken:
        streams.say(f"broken: {_shown(name)}: {_shown(reason, 300)}")
    return gate.FAILED if found.broken else gate.CLEAN


def model_line(progress: Progress) -> str:
    """One line about a model that has just been made, or could not be."""
    from mmbd.base.text import seconds

    place, outcome = f"[{progress.done}/{progress.total}] {_shown(progress.note)}", progress.latest
    if outcome.result is None:
        return f"{place}  FAILED: {_shown(outcome.failure or '', 300)}"
    left = f"  about {seconds(progress.seconds_left)} left" if progress.seconds_left else ""
    return f"{place}  {figures(outcome.result)}{left}"


def figures(card: Mapping[str, Any]) -> str:
    """Accuracy, success rate of the attack, and seconds of a model."""
    from mmbd.base.text import seconds

    asr = "" if card["asr"] is None else f"  ASR {card['asr']:.1%}"
    return f"ACC {card['accuracy']:.1%}{asr}  {seconds(card['seconds'])}"


def rows(found: Zoo, cards: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A heading and one row a model, as texts that are safe to print."""
    listed = [HEADINGS]
    for entry in found.entries:
        card = cards.get(entry.name, {})
        shares = [
            f"{share:.1%}" if isinstance(share := card.get(key), int | float) else "-"
            for key in ("accuracy", "train_accuracy", "asr")
        ]
        targets = " ".join(map(str, entry.targets[:5])) + (" ..." if entry.targets[5:] else "")
        texts = (entry.name, entry.label, entry.attack, targets or "-", *shares)
        listed.append((*map(_shown, texts), _shown(entry.excluded or "", 200)))
    return listed


def table(listed: Sequence[Sequence[str]]) -> list[str]:
    """Lines with the columns one below the other."""
    widths = [max(len(row[column]) for row in listed) for column in range(len(listed[0]))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in listed
    ]


def _shown(value: str, limit: int = 80) -> str:
    from mmbd.base.text import clean_text

    return clean_text(value, limit)
