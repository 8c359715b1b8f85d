"""`mmbd fleet show` and `mmbd fleet merge`: what stores hold, without scanning anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from mmbd.base.errors import Failed
from mmbd.cli import streams
from mmbd.cli.options import INPUT, OUTPUT, Outs, Plain, Usage, at_least
from mmbd.workflows.scan_file import CLEAN, FAILED

if TYPE_CHECKING:
    from mmbd.results.fleet import Fleet

Words = Literal["backdoored", "failed", "refused", "not-evaluable", "clean"]


def show(
    place: Annotated[Path | None, INPUT] = None,
    /,
    *,
    store: Annotated[Path | None, INPUT] = None,
    verdict: Annotated[list[Words] | None, Plain, INPUT] = None,
    most: int = 50,
    out: Annotated[Outs, OUTPUT] = None,
) -> int:
    """Print the models of a store, what is to be looked at first, and write its index.

    Exit codes: 0 shown, 2 the store cannot be read, 4 usage.

    Args:
        place: The store of a fleet.
        store: The same.
        verdict: Only these verdicts; may be repeated.
        most: The most models to print; 0 for all.
        out: As for "mmbd fleet": an index of the whole store.
    """
    at_least(0, most=most)
    where = _one(place, store)
    from mmbd.cli import fleet_outputs
    from mmbd.render import fleet_text

    outputs = fleet_outputs.plan(out, where)
    found = _read(where)
    words = {word.replace("-", " ") for word in verdict or ()}
    rows = fleet_text.in_order(row for row in found.latest if not words or row.word in words)
    versions = found.versions
    shown = rows[: most or None]
    for line in fleet_text.table(shown, versions):
        streams.say(line)
    if len(rows) > len(shown):
        streams.say(f"... {len(rows) - len(shown):,} more (--most 0 shows all)")
    streams.say(fleet_text.totals(found.latest))
    return CLEAN if outputs.write() else FAILED


def merge(into: Annotated[Path, OUTPUT], part: Annotated[list[Path], INPUT], /) -> int:
    """Join stores, such as those of several shards, into one: mmbd fleet merge WHOLE.sqlite PART.sqlite ...

    The parts stay as they are. Exit codes: 0 done, 2 a store cannot be read or written, 4 usage.

    Args:
        into: The store that takes all results; it may be there already.
        part: The stores to join.
    """
    from mmbd.workflows.fleet.merge import merge as join

    if any(one.exists() and into.exists() and one.samefile(into) for one in part):
        raise Usage(f"{into}: the store that takes all is one of the parts")
    taken, models = join(into, part)
    streams.say(f"{into}: {taken:,} results taken over, {models:,} models")
    return CLEAN


def _one(place: Path | None, store: Path | None) -> Path:
    if (place is None) == (store is None):
        raise Usage("expected one store: mmbd fleet show results.sqlite")
    found = place or store
    assert found is not None
    return found


def _read(where: Path) -> Fleet:
    from mmbd.results.fleet import Fleet
    from mmbd.results.store import Store

    if not where.is_file():
        raise Failed(f"{where}: there is no such store")
    return Fleet.read(Store(where))
