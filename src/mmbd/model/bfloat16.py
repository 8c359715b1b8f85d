"""A network in bfloat16: a copy of its own, several times as fast where the processor computes in it.

A bfloat16 number has the range of a float32 one and eight of its 24 binary digits. That is enough to say
which way a margin rises, and too little to state the margin. Normalisation, and the last linear layer, stay
in float32; normalisations by running averages are folded into the convolutions before them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from mmbd.base.errors import Failed, NotEvaluable
from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier

# What may hold parameters: those of other modules may be there for the sake of float32's digits.
PRODUCTS = (nn.Conv1d, nn.Conv2d, nn.Linear)
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d)
FOLDED = 1e-3  # of the logits' size: by so much folding may change them


def fast_in_bfloat16(device: torch.device) -> bool:
    """Whether the processor has units for products of bfloat16 matrices, and this was measured there: AMX."""
    supported: Callable[[], bool] | None = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return device.type == "cpu" and supported is not None and supported()


def multiply_adds(classifier: Classifier) -> int:
    """Multiplications that the linear and convolutional modules take for one input, forward."""
    counts: list[int] = []

    def count(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(module, PRODUCTS) and isinstance(output, Tensor) and len(output):
            each = module.weight.numel() // len(module.weight)
            counts.append(output.numel() // len(output) * each)

    with _watching(_modules(classifier.model, PRODUCTS), count):
        _answers(classifier, 1)
    return sum(counts)


def in_bfloat16(classifier: Classifier) -> Classifier | str:
    """The same classifier with a copy of the network in bfloat16, frozen; or why there is none.

    The reason is a sentence without its full stop.
    """
    network = classifier.model
    if not isinstance(network, nn.Module) or classifier.dtype != torch.float32:
        return "the network is no module in float32"
    holders = [module for module in network.modules() if any(True for _ in module.parameters(recurse=False))]
    scripts = any(isinstance(module, torch.jit.ScriptModule) for module in network.modules())
    if scripts or not all(isinstance(module, PRODUCTS + NORMALISATIONS) for module in holders):
        return "the network has parameters outside convolutions, linear layers and their normalisations"
    try:
        model = folded(classifier)
        head = _last_linear(classifier.around(model), classifier.classes)
        exact = None if head is None else _Exact(head)
        model = model.to(torch.bfloat16)
        for norm in _modules(model, NORMALISATIONS):
            norm.float()
        if head is not None:
            _replace(model, head, exact)
        model = model.eval().requires_grad_(False)
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        return classifier.around(model)
    except (NotEvaluable, Failed, RuntimeError, TypeError, ValueError, AttributeError, copy.Error) as error:
        first = str(error).partition("\n")[0][:200]
        return f"the network could not be copied into bfloat16: {first}"


def folded(classifier: Classifier) -> nn.Module:
    """A copy of the network in which averages are folded into the convolutions before them.

    Where that would change its answers, as where something else uses a convolution's output, an exact copy.
    """
    assert isinstance(classifier.model, nn.Module)
    with classifier.frozen():
        made = copy.deepcopy(classifier.model)
        as_it_was = _answers(classifier, 4)
        outputs: dict[nn.Module, list[Tensor]] = {}
        inputs: dict[nn.Module, list[Any]] = {}

        def note(module: nn.Module, args: Sequence[Any], output: Any) -> None:
            outputs.setdefault(module, []).append(output)
            inputs.setdefault(module, []).append(args[0] if args else None)

        same, kinds = classifier.around(made), (nn.Conv2d, nn.BatchNorm2d)
        with _watching([module for module in _modules(made, kinds) if type(module) in kinds], note):
            _answers(same, 1)
        once = [one for one, gave in outputs.items() if type(one) is nn.Conv2d and len(gave) == 1]
        for norm, given in inputs.items():
            if type(norm) is nn.BatchNorm2d and len(given) == 1 and norm.running_mean is not None:
                for convolution in once:
                    if outputs[convolution][0] is given[0]:
                        _fold(made, convolution, norm)
        made.requires_grad_(False)
        after = _answers(same, 4)
        apart = float((after - as_it_was).abs().max())
        if apart <= FOLDED * max(float(as_it_was.abs().max()), 1e-12):
            return made
        return copy.deepcopy(classifier.model)


def _fold(model: nn.Module, convolution: nn.Module, norm: nn.BatchNorm2d) -> None:
    assert isinstance(convolution, nn.Conv2d)
    parts: Any = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    weight, bias = fuse_conv_bn_weights(convolution.weight, convolution.bias, *parts)
    convolution.weight, convolution.bias = weight, bias
    _replace(model, norm, nn.Identity())


class _Exact(nn.Module):
    """A linear layer in float32, whatever its inputs are."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight = layer.weight.detach().clone()  # no parameters: not cast with these
        bias: Any = layer.bias
        self.bias = None if bias is None else bias.detach().clone()

    def forward(self, inputs: Tensor) -> Tensor:
        return F.linear(inputs.float(), self.weight, self.bias)


def _last_linear(classifier: Classifier, classes: int) -> nn.Linear | None:
    """The linear module that was called last, if it has an output a class and is not the first one, too."""
    called: list[nn.Module] = []

    def note(module: nn.Module, *_: Any) -> None:
        called.append(module)

    with _watching(_modules(classifier.model, PRODUCTS), note):
        _answers(classifier, 2)
    last = called[-1] if called else None
    once = last is not None and called.count(last) == 1 and len(called) > 1
    return last if once and type(last) is nn.Linear and last.out_features == classes else None


def _replace(model: nn.Module, old: nn.Module, new: Any) -> None:
    """Put `new` everywhere in the place of `old`."""
    paths = [path for path, child in model.named_modules(remove_duplicate=False) if child is old]
    for path in paths:
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, new)


def _modules(model: Any, kinds: tuple[type[nn.Module], ...]) -> list[nn.Module]:
    return [one for one in model.modules() if isinstance(one, kinds)] if isinstance(model, nn.Module) else []


@contextmanager
def _watching(modules: Sequence[nn.Module], note: Callable[..., None]) -> Generator[None]:
    handles = [module.register_forward_hook(note) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _answers(classifier: Classifier, count: int) -> Tensor:
    count = max(count, 2 if classifier.reading.rows == "two" else 1)
    points = torch.stack([classifier.domain.sample(generator_for("bfloat16", i)) for i in range(count)])
    with classifier.frozen(), torch.no_grad():
        return classifier(points.to(classifier.device))
