"""How many searches fit side by side: measured on the model, and halved where that is too many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from mmbd.base.errors import Failed
from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier
from mmbd.model.domain import elements

# Beyond this, a CPU's caches no longer help: see benchmarks/scan_speed.py.
CPU_LIMIT = 256 * 2**20
GPU_SHARE = 0.5
# Activations of so many bytes are still at hand when gradients come back through a small network; and
# batches that a CPU is quick with (benchmarks/rival_speed.py). A GPU takes as many inputs as it holds.
NEAR = 16 * 2**20
QUICK_BATCHES = (64, 512)
LARGEST_BATCH = 1024
# Numbers that a step holds for every class of a search: logits, their gradient, and rivals.
LOGITS = 6

T = TypeVar("T")


def bytes_per_search(classifier: Classifier) -> int:
    """What autograd keeps for one input, plus the search's own state; the model is frozen."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def measure(count: int) -> int:
        kept.clear()
        points = [classifier.domain.sample(generator_for("memory", i)) for i in range(count)]
        inputs = torch.stack(points).to(classifier.device).requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = classifier(inputs)
        del output
        return sum(kept.values())

    # The difference leaves out weights and other things that do not grow with the batch.
    fewest = 2 if classifier.reading.rows == "two" else 1
    growth = max(0, measure(fewest + 1) - measure(fewest))
    return growth + 8 * 4 * elements(classifier.domain) + LOGITS * 4 * classifier.classes


def quick_batch(classifier: Classifier) -> int:
    """How many inputs at a time gradients come fastest for, as far as results do not depend on it."""
    if classifier.device.type != "cpu":
        return LARGEST_BATCH
    fewest, most = QUICK_BATCHES
    return max(fewest, min(NEAR // bytes_per_search(classifier), most))


@dataclass
class BatchSize:
    """How many inputs go through the network side by side; halved whenever memory runs out.

    Args:
        size: at the beginning, at least 1.
        unit: what one of them is called in errors.
        oom_retries: how often memory has run out.
    """

    size: int
    unit: str = "input"
    oom_retries: int = 0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"batch must be at least 1, got {self.size}")

    def run(self, step: Callable[[], T], undo: Callable[[], int | None] = lambda: None) -> T:
        """What `step` returns, called again with half the size as long as memory runs out.

        `undo` is called before each new attempt; it may return how many inputs ran side by side, if
        those were fewer than the size.

        Raises:
            Failed: memory runs out with a single input.
        """
        while True:
            try:
                return step()
            except (MemoryError, RuntimeError) as error:
                if not ran_out(error):
                    raise
                if self.size == 1:
                    raise Failed(f"not enough memory for a single {self.unit}") from error
            # Outside the handler, where the error no longer holds what the step had allocated.
            self.size, self.oom_retries = max(1, (undo() or self.size) // 2), self.oom_retries + 1


def ran_out(error: BaseException) -> bool:
    """Whether an error says that there was not enough memory, on whatever device."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or "can't allocate memory" in text
        or "out of memory" in text
    )


def batch_size(classifier: Classifier, limit: int | None, *, most: int) -> int:
    """The number of searches to run at once within `limit` bytes, between 1 and `most`."""
    if limit is None:
        limit = CPU_LIMIT
        if classifier.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(classifier.device)
            limit = int(free * GPU_SHARE)
    return max(1, min(limit // bytes_per_search(classifier), LARGEST_BATCH, most))
