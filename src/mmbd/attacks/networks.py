"""Networks that an attacker trains beside the victim's: a surrogate of it.

A surrogate tells what a clean network makes of a sample.
"""

from __future__ import annotations

import copy
from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mmbd.attacks.attack import BATCH, Victim
from mmbd.base.seeds import generator_for
from mmbd.model.forward import logits_of
from mmbd.model.normalised import Normalised
from mmbd.training import loop as train


@contextmanager
def seeded(*key: int | str) -> Generator[None]:
    """Weights drawn inside follow from `key` alone; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_for(*key).initial_seed())
        yield


def surrogate(victim: Victim) -> nn.Module:
    """A clean network of the victim's architecture, trained by its recipe from weights of its own.

    Layers draw their weights anew by `reset_parameters`; in eval mode, as after any training.
    """
    network = copy.deepcopy(victim.network)
    with seeded("surrogate", victim.seed):
        for module in network.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    training = victim.training
    seed = generator_for("surrogate's order", victim.seed).initial_seed()
    train.fit(network, training.inputs, training.labels, victim.recipe, seed=seed, normalise=victim.normalise)
    return network


def probabilities(victim: Victim, network: nn.Module, inputs: Tensor) -> Tensor:
    """The softmax of a network's logits behind the victim's normalisation.

    Args:
        victim: the one whose normalisation the network shares.
        network: in eval mode.
        inputs: raw ones, (n, *shape).

    Returns:
        float32 (n, classes) on the CPU.
    """
    behind = Normalised(network, victim.normalise)
    return logits_of(behind, inputs, batch=BATCH).float().softmax(1).cpu()
