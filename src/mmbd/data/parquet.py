"""Labelled images and sounds from Parquet files as on the Hugging Face hub.

Rows are read a few at a time: what a file's few bytes unfold to is not known before.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from mmbd.base.errors import Failed
from mmbd.base.extras import require
from mmbd.base.reading import MAX_CLASSES
from mmbd.base.text import clean_text, listed
from mmbd.data.allowance import Allowance
from mmbd.data.arrays import Read, numbers
from mmbd.data.decoding import decode

COLUMNS = ("image", "img", "audio")
BATCH, BATCH_BYTES = 64, 1 << 30

Decoder = Callable[[bytes], Tensor]


def parquet(
    file: BinaryIO,
    allowance: Allowance,
    limit: int | None,
    *,
    image: Callable[[BinaryIO], np.ndarray[Any, Any]],
    sound: Callable[[bytes], Tensor],
) -> Read:
    """The rows of a file with a column image, img or audio, and one of labels.

    Args:
        file: an open file.
        allowance: for what the rows decode to.
        limit: read at most so many rows.
        image: decodes the bytes of an image.
        sound: decodes the bytes of a sound.

    Raises:
        Failed: other columns, no rows, labels that are no classes, or a row that cannot be decoded;
            what pyarrow raises comes as it is.
    """
    made = require("pyarrow.parquet", extra="data").ParquetFile(file)
    column = _column(made.schema_arrow)
    decoder: Decoder = sound if column == "audio" else _decoder(image)
    inputs: list[Tensor] = []
    labels: list[Tensor] = []
    for batch in made.iter_batches(_rows(made.metadata, allowance), columns=[column, "label"]):
        left = len(batch) if limit is None else min(len(batch), limit - len(inputs))
        if left <= 0:
            break
        batch = batch.slice(0, left)
        answers = batch.column("label")
        if answers.null_count:
            raise Failed("expected whole numbers as labels, and a row has none")
        labels.append(numbers(answers.to_numpy(zero_copy_only=False), "label"))
        for entry in _bytes(batch.column(column)):
            what = f"row {len(inputs)}"
            tensor = decode(lambda entry=entry: decoder(_blob(entry)), what)
            if inputs and tensor.shape != inputs[0].shape:
                raise Failed(
                    f"images differ in size ({tuple(inputs[0].shape)}, then "
                    f"{tuple(tensor.shape)}); give one size to resize to"
                )
            allowance.spend(2 * tensor.nbytes)  # alone, and in the stack of all
            inputs.append(tensor)
    if not inputs:
        raise Failed("no rows")
    return Read(torch.stack(inputs), torch.cat(labels), class_names(made.schema_arrow.metadata))


def _column(schema: Any) -> str:
    """The column of samples, once it and the labels are of the right kinds."""
    types = require("pyarrow", extra="data").types
    found = [name for name in COLUMNS if schema.names.count(name) == 1]
    if not found or schema.names.count("label") != 1:
        raise Failed(
            "expected columns image, img or audio, and label; found "
            f"[{listed((repr(name) for name in schema.names), 20)}]"
        )
    kind = schema.field("label").type
    if not types.is_integer(kind):
        raise Failed(f"expected whole numbers as labels, got {clean_text(str(kind))}")
    kind = schema.field(found[0]).type
    fields = [kind.field(place) for place in range(kind.num_fields if types.is_struct(kind) else 0)]
    held = [field.type for field in fields if field.name == "bytes"]
    if len(held) != 1 or not (types.is_binary(held[0]) or types.is_large_binary(held[0])):
        raise Failed(
            f"expected structs with binary 'bytes' in column {found[0]}, as the Hugging Face hub "
            f"has them, got {clean_text(str(kind))}"
        )
    return found[0]


def _rows(metadata: Any, allowance: Allowance) -> int:
    """How many rows to read at once: a dictionary's one entry may stand in all of them."""
    largest = 1
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        sizes = [group.column(place).total_uncompressed_size for place in range(group.num_columns)]
        largest = max(largest, *sizes)
    if largest > allowance.most:
        raise Failed(f"a column unfolds to {largest:,} bytes, which is far more than its file has")
    return max(1, min(BATCH, BATCH_BYTES // largest))


def _bytes(column: Any) -> Any:
    """The scalars of the field `bytes`, null where the struct is."""
    names = [column.type.field(place).name for place in range(column.type.num_fields)]
    return column.flatten()[names.index("bytes")]


def _blob(entry: Any) -> bytes:
    blob = entry.as_py()
    if not blob:
        raise TypeError("no bytes")
    return blob


def _decoder(image: Callable[[BinaryIO], np.ndarray[Any, Any]]) -> Decoder:
    return lambda blob: torch.from_numpy(np.ascontiguousarray(image(io.BytesIO(blob))))


def class_names(metadata: Mapping[bytes, bytes] | None) -> tuple[str, ...] | None:
    """The class names in what the hub's library adds to a schema; None where it names none.

    Raises:
        Failed: it is broken.
    """
    try:
        found: Any = json.loads((metadata or {}).get(b"huggingface", b"{}"))
    except (ValueError, RecursionError) as error:
        raise Failed("the huggingface metadata is not JSON: write the file again") from error
    for key in ("info", "features", "label", "names"):
        if not isinstance(found, dict):
            raise Failed(f"the huggingface metadata has no object around {key!r}: write it again")
        if found.get(key) is None:
            return None
        found = found[key]
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise Failed("the class names in the huggingface metadata are not a list of texts")
    if len(found) > MAX_CLASSES:
        raise Failed(f"{len(found):,} class names, expected at most {MAX_CLASSES:,}")
    return tuple(found) or None
