"""The options that say what a model file does not: `mmbd scan`, `fix` and `evaluate` share them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from mmbd.cli.options import Numbers, Plain, Usage, at_least, device_here, numbers, shape, size
from mmbd.formats.options import LoadOptions


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Loading:
    """What the model's file does not say of it.

    Attributes:
        arch: The network: a built-in name, package.module:factory or path/to/file.py:factory.
            Files written by mmbd need no flags.
        arch_arg: An argument of the network, key=value; may be repeated.
        input_shape: The shape of one input, for example 3x32x32.
        bounds: The lowest and the highest valid input (default: 0 1).
        mean: The mean that inputs are normalised with, one number or one a channel: 0.5, or
            0.49 0.48 0.45, or 0.49,0.48,0.45 (default: as the file says, else none).
        std: The standard deviation that inputs are divided by after that, written in the same way.
        classes: The number of classes, for built-in networks (default: as in the weights).
        class_names: A file with one class name a line, or a JSON list.
        entry: Which weights to take where a checkpoint holds several: an entry such as ema, or a
            prefix such as state_dict/encoder_q.
        output: Which of several tensors in the network's outputs holds the logits, by name or
            number.
        ends_in: The function that the network ends in instead of logits; it is undone.
        as_claimed: Believe what the file says of its inputs, its activations and their bounds; a
            verdict of clean then rests on that.
        sandbox: Read files in a process that has no network, no files and little memory, and can do nothing
            but answer; on Linux, and the default there.
        max_bytes: The largest file to read, for example 8GB or 500MB; loading takes about twice
            as much memory (default: 4 GiB).
        device: The device to run on, such as cpu or cuda.
    """

    arch: str | None = None
    arch_arg: Annotated[list[str] | None, Plain] = None
    input_shape: Annotated[str | None, Parameter(name="--input")] = None
    bounds: Annotated[tuple[float, float] | None, Plain] = None
    mean: Numbers = None
    std: Numbers = None
    classes: int | None = None
    class_names: Path | None = None
    entry: str | None = None
    output: str | None = None
    ends_in: Literal["sigmoid", "softmax", "tanh"] | None = None
    as_claimed: Annotated[bool, Plain] = False
    sandbox: Annotated[bool, Parameter(negative="--no-sandbox", show_default=False)] = True
    max_bytes: str | None = None
    device: str = "cpu"

    def options(self) -> LoadOptions:
        """These options, once they have been checked; raises Usage where they make no sense."""
        mean, std = numbers("--mean", self.mean), numbers("--std", self.std, positive=True)
        most = size("--max-bytes", self.max_bytes)
        input_shape = shape(self.input_shape)
        at_least(2, classes=self.classes)
        if self.bounds is not None:
            low, high = self.bounds
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise Usage(f"--bounds {low:g} {high:g}: expected the lower one first, such as 0 1")

        if self.sandbox:
            from mmbd.formats.sandbox import reading

            reading.stand()  # before anything computes; `commands.run` ends it
        from mmbd.formats.class_names import read_class_names
        from mmbd.formats.networks.architecture import parse_arguments

        arguments = parse_arguments(self.arch_arg or ())
        device_here(self.device)
        plain = ("arch", "bounds", "device", "classes", "entry", "output", "ends_in", "as_claimed")
        return LoadOptions(
            **{name: getattr(self, name) for name in plain},
            arch_args=arguments,
            input_shape=input_shape,
            mean=mean,
            std=std,
            class_names=None if self.class_names is None else read_class_names(self.class_names),
            sandbox=None if self.sandbox else False,
            max_bytes=LoadOptions.max_bytes if most is None else most,
        )


DEFAULT_LOADING = Loading()
