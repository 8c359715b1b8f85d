"""Weights split over several files, as the index beside them says (`model.safetensors.index.json`).

The index is JSON: `weight_map` has the name of every tensor and of the file that holds it. Each of these
files has a plain name, lies beside the index, and holds exactly the tensors that the index says.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmbd.base.errors import Failed, Refused
from mmbd.base.text import clean_text, listed
from mmbd.formats import tensor_file
from mmbd.formats.advice import broken, excessive
from mmbd.formats.beside import Beside
from mmbd.formats.format import Contents
from mmbd.formats.hub import documents
from mmbd.formats.hub.weights import tensors_in

MAX_SHARDS = 1000
MAP = "weight_map"
WHOLE = "fetch all of its files, of one and the same state"


def recognise(head: bytes) -> bool:
    """JSON text that has a `weight_map`."""
    return head.lstrip()[:1] == b"{" and f'"{MAP}"'.encode() in head


def read(data: bytes | bytearray, beside: Beside) -> Contents:
    """The tensors of all files that an index names; their digests are in the notes."""
    found, aliases, kinds = tensors(data, beside)
    kind = f"an index of {len(beside.digests)} files ({', '.join(kinds)})"
    notes = (f"also read: {clean_text(name, 80)}, SHA-256 {said}" for name, said in beside.digests.items())
    return Contents(found, kind, None, tuple(notes), aliases)


def tensors(
    data: bytes | bytearray, beside: Beside, named: str = "the index"
) -> tuple[dict[str, Tensor], dict[str, str], tuple[str, ...]]:
    """The tensors that an index lists, names that are others of them, and the formats of the files.

    Args:
        data: the index.
        beside: the files in its folder.
        named: what the index is called, for messages.

    Raises:
        Failed: no such index, a file that is missing or broken, or one that holds other tensors.
        Refused: a file that is a program.
    """
    index = documents.parse(data, named)
    where = _places(index.get(MAP), named)
    found: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    kinds: dict[str, None] = {}
    for shard in dict.fromkeys(where.values()):
        said = clean_text(shard, 80)
        try:
            held = tensors_in(beside.read(shard))
        except (Failed, Refused) as error:
            raise type(error)(f"{said}: {error}") from error
        listed_here = {name for name, place in where.items() if place == shard}
        if strange := sorted(set(held.value) - listed_here):
            raise Failed(
                f"{said} holds {listed(strange)}, which {named} does not say is there: the two do not "
                f"belong together; {WHOLE}"
            )
        if missing := sorted(listed_here - set(held.value)):
            raise Failed(f"{said} lacks {listed(missing)}, which {named} says is there: {WHOLE}")
        found.update(held.value)
        aliases.update(held.aliases)
        kinds[held.format] = None
    return found, aliases, tuple(kinds)


def _places(said: Any, named: str) -> dict[str, str]:
    """The file of every tensor; the names of files are checked where they are read."""
    if not isinstance(said, dict) or not said:
        raise broken(f"{named} has no {MAP} of names and files")
    if len(said) > tensor_file.MAX_TENSORS:
        raise excessive(f"{named} has more than {tensor_file.MAX_TENSORS:,} tensors")
    if not all(isinstance(place, str) for place in said.values()):
        raise broken(f"{named} has a {MAP} whose files are no texts")
    if len(set(said.values())) > MAX_SHARDS:
        raise excessive(f"{named} names more than {MAX_SHARDS:,} files")
    return said
