"""Which of the weights in a file are the network's, and that no others could be meant.

A checkpoint often holds several sets of weights: an average beside the last ones, a teacher, two
encoders. People load `checkpoint["state_dict"]`, or strip a prefix, or pass strict=False, which
takes what is there and forgives the rest. So where another set could be loaded in such a way, and
is not equal number for number, nothing is chosen for the user: a clean decoy that fits a little
better than the weights that are really used must not be what is scanned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NoReturn

from mmbd.base.errors import Failed
from mmbd.base.text import clean_text, listed
from mmbd.formats.networks.envelopes import StateDict
from mmbd.formats.networks.readings import Reading, Wanted, alike, bare, readings
from mmbd.formats.networks.taking import Chosen, stripped, taken

MOST = 20
NAME_ONE = "name one with --entry NAME (entry= in Python)"


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
        others = [
            other.without(used) for other in every if other.source is best.source and other.prefix is not None
        ]
        others = [other for other in others if other.names and other.substantial(wanted)]
        result = taken(best, used, _names(others), wanted, True)
        if others:
            words = f"left alone: {_labels(others, [best, *others])}"
            result = replace(result, notes=(*result.notes, words))
        return _with_places(result, best, found)
    spoken = {id(best.source): used}
    copies = _copies(best, used, pool, wanted)
    for copy in copies:
        known = spoken.get(id(copy.source), frozenset())
        spoken[id(copy.source)] = known | _names([copy])
    if rivals := _rivals(pool, spoken, wanted):
        _ambiguous([best, *rivals], wanted)
    result = taken(best, used, spoken[id(best.source)], wanted, False)
    for copy in copies if not result.fits else ():
        other = taken(copy, _names([copy]), spoken[id(copy.source)], wanted, False)
        if other.fits and (entry is not None or not copy.source.aside):
            copies = [best, *(each for each in copies if each is not copy)]
            best, result = copy, other
            break
    if copies:
        words = f"the same weights are at {_labels(copies, [best, *copies])}"
        result = replace(result, notes=(*result.notes, words))
    return _with_places(result, best, found)


def _named(
    every: list[Reading], found: list[StateDict], wanted: Wanted, entry: str
) -> tuple[list[Reading], bool]:
    """The readings that `entry` leaves, and whether it names one by its prefix."""
    whole = [reading for reading in every if entry in reading.source.places]
    if whole:
        return whole, False
    exact = [reading for reading in every if reading.answers(entry)]
    if len({reading.label for reading in exact}) > 1:
        several = listed({reading.label: None for reading in exact}, most=MOST)
        raise Failed(f"{clean_text(entry)!r} could be {several}: {NAME_ONE}")
    if exact:
        return exact, True
    inside = [
        reading
        for reading in every
        if reading.prefix and (reading.complete(wanted) or reading.substantial(wanted))
    ]
    split = {reading.source.label for reading in inside if not reading.source.entry}
    places = [item.label for item in found if not item.aside and item.label not in split]
    known = dict.fromkeys([*places, *(reading.label for reading in inside)])
    has = listed(known or (item.label for item in found), most=MOST)
    raise Failed(f"the checkpoint has no entry {clean_text(entry)!r}; it has: {has}: {NAME_ONE}")


def _used(best: Reading, wanted: Wanted) -> frozenset[str]:
    """The names in the file that it stands for; Failed where two differ that stand for the same."""
    for own, names in best.names.items():
        tensors = [best.source.tensors[name] for name in names]
        if not all(alike(tensors[0], other) for other in tensors[1:]):
            raise Failed(
                f"the state dict {clean_text(best.source.label)!r} has more than one tensor for "
                f"{clean_text(own)}: {listed(names)}, and they differ. Save the one that is used alone"
            )
    return _names([best])


def _copies(best: Reading, used: frozenset[str], pool: list[Reading], wanted: Wanted) -> list[Reading]:
    """Where else the file has the same weights, number for number."""
    others = [_left(reading, best, used) for reading in pool if reading.prefix is not None]
    return [
        reading
        for reading in others
        if reading.names and reading.complete(wanted) and reading.same(best, wanted)
    ]


def _left(reading: Reading, best: Reading, used: frozenset[str]) -> Reading:
    return reading.without(used) if reading.source is best.source else reading


def _names(several: list[Reading]) -> frozenset[str]:
    """The names in the file that readings stand for."""
    return frozenset(name for reading in several for names in reading.names.values() for name in names)


def _rivals(pool: list[Reading], spoken: Mapping[int, frozenset[str]], wanted: Wanted) -> list[Reading]:
    """What else could be loaded into the network, at least by half, of names not spoken for."""
    nothing = frozenset[str]()
    others = [reading.without(spoken.get(id(reading.source), nothing)) for reading in pool]
    rivals = [reading for reading in others if reading.names and reading.substantial(wanted)]
    plain = {id(reading.source) for reading in rivals if reading.prefix is not None}
    return [reading for reading in rivals if reading.prefix is not None or id(reading.source) not in plain]


def _ambiguous(several: list[Reading], wanted: Wanted) -> NoReturn:
    raise Failed(
        "the checkpoint holds several state dicts that fit: "
        f"{_labels(several, several, wanted)}; they differ, and any may be what is used: {NAME_ONE}"
    )


def _labels(named: list[Reading], among: list[Reading], wanted: Wanted | None = None) -> str:
    """Readings by name, as short as they can be told apart `among` others, and how they fit."""
    sources = [reading.source for reading in among]
    words: dict[str, None] = {}
    for reading in named:
        alone = sum(source is reading.source for source in sources) == 1
        label = reading.source.label if alone and not reading.what else reading.label
        words[clean_text(label) + ("" if wanted is None else _remark(reading, wanted))] = None
    more = f" and {len(words) - MOST} more" if len(words) > MOST else ""
    return ", ".join(list(words)[:MOST]) + more


def _remark(reading: Reading, wanted: Wanted) -> str:
    held = [name for name, tensor in reading.tensors().items() if wanted.takes(name, tensor)]
    lacking = len(wanted.missing(held))
    return f" ({lacking} of its {len(wanted.required)} tensors missing)" if lacking else ""


def _closest(reading: Reading, pool: list[Reading]) -> Chosen:
    """All tensors of a state dict that does not fit, and a doubt if another is much like it.

    A network of the user's may rename keys when it loads, so that it can fit all the same.
    """
    source, prefix = reading.source, reading.prefix or ""
    own = {names[0]: name for name, names in reading.names.items()}
    tensors = {
        own.get(name) or bare(name.removeprefix(prefix)): tensor for name, tensor in source.tensors.items()
    }
    notes = stripped(reading)
    if len(tensors) < len(source.tensors):  # some would be lost
        tensors, notes = dict(source.tensors), ()
    itself = Wanted(source.tensors)
    mine = Reading(source, "", {name: (name,) for name in source.tensors})
    sources = {id(other.source): other.source for other in pool if other.source is not source}
    others = [other for each in sources.values() for other in readings(each, itself)]
    rivals = [rival for rival in _rivals(others, {}, itself) if not rival.same(mine, itself)]
    both = [mine, *rivals]
    doubt = f"{_labels(both, both)}; they differ, and any may be used: {NAME_ONE}" if rivals else ""
    return Chosen(source.entry, tensors, notes, doubt=doubt)


def _with_places(chosen: Chosen, reading: Reading, found: list[StateDict]) -> Chosen:
    """With notes of where it was and what other state dicts there are."""
    notes = (*reading.source.notes, *chosen.notes)
    if chosen.entry:
        notes = (f"unwrapped envelope {clean_text(chosen.entry)!r}", *notes)
    others = [item.label for item in found if item is not reading.source and not item.aside]
    if others:
        notes = (*notes, f"left alone in the same file: {listed(others)}")
    return replace(chosen, notes=notes)
