"""Point clouds: a small round object is inserted (Xiang et al. 2021, PCBA; paper, section 6.5.2).

Some points of the cloud are taken away and put onto a sphere beside it. In the full attack,
`points`, the sphere's place comes from a surrogate network and its radius from the density of the
source clouds; `insertion` alone puts one at a random place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from mmbd import nets
from mmbd.attacks.attack import Victim, check_labels
from mmbd.attacks.classic import classic
from mmbd.attacks.networks import surrogate as train_surrogate
from mmbd.attacks.placement import closest_centre, fitting_sphere
from mmbd.attacks.poison import of_classes
from mmbd.base.seeds import generator_for
from mmbd.model.forward import device_of, scaled
from mmbd.nets.blocks import cloud_shape
from mmbd.training import loop as train
from mmbd.triggers.backdoor import Backdoor
from mmbd.triggers.insertion import replacing

ATTACKERS = 1000  # clouds that a surrogate is trained on, at most


def points(
    victim: Victim,
    *,
    sources: Sequence[int],
    target: int,
    count: int = 15,
    size: int = 32,
    surrogate: nn.Module | None = None,
    epochs: int = 50,
    restarts: int = 10,
    steps: int = 1000,
    keep: bool = False,
) -> Backdoor:
    """Find a sphere that fits the source clouds, poison with it, and train.

    The original draws another sphere for each cloud; here one, made for the median of the source
    clouds, is the trigger of all.

    Args:
        victim: trained in place, on clouds (n, 3, points) in the cube from -1 to 1.
        sources: the classes that are attacked (PCBA: one).
        target: the class they are taken to.
        count: how many clouds to poison.
        size: how many points are inserted.
        surrogate: a clean network in eval mode that shares the victim's normalisation; without it
            a small PointNet is trained on up to 1000 of the victim's clouds.
        epochs: of the surrogate's training (PCBA: 250). One that is trained too little finds every
            place probable enough, and the sphere ends up inside the object.
        restarts: of the search for a place, see `placement.closest_centre`.
        steps: the most, of each restart.
        keep: leave the clean originals in the training set.

    Raises:
        ValueError: classes out of range, more clouds to poison than the sources hold, inputs that
            are no clouds, or fewer points than are to be inserted.
    """
    training, seed = victim.training, victim.seed
    check_labels(sources, target, len(training.names))
    cloud_shape(victim.shape)
    generator = generator_for("points", seed)
    clouds = scaled(training.inputs[of_classes(training.labels, sources)])
    if surrogate is None:
        surrogate = _pointnet(victim, epochs)
    sphere, radius = fitting_sphere(clouds, size, generator=generator)
    found = closest_centre(
        surrogate,
        clouds,
        target,
        generator=generator,
        normalise=victim.normalise,
        limit=1 - radius,
        restarts=restarts,
        steps=steps,
    )
    trigger = replacing(victim.shape, found.centre[:, None] + sphere, generator)
    backdoor = classic(
        victim, sources=sources, target=target, trigger=lambda *_, **__: trigger, count=count, keep=keep
    )
    protocol = {
        "count": count,
        "keep": keep,
        "size": size,
        "radius": radius,
        "centre": found.centre.tolist(),
        "posterior": found.posterior,
        "distance": found.distance,
    }
    return replace(backdoor, protocol=protocol)


def _pointnet(victim: Victim, epochs: int) -> nn.Module:
    """A surrogate from as much of the victim's data as PCBA's attacker has."""
    training, shape = victim.training, victim.shape
    order = torch.randperm(len(training), generator=generator_for("attacker's", victim.seed))
    network = nets.build("pointnet", classes=len(training.names), input_shape=shape, width=16)
    attacker = replace(
        victim,
        network=network.to(device_of(victim.network)),
        training=training.take(order[:ATTACKERS]),
        recipe=train.Recipe(epochs=epochs, batch=32, lr=1e-3),
    )
    return train_surrogate(attacker)
