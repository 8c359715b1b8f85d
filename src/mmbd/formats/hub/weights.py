"""One file of weights that another file names: safetensors, or a checkpoint of torch's."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmbd.base.errors import Failed
from mmbd.formats import checkpoints, tensor_file
from mmbd.formats.advice import broken
from mmbd.formats.format import Contents
from mmbd.formats.pickles import opcodes as pickles
from mmbd.formats.refusals import program


def tensors_in(data: bytes | bytearray) -> Contents:
    """The tensors by name in one file of weights: safetensors, or a checkpoint of torch's.

    Raises:
        Failed: broken, or something else than a mapping of names to tensors.
        Refused: a program.
    """
    head = bytes(data[:32])
    if tensor_file.recognise(head):
        return tensor_file.read(data)
    if checkpoints.is_zip(head):
        held = checkpoints.read_zip(data)
    elif checkpoints.is_legacy(head):
        held = checkpoints.read_legacy(data)
    elif pickles.names_in([bytes(data[: pickles.MAX_BYTES])]).complete:
        what = "a Python pickle that torch did not write"
        raise program(what, "a pickle is a program", [bytes(data)])
    else:
        raise broken("the file is neither safetensors nor a checkpoint of PyTorch")
    value = held.value
    if not isinstance(value, Mapping) or not all(
        isinstance(key, str) and isinstance(each, Tensor) for key, each in value.items()
    ):
        raise Failed("the file holds more than tensors by name: save model.state_dict() alone")
    return held
