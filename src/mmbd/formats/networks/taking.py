"""The tensors of a reading as a network gets them, and words on what was done to their names."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from mmbd.base.text import clean_text
from mmbd.formats.networks.envelopes import TOP, Tensors
from mmbd.formats.networks.leftovers import harmless
from mmbd.formats.networks.readings import MAX_PARTS, WRAPPERS, Reading, Wanted, bare

QUOTED = 10


@dataclass(frozen=True)
class Chosen:
    """Tensors under the network's names, where they were, and what was done to find them.

    `fits` says that all of them are there and nothing is left over that could be a weight. If not,
    `tensors` has what is left over too, for the strict load to complain of; `advice` is what to do
    about it, and `doubt` why the load must not succeed all the same, "" for no reason.
    """

    entry: str
    tensors: Tensors
    notes: tuple[str, ...] = ()
    fits: bool = False
    advice: str = ""
    doubt: str = ""


def taken(best: Reading, used: frozenset[str], spoken: frozenset[str], wanted: Wanted, named: bool) -> Chosen:
    """The tensors of a reading that has them all, and what is left over beside them."""
    source, prefix = best.source, best.prefix or ""
    left = [name for name in source.tensors if name not in used]
    beside = {name for name in left if name in spoken or (named and prefix and not name.startswith(prefix))}
    left = [name for name in left if name not in beside]
    parts = {bare(name).partition(".")[0] for name in wanted.tensors}
    alone = [name for name in left if harmless(name, source.tensors[name], prefix, parts)]
    strange = [name for name in left if name not in set(alone)]
    tensors = best.tensors()
    plain = WRAPPERS.issuperset(prefix.split(".")[:-1])
    for name in strange:
        key = name.removeprefix(prefix) if plain else name
        tensors[key if key not in wanted.tensors else f"{TOP}/{name}"] = source.tensors[name]
    notes = [f"left out {_quoted(alone)}"] if alone else []
    notes += stripped(best)
    if more := [name for name in source.tensors if name in beside and name not in spoken]:
        notes.append(f"left out beside {prefix!r}: {_quoted(more)}")
    return Chosen(source.entry, tensors, tuple(notes), not strange, _advice(best, strange))


def _advice(best: Reading, strange: Collection[str]) -> str:
    if not strange:
        return ""
    if best.prefix and not any(name.startswith(best.prefix) for name in strange):
        return (
            f"all that the network needs is at {clean_text(best.prefix)!r}: if what is beside it is no "
            f"part of the network, give --entry {clean_text(best.label)} (entry= in Python)"
        )
    return "what is unexpected may be layers: give --arch with the network that has them"


def stripped(reading: Reading) -> tuple[str, ...]:
    """The prefixes that had to be taken off names, one for every wrapper."""
    notes: list[str] = []
    inside: dict[str, None] = {}
    rest = ""
    for part in (reading.prefix or "").split(".")[:-1]:
        if part in WRAPPERS and not rest:
            notes.append(f"stripped prefix {part + '.'!r}")
        else:
            rest += f"{part}."
    if rest:
        notes.append(f"stripped prefix {clean_text(rest)!r}")
    prefix = reading.prefix or ""
    own = {name: f"{prefix}{key}" for key, names in reading.names.items() for name in names}
    for name in reading.source.tensors:
        if name.startswith(prefix) and own.get(name, bare(name)) != name:
            parts = name.removeprefix(prefix).split(".", MAX_PARTS)
            inside.update(dict.fromkeys(part for part in parts if part in WRAPPERS))
    if inside:
        notes.append(f"left out of names: {', '.join(inside)}")
    return tuple(dict.fromkeys(notes))


def _quoted(names: list[str]) -> str:
    more = f" and {len(names) - QUOTED} more" if len(names) > QUOTED else ""
    return ", ".join(repr(clean_text(name)) for name in names[:QUOTED]) + more
