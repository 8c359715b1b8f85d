"""The ways in which a state dict can be taken as the weights of a network, name by name.

Training wraps networks: all names get a prefix (`module.`, `model.`, `ema_model.`), or wrappers
leave a word inside them (`layer1._orig_mod.0.conv1.weight`). A state dict may hold the weights of
a network more than once, under several prefixes. Here is every way to take it; which one is meant
is another question (see `choice`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from mmbd.formats.networks.envelopes import TOP, StateDict, Tensors

# DataParallel, torch.compile, FSDP, activation checkpoints and Fabric leave these inside names.
WRAPPERS = frozenset(
    ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
)
# BatchNorm counts batches since 0.4.1; older files lack the count, and inference ignores it.
OPTIONAL = "num_batches_tracked"
MAX_PARTS = 64
# People cut a fixed number of characters off names, whatever they are: `name[7:]` for `module.`.
MAX_CUT = 16


def bare(name: str) -> str:
    """A name without what wrappers put into it; names of very many parts are left as they are."""
    parts = name.split(".", MAX_PARTS)
    if len(parts) > MAX_PARTS or WRAPPERS.isdisjoint(parts):
        return name
    return ".".join(part for part in parts if part not in WRAPPERS)


@dataclass(frozen=True)
class Wanted:
    """The tensors that a network takes, by name.

    With `free`, the network was built for two classes because nobody said how many there are:
    first lengths of 2 may be any number.
    """

    tensors: Tensors
    free: bool = False

    @cached_property
    def required(self) -> tuple[str, ...]:
        return tuple(name for name in self.tensors if name.rpartition(".")[2] != OPTIONAL)

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Bare names -> names; none where two of the network's own would be alike."""
        known = {bare(name): name for name in self.tensors}
        return known if len(known) == len(self.tensors) else {}

    @cached_property
    def depth(self) -> int:
        return max((name.count(".") + 1 for name in self.tensors), default=1)

    @cached_property
    def numbers(self) -> int:
        return sum(_size(self.tensors[name]) for name in self.required)

    @cached_property
    def endings(self) -> Mapping[str, list[str]]:
        """The ends of names from a dot on -> what stands before them there."""
        found: dict[str, list[str]] = {}
        for name in self.names:
            parts = name.split(".")
            for index in range(1, len(parts)):
                found.setdefault(".".join(parts[index:]), []).append(".".join(parts[:index]) + ".")
        return found

    @cached_property
    def twins(self) -> Mapping[str, tuple[str, ...]]:
        """The other names of each tensor that the network knows by several names (tied weights)."""
        groups: dict[object, list[str]] = {}
        for name, tensor in self.tensors.items():
            if is_lazy(tensor) or tensor.is_meta or not tensor.numel():
                continue
            place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
            groups.setdefault(place, []).append(name)
        return {
            name: tuple(other for other in group if other != name)
            for group in groups.values()
            for name in group
            if len(group) > 1
        }

    def takes(self, name: str, given: Tensor) -> bool:
        """Whether torch could load a tensor of this shape under this name."""
        own = self.tensors[name]
        if is_lazy(own) or own.shape == given.shape or (own.dim() == 0 and given.dim() == 1):
            return True
        same = own.dim() == given.dim() > 0 and own.shape[1:] == given.shape[1:]
        return self.free and same and own.shape[0] == 2

    def missing(self, given: Iterable[str]) -> list[str]:
        """The required names that are not given, nor another name of the same tensor."""
        known = set(given)
        return [
            name for name in self.required if name not in known and known.isdisjoint(self.twins.get(name, ()))
        ]


@dataclass(frozen=True)
class Reading:
    """Which names of a state dict stand for which of a network's: `names` is network -> file.

    `prefix` is what stands before them all, None where no one prefix does it; `what` says in that
    case what has to be done to the names. More than one name in the file stands for the same of
    the network where wrappers are to blame.
    """

    source: StateDict
    prefix: str | None
    names: Mapping[str, tuple[str, ...]]
    what: str = ""

    def tensors(self) -> dict[str, Tensor]:
        return {own: self.source.tensors[names[0]] for own, names in self.names.items()}

    @property
    def label(self) -> str:
        """What it is called in messages, and by --entry where it has a prefix."""
        if self.prefix is None:
            return f"{self.source.label} ({self.what})"
        inside = self.prefix.removesuffix(".") or TOP
        return "/".join(part for part in (self.source.entry, inside) if part)

    def answers(self, entry: str) -> bool:
        """Whether `entry` is the prefix of this reading, with or without the way to it."""
        if self.prefix is None:
            return False
        inside = self.prefix.removesuffix(".")
        names = {inside, bare(inside)} - {""} or {TOP}
        alone = names if self.prefix or "" in self.source.places else set[str]()
        places = (place for place in self.source.places if place)
        return entry in alone | {f"{place}/{name}" for place in places for name in names}

    def complete(self, wanted: Wanted) -> bool:
        """Whether the network has all that it takes from here."""
        if len(self.names) < len(wanted.required) - len(wanted.twins):
            return False
        tensors = self.tensors()
        fits = all(wanted.takes(name, tensor) for name, tensor in tensors.items())
        return fits and not wanted.missing(tensors)

    def substantial(self, wanted: Wanted) -> bool:
        """Whether half of the network's names, or of its numbers, would come from here."""
        held = [
            name
            for name, tensor in self.tensors().items()
            if name.rpartition(".")[2] != OPTIONAL and wanted.takes(name, tensor)
        ]
        if 2 * len(held) >= len(wanted.required) > 0:
            return True
        return 0 < wanted.numbers <= 2 * sum(_size(wanted.tensors[name]) for name in held)

    def without(self, used: frozenset[str]) -> Reading:
        """This reading without the names of the file that another one has taken."""
        left = {own: tuple(name for name in names if name not in used) for own, names in self.names.items()}
        names = {own: kept for own, kept in left.items() if kept}
        return Reading(self.source, self.prefix, names, self.what)

    def same(self, other: Reading, wanted: Wanted) -> bool:
        """Whether both give the network the same weights, all of them."""
        mine, theirs = self.tensors(), other.tensors()
        return all(
            name in mine and name in theirs and alike(mine[name], theirs[name]) for name in wanted.required
        )


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are of one kind and equal, number for number."""
    if one is other:
        return True
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)


def readings(source: StateDict, wanted: Wanted) -> list[Reading]:
    """Every way to take it: as it is first, then by prefixes, then what only people's code does."""
    prefixes: dict[str, dict[str, list[str]]] = {"": {}}
    others: dict[str, dict[str, list[str]]] = {}
    for name in source.tensors:
        for prefix, own in _behind_prefixes(name, wanted):
            prefixes.setdefault(prefix, {}).setdefault(own, []).append(name)
        for what, own in _by_hand(name, wanted):
            others.setdefault(what, {}).setdefault(own, []).append(name)
    found = [Reading(source, prefix, _frozen(names)) for prefix, names in prefixes.items()]
    return found + [Reading(source, None, _frozen(names), what) for what, names in others.items()]


def _behind_prefixes(name: str, wanted: Wanted) -> Iterator[tuple[str, str]]:
    """The prefixes behind which `name` is one of the network's, with that."""
    parts = name.split(".", MAX_PARTS)
    if len(parts) > MAX_PARTS:
        return
    found: set[str] = set()
    for start in range(max(0, len(parts) - wanted.depth), len(parts)):
        own = ".".join(parts[start:])
        if own in wanted.tensors:
            found.add(own)
            yield _joined(parts[:start]), own
    kept = [index for index, part in enumerate(parts) if part not in WRAPPERS]
    for place, start in list(enumerate(kept))[-wanted.depth :]:
        own = wanted.names.get(".".join(parts[index] for index in kept[place:]))
        if own is not None and own not in found:
            yield _joined(parts[:start]), own


def _joined(parts: list[str]) -> str:
    return "".join(f"{part}." for part in parts)


def _by_hand(name: str, wanted: Wanted) -> Iterator[tuple[str, str]]:
    """What people's own code makes of a name: cut, without wrappers anywhere, or put in front."""
    for cut in range(1, min(MAX_CUT, len(name) - 1) + 1):
        if name[cut:] in wanted.tensors:
            yield f"without the first {cut} characters", name[cut:]
    plain = bare(name)
    if plain != name and plain in wanted.names:
        yield "without wrappers in its names", wanted.names[plain]
    for front in wanted.endings.get(plain, ()):
        yield f"with {front!r} in front", wanted.names[front + plain]


def _frozen(names: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {own: tuple(given) for own, given in names.items()}


def _size(tensor: Tensor) -> int:
    return 0 if is_lazy(tensor) else tensor.numel()
