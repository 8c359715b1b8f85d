"""A model file, or a folder with one, -> a Classifier. Nothing in the file is ever executed.

The file is opened once and read once into memory (up to `max_bytes`); the digest, the format and
the tensors all come from those bytes. A pickle has to pass an allow list before torch sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmbd.formats.loaded import Loaded
from mmbd.formats.options import LoadOptions

if TYPE_CHECKING:
    import torch
    from torch import nn

    from mmbd.model.domain import Bound


def load(
    path: str | Path,
    *,
    arch: str | Callable[..., nn.Module] | None = None,
    arch_args: Mapping[str, Any] | None = None,
    input_shape: Sequence[int] | None = None,
    bounds: tuple[Bound, Bound] | None = None,
    mean: Bound | None = None,
    std: Bound | None = None,
    class_names: Sequence[str] | None = None,
    device: torch.device | str = LoadOptions.device,
    classes: int | None = None,
    entry: str | None = None,
    max_bytes: int = LoadOptions.max_bytes,
    output: int | str | None = None,
    ends_in: str | None = None,
    as_claimed: bool = LoadOptions.as_claimed,
    sandbox: bool | None = LoadOptions.sandbox,
) -> Loaded:
    """Load a classifier from safetensors or a torch state dict.

    A file that `mmbd` wrote says itself what it is; arguments given here take precedence over
    that. Any other file needs `arch` and `input_shape`, and `mean` and `std` if it has them. Where
    `arch` or `input_shape` are given and the rest comes from the file, a scan says at most that the
    verdict is open, unless the file is taken at its word.

    Args:
        path: the file, or a folder with one `model.safetensors` or `pytorch_model.bin`.
        arch: a built-in architecture, `package.module:factory`, `path/to/file.py:factory`, or
            the factory itself: a function or class that returns an `nn.Module`.
        arch_args: keyword arguments for it. A factory of one's own gets these; beside them only
            `classes` as its argument classes, num_classes or n_classes, if it has one, and
            `input_shape` as its argument of that name, if that has no default.
        input_shape: the shape of one input, for example (3, 32, 32).
        bounds: the lowest and the highest valid input, (0, 1) by default.
        mean: as for `Classifier`.
        std: as for `Classifier`.
        class_names: one name a class.
        device: where the classifier shall run.
        classes: the number of classes; a built-in architecture finds it in the weights otherwise.
        entry: which weights to take where a checkpoint holds several: the way to a state dict, such
            as "ema" or "model/ema", or the prefix of names in one, such as "ema_model", or both.
        max_bytes: refuse to read larger files; loading takes about twice their memory.
        output: as for `Classifier`.
        ends_in: as for `Classifier`.
        as_claimed: take the file at its word: unusual claims are not doubted, and bounds on
            activations that it describes belong to the network.
        sandbox: True reads the file in a process that can do nothing but answer, which takes seconds to
            start where other threads run; None does where one is ready, as in `mmbd`'s own commands;
            False does not.

    Raises:
        Refused: the file would have to be executed to be read, or is no format for weights.
        Failed: nothing there, broken, the weights do not fit the architecture or the inputs, or the
            device cannot be used; or `sandbox`, and this system has none, or the file made it fail.
        NotEvaluable: the network's outputs are not logits.
    """
    from mmbd.formats.loading import load_file

    options: dict[str, Any] = dict(locals()) | {"arch_args": arch_args or {}}
    del options["path"], options["load_file"]
    return load_file(path, LoadOptions(**options))
