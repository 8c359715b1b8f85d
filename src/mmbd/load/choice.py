"""Which of the weights in a file are the network's, and that no others could be meant.

A checkpoint often holds several sets of weights: an average beside the last ones, a teacher, two
encoders. People load `checkpoint["state_dict"]`, or strip a prefix, or pass strict=False, which
takes what is there and forgives the rest. So where another set could be loaded in such a way, and
is not equal number for number, nothing is chosen for the user: a clean decoy that fits a little
better than the weights that are really used must not be what is scanned.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

from mmbd.errors import Failed
from mmbd.load.envelopes import TOP, StateDict, Tensors
from mmbd.load.leftovers import harmless
from mmbd.load.readings import MAX_PARTS, WRAPPERS, Reading, Wanted, alike, bare, readings
from mmbd.load.text import listed, shown

NAME_ONE = "name one with --entry NAME (entry= in Python)"


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


def choose(found: list[StateDict], wanted: Wanted, entry: str | None = None) -> Chosen:
    """The weights that a network takes; with `entry`, those in that state dict or at that prefix.

    If none fit, those that come closest, so that the strict load can say what is wrong.

    Raises:
        Failed: several could be meant, or there is no such entry.
    """
    every = [reading for source in found for reading in readings(source, wanted)]
    pool, named = (every, False) if entry is None else _named(every, found, wanted, entry)
    usual = [
        reading
        for reading in pool
        if reading.prefix is not None and (entry is not None or not reading.source.aside)
    ]
    complete = [reading for reading in usual if reading.complete(wanted)]
    if not complete:
        closest = max(usual, key=lambda reading: len(reading.names))
        return _with_places(_closest(closest, pool), closest, found)
    best = complete[0]
    used = _used(best, wanted)
    if named:
        return _with_places(
            _taken(best, used, _others(best, every, wanted), wanted, True), best, found
        )
    spoken = {id(best.source): used}
    copies = _copies(best, used, pool, wanted)
    for copy in copies:
        known = spoken.get(id(copy.source), frozenset())
        spoken[id(copy.source)] = known.union(*copy.names.values())
    if rivals := _rivals(pool, spoken, wanted):
        _ambiguous([best, *rivals], wanted)
    taken = _taken(best, used, spoken[id(best.source)], wanted, False)
    if copies:
        taken = replace(taken, notes=(*taken.notes, f"the same weights are at {_labels(copies)}"))
    return _with_places(taken, best, found)


def _named(
    every: list[Reading], found: list[StateDict], wanted: Wanted, entry: str
) -> tuple[list[Reading], bool]:
    """The readings that `entry` leaves, and whether it names one by its prefix."""
    whole = [reading for reading in every if entry in reading.source.places]
    if whole:
        return whole, False
    exact = [reading for reading in every if reading.answers(entry)]
    if len({reading.label for reading in exact}) > 1:
        raise Failed(f"{shown(entry)!r} could be {_labels(exact)}: {NAME_ONE}")
    if exact:
        return exact, True
    inside = [
        reading
        for reading in every
        if reading.prefix and (reading.complete(wanted) or reading.substantial(wanted))
    ]
    places = [item.label for item in found if not item.aside]
    known = list(dict.fromkeys([*places, *(reading.label for reading in inside)]))
    raise Failed(
        f"the checkpoint has no entry {shown(entry)!r}; it has: {listed(known, most=20)}. "
        f"{NAME_ONE.capitalize()}"
    )


def _used(best: Reading, wanted: Wanted) -> frozenset[str]:
    """The names in the file that it stands for; Failed where two differ that stand for the same."""
    for own, names in best.names.items():
        tensors = [best.source.tensors[name] for name in names]
        if not all(alike(tensors[0], other) for other in tensors[1:]):
            raise Failed(
                f"the state dict {shown(best.source.label)!r} has more than one tensor for "
                f"{shown(own)}: {listed(names)}, and they differ. Save the one that is used alone"
            )
    return frozenset(name for names in best.names.values() for name in names)


def _copies(
    best: Reading, used: frozenset[str], pool: list[Reading], wanted: Wanted
) -> list[Reading]:
    """Where else the file has the same weights, number for number."""
    others = [_left(reading, best, used) for reading in pool if reading.prefix is not None]
    return [
        reading
        for reading in others
        if reading.names and reading.complete(wanted) and reading.same(best, wanted)
    ]


def _left(reading: Reading, best: Reading, used: frozenset[str]) -> Reading:
    return reading.without(used) if reading.source is best.source else reading


def _others(best: Reading, every: list[Reading], wanted: Wanted) -> frozenset[str]:
    """Names of the same state dict that other weights of such a network go by."""
    inside = [reading for reading in every if reading.source is best.source]
    names = [reading.names.values() for reading in inside if reading.substantial(wanted)]
    return frozenset(name for values in names for group in values for name in group)


def _rivals(
    pool: list[Reading], spoken: Mapping[int, frozenset[str]], wanted: Wanted
) -> list[Reading]:
    """What else could be loaded into the network, at least by half, of names not spoken for."""
    nothing = frozenset[str]()
    others = [reading.without(spoken.get(id(reading.source), nothing)) for reading in pool]
    rivals = [reading for reading in others if reading.names and reading.substantial(wanted)]
    plain = {id(reading.source) for reading in rivals if reading.prefix is not None}
    return [
        reading
        for reading in rivals
        if reading.prefix is not None or id(reading.source) not in plain
    ]


def _ambiguous(several: list[Reading], wanted: Wanted) -> NoReturn:
    raise Failed(f"the checkpoint holds several state dicts that fit: {_labels(several, wanted)}; "
                 f"they differ, and any may be what is used: {NAME_ONE}")  # fmt: skip


def _labels(several: list[Reading], wanted: Wanted | None = None) -> str:
    """The readings by name, each source simply where it has one alone, and how well they fit."""
    words: dict[str, None] = {}
    sources = [reading.source for reading in several]
    for reading in several:
        alone = sum(source is reading.source for source in sources) == 1
        label = reading.source.label if alone and not reading.what else reading.label
        remarks = [] if wanted is None else _remarks(reading, wanted)
        words[shown(label) + (f" ({', '.join(remarks)})" if remarks else "")] = None
    most = 20
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(list(words)[:most]) + more


def _remarks(reading: Reading, wanted: Wanted) -> list[str]:
    tensors = reading.tensors()
    odd = [name for name, tensor in tensors.items() if not wanted.takes(name, tensor)]
    lacking = len(wanted.missing(set(tensors) - set(odd)))
    return [f"{lacking} of its {len(wanted.required)} tensors missing"] if lacking else []


def _closest(reading: Reading, pool: list[Reading]) -> Chosen:
    """All tensors of a state dict that does not fit, and a doubt if another is much like it.

    A network of the user's may rename keys when it loads, so that it can fit all the same.
    """
    source, prefix = reading.source, reading.prefix or ""
    own = {names[0]: name for name, names in reading.names.items()}
    tensors = {
        own.get(name) or bare(name.removeprefix(prefix)): tensor
        for name, tensor in source.tensors.items()
    }
    notes = _stripped(reading)
    if len(tensors) < len(source.tensors):  # some would be lost
        tensors, notes = dict(source.tensors), ()
    itself = Wanted(source.tensors)
    mine = Reading(source, "", {name: (name,) for name in source.tensors})
    sources = {id(other.source): other.source for other in pool if other.source is not source}
    others = [other for each in sources.values() for other in readings(each, itself)]
    rivals = [rival for rival in _rivals(others, {}, itself) if not rival.same(mine, itself)]
    doubt = f"{_labels([mine, *rivals])} could both be meant: {NAME_ONE}" if rivals else ""
    return Chosen(source.entry, tensors, notes, doubt=doubt)


def _taken(
    best: Reading, used: frozenset[str], spoken: frozenset[str], wanted: Wanted, named: bool
) -> Chosen:
    """The tensors of a reading that has them all, and what is left over beside them."""
    source, prefix = best.source, best.prefix or ""
    left = [name for name in source.tensors if name not in used]
    beside = {
        name for name in left
        if name in spoken or (named and prefix and not name.startswith(prefix))
    }  # fmt: skip
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
    notes += _stripped(best)
    if beside and named:
        notes.append(f"left alone beside it: {_quoted(sorted(beside))}")
    return Chosen(source.entry, tensors, tuple(notes), not strange, _advice(best, strange))


def _advice(best: Reading, strange: Collection[str]) -> str:
    if not strange:
        return ""
    if best.prefix and not any(name.startswith(best.prefix) for name in strange):
        return (
            f"all that the network needs is at {shown(best.prefix)!r}: if what is beside it is no "
            f"part of the network, give --entry {shown(best.label)} (entry= in Python)"
        )
    return "what is unexpected may be layers: give --arch with the network that has them"


def _stripped(reading: Reading) -> tuple[str, ...]:
    """What had to be taken off names, wrappers one by one."""
    notes: list[str] = []
    inside: dict[str, None] = {}
    rest = ""
    for part in (reading.prefix or "").split(".")[:-1]:
        if part in WRAPPERS and not rest:
            notes.append(f"stripped prefix {part + '.'!r}")
        else:
            rest += f"{part}."
    if rest:
        notes.append(f"stripped prefix {shown(rest)!r}")
    prefix = reading.prefix or ""
    own = {name: f"{prefix}{key}" for key, names in reading.names.items() for name in names}
    for name in reading.source.tensors:
        if name.startswith(prefix) and own.get(name, bare(name)) != name:
            parts = name.removeprefix(prefix).split(".", MAX_PARTS)
            inside.update(dict.fromkeys(part for part in parts if part in WRAPPERS))
    if inside:
        notes.append(f"left out of names: {', '.join(inside)}")
    return tuple(dict.fromkeys(notes))


def _with_places(chosen: Chosen, reading: Reading, found: list[StateDict]) -> Chosen:
    """With notes of where it was and what other state dicts there are."""
    notes = chosen.notes
    if chosen.entry:
        notes = (f"unwrapped envelope {shown(chosen.entry)!r}", *notes)
    others = [item.label for item in found if item is not reading.source and not item.aside]
    if others:
        notes = (*notes, f"left alone in the same file: {listed(others)}")
    return replace(chosen, notes=notes)


def _quoted(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(repr(shown(name)) for name in names[:10]) + more
