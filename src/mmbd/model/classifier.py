"""The model under inspection: logits of a frozen network, and the domain its inputs live in."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmbd.base.errors import NotEvaluable
from mmbd.model import probe
from mmbd.model.domain import Bound, Box, Domain, check_units
from mmbd.model.logits import ENDS, Undo, checked, spelled
from mmbd.model.normalised import Normalisation


class Classifier:
    """A classifier as every method of this package sees it.

    Called on a batch of valid inputs, it returns float32 logits of shape (batch, classes).
    Normalisation happens inside, outputs are unwrapped, and nobody else needs to know how.

    Args:
        model: an `nn.Module` or any differentiable callable on batches. Outputs may be a tensor,
            a tuple, list or mapping with one tensor that may be logits, or a mapping or object
            with `logits`. A network that takes one input at a time, or two at least, gets them so.
        input_shape: the shape of one input, without the batch; unnecessary with `domain`.
        bounds: the lowest and the highest valid input, numbers or one value a channel, in the
            units that `mean` and `std` are given in (an image's 0 and 1, say).
        mean, std: the normalisation (x - mean) / std that the model was trained with: numbers or
            one value a channel. Leave them out if the model takes raw inputs.
        class_names: one name a class; numbers otherwise.
        domain: instead of `input_shape` and `bounds`, for inputs that are not a box.
        device: where to run; by default where the model's parameters are.
        output: which of several tensors in the outputs holds the logits, by name or number.
        ends_in: "sigmoid", "softmax" or "tanh" where the network ends in one: what goes into it is
            taken for the logits, which is exact.
        classes: how many there are, where that is known: it may tell which output holds the logits.

    Raises:
        NotEvaluable: the outputs are not finite logits of shape (batch, classes), are bounded, or
            are several tensors, any of which may be the logits.
        Failed: the model does not accept inputs of this shape.
        ValueError: arguments that contradict each other.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5))
        >>> clf = Classifier(net, input_shape=(3, 2, 2), bounds=(0, 1))
        >>> clf.classes, tuple(clf(torch.zeros(7, 3, 2, 2)).shape)
        (5, (7, 5))
    """

    def __init__(
        self,
        model: nn.Module | Callable[[Tensor], Any],
        *,
        input_shape: Sequence[int] | None = None,
        bounds: tuple[Bound, Bound] = (0.0, 1.0),
        mean: Bound | None = None,
        std: Bound | None = None,
        class_names: Sequence[str] | None = None,
        domain: Domain | None = None,
        device: torch.device | str | None = None,
        output: int | str | None = None,
        ends_in: str | None = None,
        classes: int | None = None,
    ) -> None:
        if ends_in is not None and ends_in not in ENDS:
            raise ValueError(f"ends_in must be one of {', '.join(ENDS)}, got {ends_in!r}")
        if domain is None:
            if input_shape is None:
                raise ValueError("give input_shape, for example (3, 32, 32), or a domain")
            low, high = bounds
            domain = Box(input_shape, low, high)
        self.model = model
        self.domain = domain
        parameter = next((p for p in self._parameters() if p.dtype.is_floating_point), None)
        self.device = torch.device(device or (parameter.device if parameter is not None else "cpu"))
        self.dtype = torch.float32 if parameter is None else parameter.dtype
        with torch.inference_mode(False):  # so that autograd may keep its numbers
            self._normalise = Normalisation(mean, std, domain.shape).to(self.device)
        check_units(domain.bounds, self.mean, self.std)
        self.ends_in = ends_in
        known = len(class_names) if class_names is not None else classes
        with self.frozen():
            self.reading, self.classes = probe.reading(self, output, known)
        if class_names is not None and len(class_names) != self.classes:
            raise ValueError(f"{len(class_names)} class names for {self.classes} classes")
        self.class_names = (
            tuple(str(name) for name in class_names)
            if class_names is not None
            else tuple(str(label) for label in range(self.classes))
        )

    def __call__(self, inputs: Tensor, *, buffer: Tensor | None = None) -> Tensor:
        """The logits (batch, classes) of valid inputs (batch, *shape), as float32.

        A model may work in place, on its own copy only: where there is one to be made, it goes to
        `buffer`, a tensor like `inputs`, if given; new memory for every batch takes longer.
        """
        rows, most = self.reading.rows, len(inputs)
        if rows == "one" and most > 1:
            return torch.cat([self(one) for one in inputs.split(1)])
        if rows == "two" and most == 1:
            return self(inputs.expand(2, *inputs.shape[1:]))[:1]
        output = self.answer(self.normalised(inputs, buffer))
        return checked(self.reading.logits(output), most).float()

    def answer(self, normalised: Tensor) -> Any:
        """What the network itself returns for normalised inputs (batch, *shape)."""
        try:
            if self.ends_in is None:
                return self.model(normalised)
            undo = Undo(self.ends_in)
            with undo:
                output = self.model(normalised)
            return undo.within(output)
        except RuntimeError as error:
            if "Can't call numpy() on Tensor that requires grad" not in str(error):
                raise
            raise NotEvaluable(
                "no gradient reaches the input: the model uses NumPy; use torch's functions instead"
            ) from error

    def normalised(self, inputs: Tensor, buffer: Tensor | None = None) -> Tensor:
        """Valid inputs (batch, *shape) as the network takes them; never `inputs` itself."""
        normalised = self._normalise(inputs.to(self.device)).to(self.dtype)
        if normalised is inputs:
            return inputs.clone() if buffer is None else buffer.detach().copy_(inputs)
        return normalised

    @contextmanager
    def frozen(self) -> Generator[None]:
        """Eval mode and no parameter gradients inside; both as they were afterwards."""
        modules = list(self.model.modules()) if isinstance(self.model, nn.Module) else []
        modes = [(module, module.training) for module in modules]
        gradients = [
            (parameter, parameter.requires_grad)
            for parameter in self._parameters()
            if not parameter.is_inference()  # made in inference mode: those never change
        ]
        try:
            for module, _ in modes:
                module.training = False
            for parameter, _ in gradients:
                parameter.requires_grad_(False)
            yield
        finally:
            for module, training in modes:
                module.training = training
            for parameter, requires_grad in gradients:
                parameter.requires_grad_(requires_grad)

    def to(self, device: torch.device | str) -> Classifier:
        """Move the model there, in place; returns this classifier."""
        self.device = torch.device(device)
        if isinstance(self.model, nn.Module):
            self.model.to(self.device)
        self._normalise.to(self.device)
        return self

    def around(self, model: nn.Module | Callable[[Tensor], Any]) -> Classifier:
        """A classifier like this one, on the same inputs and classes, around another network."""
        return Classifier(
            model,
            domain=self.domain,
            mean=self._normalise.mean,
            std=self._normalise.std,
            class_names=self.class_names,
            device=self.device,
            output=spelled(self.reading.place) if self.reading.place else None,
            ends_in=self.ends_in,
        )

    @property
    def mean(self) -> tuple[float, ...] | None:
        """The mean that is subtracted inside, one value or one a channel."""
        return _values(self._normalise.mean)

    @property
    def std(self) -> tuple[float, ...] | None:
        """The standard deviation that is divided by inside, one value or one a channel."""
        return _values(self._normalise.std)

    @property
    def parameter_count(self) -> int | None:
        """How many parameters the model has; None for a plain callable."""
        if not isinstance(self.model, nn.Module):
            return None
        return sum(parameter.numel() for parameter in self.model.parameters())

    def _parameters(self) -> Generator[nn.Parameter]:
        if isinstance(self.model, nn.Module):
            yield from self.model.parameters()


def _values(tensor: Tensor | None) -> tuple[float, ...] | None:
    return None if tensor is None else tuple(tensor.flatten().tolist())
