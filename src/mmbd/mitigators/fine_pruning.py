"""Fine-Pruning: prune the channels that clean samples use least, then tune (Liu et al. 2018).

The channels of the last convolution are pruned in the order of their mean activation on clean
samples, the lowest first, until the accuracy on samples that were held out has dropped by more
than a budget; then the network is fine-tuned with those channels still pruned. Pruned is what
comes out of the activation: in a residual network a filter of zeros would leave the bias of its
BatchNorm and the shortcut in the channel.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmbd.base.errors import NotMitigated
from mmbd.base.progress import ProgressCallback
from mmbd.base.seeds import generator_for
from mmbd.mitigators import learned_bounds
from mmbd.mitigators.fine_tuning import steps, tune, tuning_of
from mmbd.mitigators.mitigator import Mitigation, counted, done, duplicate
from mmbd.model import activations
from mmbd.model.activations import Activation, ActivationHook
from mmbd.model.bounded import Bounded, Limit
from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of
from mmbd.model.samples import Samples

UNLIMITED = torch.finfo(torch.float32).max


def fine_pruning(
    classifier: Classifier,
    samples: Samples,
    *,
    budget: float = 0.04,
    held_out: float = 0.2,
    stride: float = 0.01,
    layer: str | None = None,
    epochs: int = 10,
    lr: float = 0.01,
    batch: int = 128,
    clip: float | None = 1.0,
    augment: tuple[str, ...] = (),
    move_statistics: bool = True,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Mitigation:
    """Prune the last convolution's channels, the least active first, and fine-tune.

    A classifier that has bounds already keeps them: they are in force while channels are ranked,
    pruned and tuned, and the result holds both (MM-BM followed by this, Table 3).

    Args:
        classifier: what to repair.
        samples: clean samples; the paper takes 500 a class.
        budget: how much of the accuracy on the held-out samples pruning may cost.
        held_out: the share of the samples on which that is measured; the others rank the channels
            and tune the weights.
        stride: the share of the channels that is pruned at a time, one channel at least.
        layer: the activation to prune, by name; by default the last one that still has more than
            one position, or else that of the last convolution, or else the last.
        epochs: of fine-tuning; the paper does not say how many. 0 prunes only.
        lr: the first learning rate. At 0.1 tuning alone takes out much of a backdoor, for 3 to 8
            points of accuracy; 0.01 is what other implementations use.
        batch: the samples of a step.
        clip: see `fine_tuning.tune`.
        augment: see `fine_tuning.tune`.
        move_statistics: see `fine_tuning.tune`. What was pruned lies behind every BatchNorm of the
            default activation, so pruning does not shift them.
        seed: picks the held-out samples, their order in training and the augmentation.
        progress: called after every round of pruning and every step of tuning.

    Raises:
        ValueError: a share that is out of range, or no activation of that name.
        NotMitigated: no activation to prune, or the training diverged.
    """
    started = time.perf_counter()
    order = torch.randperm(len(samples.labels), generator=generator_for("fine-pruning", seed))
    aside, used = order.to(samples.labels.device).tensor_split([round(held_out * len(order))])
    if not len(aside) or not len(used) or budget < 0 or not 0 < stride <= 1:
        raise ValueError(
            "expected held_out and stride between 0 and 1 and a budget of at least 0, got "
            f"{held_out:g}, {stride:g} and {budget:g}"
        )
    network, limits = _parts(classifier)
    plain = classifier.around(network)
    activation = _chosen(plain, layer)
    entering = [limit for limit in limits if limit.activation.index == activations.INPUTS]
    entered = classifier.around(Bounded(network, entering)) if entering else plain
    means, signed = _activity(entered, limits, activation, samples.inputs[used])
    ranked = means.argsort(stable=True)

    def pruned(count: int) -> Bounded:
        return Bounded(network, _pruning(limits, activation, ranked[:count], signed))

    def right(model: nn.Module) -> int:
        logits = logits_of(classifier.around(model), samples.inputs[aside])
        return int((logits.argmax(1) == samples.labels[aside]).sum())

    at_a_time = max(1, round(stride * activation.channels))
    stops = range(at_a_time, activation.channels, at_a_time)
    settings = tuning_of(locals())
    to_tune = steps(len(used), epochs, batch)
    step = counted(progress, "fine-pruning", len(stops) + to_tune)
    scores, kept = [right(pruned(0))], 0
    for count in stops:
        scores.append(right(pruned(count)))
        step()
        if scores[0] - scores[-1] > budget * len(aside) + 1e-6:  # 0.29 * 100 is below 29
            break
        kept = count
    repaired = pruned(kept).eval()
    rounds = len(scores) - 1
    losses = tune(
        classifier,
        repaired,
        samples.inputs[used],
        samples.labels[used],
        **settings,
        on_step=counted(progress, "fine-pruning", rounds + to_tune, done=rounds),
    )
    held = [limit.activation for limit in repaired.limits if limit.activation.index != activations.INPUTS]
    highest = learned_bounds.quantiles(plain, held, samples.inputs, 1.0)
    return done(
        "fine-pruning",
        classifier.around(repaired),
        samples,
        settings={
            "budget": budget,
            "held_out": held_out,
            "stride": stride,
            "layer": activation.name,
            **settings,
        },
        layers=learned_bounds.described(plain, repaired.limits, samples.inputs, highest),
        curves={"held_out": [score / len(aside) for score in scores], "loss": losses},
        notes=(f"{kept} of {activation.channels} channels of {activation.name} pruned",),
        seconds=time.perf_counter() - started,
    )


def _parts(classifier: Classifier) -> tuple[nn.Module, tuple[Limit, ...]]:
    """A copy of the network, and the bounds it has, taken off it."""
    network = duplicate(classifier)
    return (network.network, network.limits) if isinstance(network, Bounded) else (network, ())


def _chosen(classifier: Classifier, layer: str | None) -> Activation:
    found = activations.find(classifier)
    if not found:
        raise NotMitigated(
            "no activation whose channels could be pruned was found: Fine-Pruning needs a network "
            "of torch functions with ReLU, GELU or the like"
        )
    return last(found) if layer is None else activations.select(found, [layer])[-1]


def last(found: Sequence[Activation]) -> Activation:
    """The activation of the last convolution, before pooling where that can be told."""
    spread = [activation for activation in found if math.prod(activation.shape) > activation.channels]
    convolutional = [activation for activation in found if activation.axis == 1 and len(activation.shape) > 1]
    return (spread or convolutional or found)[-1]


def _activity(
    plain: Classifier, limits: Sequence[Limit], activation: Activation, inputs: Tensor, batch: int = 100
) -> tuple[Tensor, bool]:
    """The mean of every channel (channels,) under the limits, and whether any value is negative."""
    by_index = {limit.activation.index: limit for limit in limits}
    total = torch.zeros(activation.channels, device=inputs.device)
    signed = False

    def look(index: int, output: Tensor) -> Tensor:
        nonlocal signed
        if index in by_index:
            output = by_index[index](output)
        if index == activation.index:
            values = activation.channel_rows(output).float()
            total.add_(values.mean(1) * (len(output) / len(inputs)))
            signed = signed or bool((values < 0).any())
        return output

    with torch.no_grad(), plain.frozen():
        for part in inputs.split(batch):
            with ActivationHook(look):
                plain(part)
    return total, signed


def _pruning(
    limits: Sequence[Limit], activation: Activation, channels: Tensor, signed: bool
) -> tuple[Limit, ...]:
    """The limits, and `channels` of `activation` held at zero; its others keep the bounds they have."""
    own = next((limit for limit in limits if limit.activation.index == activation.index), None)
    if own is None:
        own = Limit(activation, torch.full((activation.channels,), UNLIMITED, device=channels.device))
    lower = own.lower
    if lower is None and signed:
        lower = torch.full_like(own.upper, -UNLIMITED)
    axis = 0 if activation.axis == 1 else -1  # of the channels, also where bounds are by place
    upper = own.upper.index_fill(axis, channels, 0)
    lower = None if lower is None else lower.index_fill(axis, channels, 0)
    return (
        *(limit for limit in limits if limit.activation.index != activation.index),
        Limit(own.activation, upper, lower, own.fold),
    )
