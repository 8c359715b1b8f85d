"""Which tensors of a file become the network's: those chosen, completed, and really in the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from mmbd.base.errors import Failed
from mmbd.base.text import clean_text, listed
from mmbd.formats.networks import choice
from mmbd.formats.networks.envelopes import StateDict
from mmbd.formats.networks.readings import Wanted, bare
from mmbd.formats.networks.taking import Chosen


def choose(
    found: Sequence[StateDict], wanted: Wanted, entry: str | None, aliases: Mapping[str, str]
) -> Chosen:
    """`choice.choose`, after names that the file says are others of its tensors are put back.

    Raises:
        Failed: as there, or a tensor of the chosen ones repeats its numbers.
    """
    completed = [_completed(item, wanted, aliases) for item in found]
    chosen = choice.choose(completed, wanted, entry)
    require_distinct(chosen.tensors)
    return chosen


def _completed(item: StateDict, wanted: Wanted, aliases: Mapping[str, str]) -> StateDict:
    """With the names that the network has and the file leaves out, as they are shared tensors."""
    shared = {
        name: item.tensors[other]
        for name, other in aliases.items()
        if (own := bare(name)) in wanted.tensors
        and not {name, own} & set(item.tensors)
        and other in item.tensors
        and wanted.takes(own, item.tensors[other])
    }
    if not shared:
        return item
    pairs = [f"{name} is {aliases[name]}" for name in shared]
    note = f"shared tensors, as the file's metadata says: {listed(pairs)}"
    return replace(item, tensors={**item.tensors, **shared}, notes=(*item.notes, note))


def require_distinct(tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that show the same numbers of the file in several places of one tensor.

    A stride of 0 lets a small file claim thousands of classes; whoever trains never saves that.

    Raises:
        Failed: names the first such tensor.
    """
    for name, tensor in tensors.items():
        if tensor.numel() > 1 and _repeats(tensor):
            raise Failed(
                f"the tensor {clean_text(name)!r} repeats its numbers: its {tensor.numel():,} elements "
                f"share {_distinct(tensor):,}. Save the weights as they are used, for example "
                "with safetensors.torch.save_file, which writes every number"
            )


def _dimensions(tensor: Tensor) -> list[tuple[int, int]]:
    """(stride, length) of the dimensions that have more than one place, the narrowest first."""
    pairs = zip(tensor.stride(), tensor.shape, strict=True)
    return sorted((stride, length) for stride, length in pairs if length > 1)


def _repeats(tensor: Tensor) -> bool:
    """Whether two elements may share a place: each dimension must step over all narrower ones."""
    reach = 0
    for stride, length in _dimensions(tensor):
        if stride <= reach:
            return True
        reach += stride * (length - 1)
    return False


def _distinct(tensor: Tensor) -> int:
    """At most how many numbers are behind a tensor's elements."""
    return 1 + sum(stride * (length - 1) for stride, length in _dimensions(tensor))
