"""How many searches fit side by side: measured on the model, not guessed from its size."""

from __future__ import annotations

import torch
from torch import Tensor

from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier
from mmbd.model.domain import elements

# Beyond this, a CPU's caches no longer help: see benchmarks/scan_speed.py.
CPU_LIMIT = 256 * 2**20
GPU_SHARE = 0.5
LARGEST_BATCH = 1024
# Numbers that a step holds for every class of a search: logits, their gradient, and rivals.
LOGITS = 6


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
