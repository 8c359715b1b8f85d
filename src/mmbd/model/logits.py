"""Where the logits are in what a network returns, and whether they are logits at all.

Networks return a tensor, or tensors in tuples, mappings and objects. Of several that could be
logits none is taken in silence. What ends in a sigmoid or a softmax is bounded: margins cannot grow
where a backdoor drives them, so such outputs are refused, or on request undone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor
from torch.overrides import TorchFunctionMode

from mmbd.base.errors import NotEvaluable

Place = tuple[int | str, ...]

# By the name of their gradient's function: what bounds an output.
BOUNDED = {
    "SigmoidBackward0": "a sigmoid",
    "HardsigmoidBackward0": "a hard sigmoid",
    "TanhBackward0": "a tanh",
    "SoftmaxBackward0": "a softmax",
}
# What can be undone.
ENDS = ("sigmoid", "softmax", "tanh")
# Gradient functions that change the shape or the kind of number, or scale and shift.
THROUGH = (
    "View",
    "UnsafeView",
    "ReshapeAlias",
    "Squeeze",
    "Unsqueeze",
    "ToCopy",
    "Clone",
    "T",
    "Select",
    "Transpose",
    "Permute",
    "Slice",
    "Alias",
    "Mul",
    "Div",
    "Add",
    "Sub",
    "Neg",
)
MOST_PLACES = 64
# Inputs from which on a likeness of all outputs is none by chance.
FEW = 5


def places(output: Any, most: int = MOST_PLACES) -> dict[Place, Tensor]:
    """Every tensor in what a network returned, by its place."""
    found: dict[Place, Tensor] = {}
    for place, tensor in _walk(output, ()):
        found[place] = tensor
        if len(found) == most:
            break
    return found


def _walk(output: Any, place: Place) -> Iterator[tuple[Place, Tensor]]:
    if isinstance(output, Tensor):
        yield place, output
    elif len(place) > 4:
        return
    elif isinstance(output, Mapping):
        for name, part in output.items():
            yield from _walk(part, (*place, name))
    elif hasattr(output, "_fields"):  # a named tuple
        for name in output._fields:
            yield from _walk(getattr(output, name), (*place, name))
    elif isinstance(output, tuple | list):
        for number, part in enumerate(output):
            yield from _walk(part, (*place, number))


def at(output: Any, place: Place) -> Any:
    """What is at a place that was found before; also while the network is being traced."""
    for step in place:
        if isinstance(step, str) and not isinstance(output, Mapping):
            output = getattr(output, step)
        else:
            output = output[step]
    return output


def find_place(
    output: Any, batch: int, *, wanted: int | str | None = None, classes: int | None = None
) -> Place:
    """Where the logits are.

    Args:
        output: what the network returned.
        batch: for how many inputs.
        wanted: which of several to take, by name or number; those inside others with dots, "0.1".
        classes: how many there must be, where that is known.

    Raises:
        NotEvaluable: nothing there, or several tensors that may be logits and no word on which.
    """
    start: Place = ()
    if wanted is not None:
        return _wanted(output, str(wanted))
    while not isinstance(at(output, start), Tensor):
        part = at(output, start)
        if hasattr(part, "logits") or (isinstance(part, Mapping) and "logits" in part):
            start = (*start, "logits")
        else:
            break
    every = {(*start, *place): tensor for place, tensor in places(at(output, start)).items()}
    fitting = [place for place, tensor in every.items() if _may_be_logits(tensor, batch)]
    if len(fitting) > 1 and classes is not None:
        fitting = [place for place in fitting if every[place][0].numel() == classes] or fitting
    if len(fitting) == 1:
        return fitting[0]
    if len(every) == 1 or (every and not fitting):
        return next(iter(every))  # whose shape says what is wrong with it
    given = at(output, start)
    if not every:
        found = list(given) if isinstance(given, Mapping) else type(given).__name__
        raise NotEvaluable(
            f"expected a tensor of logits in the model's output, found {found}: return the logits"
        )
    listed = list(map(spelled, fitting))
    shapes = ", ".join(f"{spelled(place)} {tuple(every[place].shape)}" for place in fitting)
    raise NotEvaluable(
        f"expected one tensor of logits in the model's output, found {listed}, any of which may "
        f"be them ({shapes} for {batch} inputs): say which, with --output {listed[-1]} "
        f"(output={listed[-1]!r} in Python), or return the logits alone"
    )


def spelled(place: Place) -> str:
    """A place as users write it: names and numbers, joined by dots."""
    return ".".join(map(str, place)) or "(all)"


def _wanted(output: Any, wanted: str) -> Place:
    every = places(output)
    named = {spelled(place): place for place in every}
    if wanted in named:
        return named[wanted]
    if hasattr(output, wanted) and isinstance(getattr(output, wanted), Tensor):
        return (wanted,)
    have = ", ".join(list(named)[:20]) or "none"
    raise NotEvaluable(
        f"the model's output has no tensor {wanted!r:.60}; it has: {have}. Choose one with "
        "--output (output= in Python)"
    )


def _may_be_logits(tensor: Tensor, batch: int) -> bool:
    """Whether a tensor has the shape and the kind of numbers of logits."""
    long = sum(length > 1 for length in tensor.shape[1:])
    return tensor.dim() >= 2 and tensor.shape[0] == batch and long == 1 and tensor.dtype.is_floating_point


# How many inputs a network takes at a time: any number, one (exported with a fixed batch), or two
# at least (a squeeze takes the batch away too).
Rows = Literal["any", "one", "two"]


@dataclass(frozen=True)
class Reading:
    """How a network is read.

    Args:
        place: where the logits are in its output.
        flat: whether they have axes of length 1 beside the classes, which go.
        rows: how many inputs it takes at a time.
    """

    place: Place = ()
    flat: bool = False
    rows: Rows = "any"

    def logits(self, output: Any) -> Any:
        """The logits (batch, classes) in what the network returned; also while it is being traced."""
        found = at(output, self.place)
        return found.flatten(1) if self.flat else found


def reading_of(output: Any, place: Place, rows: Rows = "any") -> Reading:
    """How to read a network that returned `output`, with the logits at `place`."""
    shape = at(output, place).shape
    flat = len(shape) > 2 and sum(length > 1 for length in shape[1:]) <= 1
    return Reading(place, flat, rows)


def checked(tensor: Tensor, batch: int) -> Tensor:
    """The tensor, if these are logits (batch, classes); NotEvaluable where they are not."""
    if tensor.dim() != 2 or tensor.shape[0] != batch:
        raise NotEvaluable(
            f"expected logits of shape (batch, classes), got {tuple(tensor.shape)} for {batch} inputs: "
            "return the logits alone"
        )
    if not tensor.dtype.is_floating_point:
        raise NotEvaluable(f"expected floating-point logits, got {tensor.dtype}: return them so")
    return tensor


def bounded_by(output: Tensor) -> str | None:
    """What bounds the outputs, such as "a sigmoid", as their gradient's functions tell."""
    node: Any = output.grad_fn
    while node is not None:
        name = type(node).__name__
        if name in BOUNDED:
            return BOUNDED[name]
        parents = [parent for parent, _ in node.next_functions if parent is not None]
        if len(parents) != 1 or name.rstrip("0123456789").removesuffix("Backward") not in THROUGH:
            return None
        node = parents[0]
    return None


def refusal(what: str, low: float, high: float) -> NotEvaluable:
    """The error for bounded outputs; it says how to leave out or undo what bounds them."""
    end = what.removeprefix("a ")
    undo = f", or say --ends-in {end} (ends_in={end!r} in Python), which undoes it exactly"
    return NotEvaluable(
        f"the outputs are bounded, {low:g} to {high:g}, by {what} at the network's end, so they "
        "are not logits: their margins cannot grow and their gradients vanish. Leave that out of "
        f"the network{undo if end in ENDS else ''}"
    )


class Undo(TorchFunctionMode):
    """While active, remembers what goes into the function that a network ends in."""

    def __init__(self, end: str) -> None:
        super().__init__()
        self.end = end
        self.calls: list[tuple[Tensor, Tensor]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "").strip("_")
        if name != self.end or not args or not isinstance(args[0], Tensor):
            return func(*args, **(kwargs or {}))
        given = args[0].clone()  # it may be done in place
        output = func(*args, **(kwargs or {}))
        self.calls.append((output, given))
        return output

    def within(self, output: Any) -> Any:
        """The output with what was there before the last function.

        Raises:
            NotEvaluable: it ends in something else.
        """
        for place, tensor in places(output).items():
            for result, given in reversed(self.calls):
                if result is tensor or _same_numbers(result, tensor):
                    return given.reshape(tensor.shape) if not place else {place[-1]: given}
        raise NotEvaluable(
            f"the network does not end in a {self.end}, or does something else with its result: "
            "leave --ends-in (ends_in=) out, or return what goes into it"
        )


def _same_numbers(one: Tensor, other: Tensor) -> bool:
    """Whether one tensor is a view of all numbers of the other."""
    return one.numel() == other.numel() and one.data_ptr() == other.data_ptr()


def seem_bounded(values: Tensor, labels: Tensor) -> str | None:
    """What bounds outputs, as they show at the ends of searches; None where nothing seems to.

    Logits that were driven as far as they go do not end by chance within 2 % of 0 or -1 and of 1
    and never beyond, nor all in one length, nor half of the classes at the same number.

    Args:
        values: outputs at the maximising inputs, (inputs, classes).
        labels: whose input each is, (inputs,).
    """
    low, high = float(values.min()), float(values.max())
    for floor in (0.0, -1.0):
        if low >= floor - 1e-6 and low <= floor + 0.02 and 0.98 <= high <= 1 + 1e-6:
            return f"the outputs end at {floor:g} and 1 wherever they are driven"
    if len(values) < FEW:
        return None
    lengths = values.norm(dim=1)
    if float(lengths.max() - lengths.min()) <= 1e-4 * float(lengths.max()):
        return f"the outputs have the same length, {float(lengths[0]):.3g}, for every input"
    own = values.gather(1, labels[:, None])[:, 0]
    top = own.max()
    equal = int((own >= top - 1e-6 * top.abs()).sum())
    if 2 * equal > len(values):
        return f"the outputs of {equal} classes end at the same number, {float(top):.4g}"
    return None
