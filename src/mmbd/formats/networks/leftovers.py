"""What else may stand in a state dict beside the weights of a network, without being any.

A name that is left over can mean that the network which the user named is not the file's: a
further layer would change every answer. So only these are left alone, and they are named:

- counts of training and of profilers: one number under a name in `COUNTS`, or any one whole number
  (`layer1.total_ops`, `bn1.num_batches_tracked`, `n_averaged`, `step`);
- the queue of MoCo, `queue` and `queue_ptr`;
- the weights of classes in a loss: at most one dimension, in `criterion`, `loss_fn` and the like,
  where the network has no part of that name;
- where the network's weights stand behind a prefix (`model.`), in what stands beside it: single
  numbers, and whole numbers of any shape (the counts of a metric).

Whatever could be a weight is not: not under the network's own modules, not beside them.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from torch import Tensor

from mmbd.formats.networks.readings import OPTIONAL, bare

COUNTS = frozenset(
    (OPTIONAL, "total_ops", "total_params", "n_averaged", "initted", "step", "global_step", "epoch")
)
QUEUES = frozenset(("queue", "queue_ptr"))
LOSS = re.compile(r"(\w+_)?(criterion|loss)(_(fn|func|function|module))?")


def harmless(name: str, tensor: Tensor, prefix: str, parts: Collection[str]) -> bool:
    """Whether this tensor, left over, says nothing about the network (see above).

    Args:
        name: its name in the file.
        tensor: what it is.
        prefix: what stands before the network's weights in the file, "" for nothing.
        parts: the first components of the network's own names.
    """
    beside = bool(prefix) and not name.startswith(prefix)
    inner = bare(name if beside else name[len(prefix) :])
    first, last = inner.partition(".")[0], inner.rpartition(".")[2]
    one = tensor.numel() == 1
    whole = not tensor.is_floating_point() and not tensor.is_complex()
    if last in QUEUES or (one and (last in COUNTS or whole or beside)) or (beside and whole):
        return True
    return tensor.dim() <= 1 and bool(LOSS.fullmatch(first)) and (beside or first not in parts)
