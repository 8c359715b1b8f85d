"""The inert things that stand for what a pickle describes, and the account kept meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import torch

from mmbd.base.errors import Refused
from mmbd.formats.advice import excessive

MAX_COPIED = 64 << 20
MAX_ODD_KEYS = 1000

# Bytes of one element, for every type of number that torch's files may hold.
DTYPES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
    "complex64": 8,
    "complex128": 16,
    "complex32": 4,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
}
# Storages that hold numbers of one type, and one that holds bytes and leaves the type to its users.
UNTYPED = "torch.storage.UntypedStorage"
STORAGES = {
    UNTYPED: "uint8",
    **{
        f"torch.{name}Storage": dtype
        for name, dtype in (
            ("Double", "float64"),
            ("Float", "float32"),
            ("Half", "float16"),
            ("BFloat16", "bfloat16"),
            ("Long", "int64"),
            ("Int", "int32"),
            ("Short", "int16"),
            ("Char", "int8"),
            ("Byte", "uint8"),
            ("Bool", "bool"),
            ("ComplexFloat", "complex64"),
            ("ComplexDouble", "complex128"),
        )
    },
}


@dataclass(frozen=True, slots=True)
class Global:
    """A name on the allow list; nothing is imported for it."""

    name: str


@dataclass(frozen=True, slots=True)
class Storage:
    """Stands for `elements` numbers of a storage class (`kind`), kept in the file under `key`."""

    kind: str
    key: str
    elements: int

    @property
    def bytes(self) -> int:
        return self.elements * DTYPES[STORAGES[self.kind]]


@dataclass(frozen=True, slots=True)
class Claim:
    """A tensor as the pickle describes it, and the empty one that takes its place meanwhile."""

    storage: Storage
    dtype: str
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    place: torch.Tensor


@dataclass(frozen=True, slots=True)
class Layout:
    """Stands for how torch lays out a tensor, by its name."""

    name: str


# Harmless things beside the weights, of which nothing is made. Messages give their classes' names.


class SparseTensor:
    """Stands for a sparse tensor, whose parts are tensors of their own."""


class ConjugatedTensor:
    """Stands for a view of a tensor that conjugates or negates its numbers."""


class Namespace:
    """Stands for an argparse.Namespace: the options of a training, most often."""


@dataclass
class Storages:
    """The storages that a pickle refers to, by key, and its tensors, in order, as they are met.

    `sizes` are the bytes of each storage in a zip file; None in older files, where the storages
    follow the pickle and have to be compared afterwards.
    """

    sizes: Mapping[str, int] | None
    met: dict[str, Storage] = field(default_factory=dict[str, Storage])
    tensors: list[Claim] = field(default_factory=list[Claim])
    copied: int = 0
    odd_keys: int = 0

    def charge(self, size: int) -> None:
        """Count the bytes copied: a shared list could be copied over and over otherwise."""
        self.copied += size
        if self.copied > MAX_COPIED:
            raise excessive("the pickle copies its contents too often to be a checkpoint")


def odd(function: str) -> NoReturn:
    """Refuse a call with arguments that neither torch nor NumPy writes."""
    raise Refused(f"the pickle calls {function} with arguments that weights never have")
