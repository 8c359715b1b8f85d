"""Where a network's activations are: every call of a ReLU and its kin, in order of execution.

Activations are found by watching one forward pass at the level of torch's functions. So modules
and functional calls are the same thing, the ReLU after a residual sum is one like any other, and
a module that is called twice counts twice. The network is not rewritten and keeps no hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier

# Unbounded above, so that a trigger can drive them: tanh and sigmoid have nothing to bound.
ACTIVATIONS = frozenset(
    {
        "relu",
        "relu6",
        "hardtanh",
        "leaky_relu",
        "prelu",
        "rrelu",
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "mish",
        "softplus",
        "hardswish",
    }
)
# The last of these before an activation says which axis its channels are on, and whether it
# follows a sum.
LAST_AXIS = frozenset({"linear", "matmul", "layer_norm"})
FIRST_AXIS = frozenset(
    {
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
        "batch_norm",
        "group_norm",
        "instance_norm",
    }
)
SUMS = frozenset({"add", "iadd", "radd"})
INPUTS = -1  # the index of what comes before the first activation


@dataclass(frozen=True)
class Activation:
    """One activation of a network.

    Args:
        name: the module it belongs to, and the function unless the module is nothing else:
            `features.2`, `layer1.0.relu`; `#2` is the second of that name.
        index: which activation of a forward pass it is, from 0; INPUTS is what the network takes.
        channels: how many channels its output has; a channel of a linear layer is a neuron.
        axis: the axis of the channels: 1, or -1 where features come last (linear layers).
        shape: the shape of its output for one input, without the batch.
        residual: whether it directly follows a sum, as at the end of a residual block.
    """

    name: str
    index: int
    channels: int
    axis: int
    shape: tuple[int, ...]
    residual: bool = False

    def broadcast(self, values: Tensor) -> Tensor:
        """`values`, (channels,) or one for every place (*shape), so that they broadcast over a batch."""
        if self.axis == -1 or values.dim() > 1:
            return values
        return values.reshape(-1, *[1] * (len(self.shape) - 1))

    def channel_rows(self, outputs: Tensor) -> Tensor:
        """A batch of outputs as (channels, values)."""
        return outputs.movedim(self.axis, 0).flatten(1)


class ActivationHook(TorchFunctionMode):
    """While active, passes the output of every activation through `change`.

    `change` gets the activation's index, counted from 0 since the hook was made, and its output;
    what it returns goes on through the network in place of that.
    """

    def __init__(self, change: Callable[[int, Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change
        self.count = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs, name = kwargs or {}, _name(func)
        if name not in ACTIVATIONS or (name == "hardtanh" and not _one_sided(args, kwargs)):
            output = func(*args, **kwargs)
            self.other(name)
            return output
        self.count += 1
        given, *rest = args or (kwargs.pop("input"),)
        if not (kwargs.get("inplace") or func.__name__.endswith("_")):
            given = self.before(self.count - 1, given)
            return self.change(self.count - 1, func(given, *rest, **kwargs))
        # Others may hold the tensor itself, so what is changed has to get there.
        output = func(self.before(self.count - 1, given.clone()), *rest, **kwargs)
        return self.put(given, self.change(self.count - 1, output))

    def before(self, index: int, given: Tensor) -> Tensor:
        """Called with the input of every activation; what it returns is what the activation gets."""
        return given

    def put(self, given: Tensor, output: Tensor) -> Tensor:
        """Write the output of an activation that works in place where its input was."""
        return given.copy_(output)

    def other(self, name: str) -> None:
        """Called with the name of every function that is no activation."""


def _name(func: Any) -> str:
    """`relu` for torch.relu, F.relu, Tensor.relu_ and the like."""
    return getattr(func, "__name__", "").strip("_")


def _one_sided(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a hardtanh is a clipped ReLU, as nn.ReLU6 is."""
    low = args[1] if len(args) > 1 else kwargs.get("min_val", -1.0)
    return float(low) >= 0


class _Finder(ActivationHook):
    def __init__(self, network: nn.Module) -> None:
        super().__init__(self.found)
        self.network = network
        self.activations: list[Activation] = []
        self.path: list[tuple[str, nn.Module]] = []
        self.seen: dict[str, int] = {}
        self.function, self.axis, self.residual = "", 0, False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.function = _name(func)
        return super().__torch_function__(func, types, args, kwargs)

    def other(self, name: str) -> None:
        if name in FIRST_AXIS or name in LAST_AXIS:
            self.axis = 1 if name in FIRST_AXIS else -1
        if name in FIRST_AXIS or name in LAST_AXIS or name in SUMS:
            self.residual = name in SUMS

    def found(self, index: int, output: Tensor) -> Tensor:
        axis = self.axis or (-1 if output.dim() == 3 else 1)
        if output.dim() < 2:
            return output
        path, owner = self.path[-1] if self.path else ("", self.network)
        parts = [path] if next(owner.children(), None) is None else [path, self.function]
        name = ".".join(part for part in parts if part) or self.function
        self.seen[name] = self.seen.get(name, 0) + 1
        if self.seen[name] > 1:
            name = f"{name}#{self.seen[name]}"
        self.activations.append(
            Activation(name, index, output.shape[axis], axis, tuple(output.shape[1:]), self.residual)
        )
        return output

    @contextmanager
    def following(self) -> Generator[None]:
        """While active, `path` holds the modules that are running, the innermost last."""
        handles: list[Any] = []
        try:
            for name, module in self.network.named_modules(remove_duplicate=False):
                if isinstance(module, torch.jit.ScriptModule):  # it takes no such hooks
                    continue
                handles += [
                    module.register_forward_pre_hook(
                        lambda module, _, name=name: self.path.append((name, module))
                    ),
                    module.register_forward_hook(lambda *_: self.path.pop() and None, always_call=True),
                ]
            yield
        finally:
            for handle in handles:
                handle.remove()


def find(classifier: Classifier) -> tuple[Activation, ...]:
    """The activations of a classifier's network, in the order in which a forward pass gets there.

    A plain callable has none that can be named, so it has none.
    """
    network = classifier.model
    if not isinstance(network, nn.Module):
        return ()
    finder = _Finder(network)
    point = classifier.domain.sample(generator_for("taps"))[None]
    with torch.no_grad(), classifier.frozen(), finder.following(), finder:
        classifier(point)
    return tuple(finder.activations)


def inputs_of(classifier: Classifier) -> Activation:
    """The inputs of a classifier's network, as bounds see them: one more activation, before the first.

    Their channels are the first axis where there are several, as of images and sounds. They are as the
    network takes them, after normalisation.
    """
    shape = classifier.domain.shape
    return Activation("inputs", INPUTS, shape[0], 1 if len(shape) > 1 else -1, shape)


def near_input(activations: tuple[Activation, ...], count: int = 3) -> tuple[Activation, ...]:
    """The activations that the paper bounds (appendix B.2), `count` of them, near the input.

    Of a residual network the first one and the ends of the first stages, where the 5th and the 9th
    convolution of a ResNet-18 end; of any other network simply the first ones.
    """
    stages: dict[tuple[int, ...], Activation] = {}
    for activation in activations:
        if activation.residual:
            stages[activation.shape] = activation  # the last of each shape stays
    if len(stages) >= count - 1:
        return (activations[0], *list(stages.values())[: count - 1])
    return activations[:count]


def select(
    activations: tuple[Activation, ...], layers: str | list[str] | tuple[str, ...]
) -> tuple[Activation, ...]:
    """The activations called `layers`: "all", "paper" (see `near_input`) or a list of names.

    Raises:
        ValueError: a name that is not there, or no name.
    """
    if layers == "all":
        return activations
    if layers == "paper":
        return near_input(activations)
    names = {activation.name: activation for activation in activations}
    chosen = [layers] if isinstance(layers, str) else list(layers)
    unknown = [name for name in chosen if name not in names]
    if unknown or not chosen:
        raise ValueError(
            f"no activation is called {unknown[0] if unknown else chosen!r}; give all, paper or "
            f"some of: {', '.join(names)}"
        )
    return tuple(activation for activation in activations if activation.name in chosen)
