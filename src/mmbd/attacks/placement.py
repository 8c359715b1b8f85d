"""Where a few inserted points do most, and how they look natural (PCBA, Xiang et al. 2021).

The place is the point closest to the source clouds that, added to them, makes a surrogate give the
target class some probability. The points lie on a sphere around it whose radius makes them about
as far from each other as the cloud's own points are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbd.model.forward import device_of
from mmbd.training import loop as train
from mmbd.triggers.insertion import unit_sphere

NEIGHBOURS = 4
BATCH = 28


@dataclass(frozen=True)
class Place:
    """A centre (3,), the mean probability of the target with a point there, and how far it is.

    `distance` is the mean squared distance to the nearest point of a cloud.
    """

    centre: Tensor
    posterior: float
    distance: float


def closest_centre(
    network: nn.Module,
    clouds: Tensor,
    target: int,
    *,
    generator: torch.Generator,
    normalise: train.Transform = lambda x: x,
    limit: float = 1.0,
    restarts: int = 10,
    steps: int = 1000,
    wanted: float = 0.01,
    step: float = 0.1,
    momentum: float = 0.5,
    cost: float = 1.0,
    factor: float = 1.5,
    patience: int = 5,
    most_stalled: int = 100,
) -> Place:
    """The closest place for one point that moves the clouds towards the target class.

    Each restart descends the cross-entropy towards `target` by normalised steps. Once the target's
    mean probability has reached `wanted`, the distance to the clouds is added, with a weight that
    rises while the probability holds and falls while it does not.

    Args:
        network: the surrogate, in eval mode; left as it is.
        clouds: of the source classes, (n, 3, points).
        target: the class.
        generator: of the starts and the batches.
        normalise: stands between the clouds and the network.
        limit: coordinates stay within plus and minus this; the original has no limit.
        restarts: starts outside the unit ball; one ends after a tenth of its steps if `wanted` was
            never reached.
        steps: the most, of each restart.
        wanted: see above.
        step: the length of a step.
        momentum: the share of the last step's direction that is kept.
        cost: the first weight of the distance.
        factor: what the weight is multiplied or divided by...
        patience: ...after so many steps in a row.
        most_stalled: a restart ends after so many steps without a closer place.

    Returns:
        The closest place at which `wanted` was reached; if there is none, the one with the largest
        probability.
    """
    found: list[Place] = []
    for _ in range(restarts):
        centre = _outside(generator).clamp(-limit, limit)
        velocity, weight, stalled, up, down = torch.zeros(3), cost, 0, 0, 0
        best: Place | None = None
        for number in range(steps):
            chosen = clouds[torch.randperm(len(clouds), generator=generator)[:BATCH]]
            tried, slope = _try_point(
                network, normalise, chosen, centre, target, 0.0 if best is None else weight
            )
            reached = tried.posterior >= wanted
            found.append(tried)
            if reached and (best is None or tried.distance < best.distance):
                best, stalled = tried, 0
            elif best is not None:
                stalled += 1
            if stalled >= most_stalled or (best is None and number >= steps // 10):
                break
            if best is not None:
                up, down = (up + 1, 0) if reached else (0, down + 1)
                if max(up, down) >= patience:
                    weight, up, down = weight * factor if up else weight / factor, 0, 0
            velocity = (1 - momentum) * F.normalize(slope, dim=0) + momentum * velocity
            centre = (centre - step * velocity).clamp(-limit, limit)
    feasible = [place for place in found if place.posterior >= wanted]
    if feasible:
        return min(feasible, key=lambda place: place.distance)
    return max(found, key=lambda place: place.posterior)


def _outside(generator: torch.Generator) -> Tensor:
    """A normal point of standard deviation 0.5 outside the unit ball."""
    while True:
        point = 0.5 * torch.randn(3, generator=generator)
        if float(point.norm()) > 1:
            return point


def _try_point(
    network: nn.Module, normalise: train.Transform, clouds: Tensor, centre: Tensor, target: int, weight: float
) -> tuple[Place, Tensor]:
    """The effect of a point at `centre` on the clouds, and the gradient of the loss by its place."""
    device = device_of(network)
    clouds = clouds.to(device)
    moved = centre.to(device, copy=True).requires_grad_()
    # The last point makes room: any network then sees as many points as it knows.
    inputs = torch.cat((clouds[:, :, :-1], moved[None, :, None].expand(len(clouds), 3, 1)), dim=2)
    with torch.enable_grad():
        scores = network(normalise(inputs)).float().log_softmax(1)[:, target]
        near = (clouds - moved[:, None]).square().sum(1).amin(1).mean()
        (slope,) = torch.autograd.grad(weight * near - scores.mean(), moved)
    posterior = float(scores.detach().exp().mean())
    return Place(centre, posterior, float(near.detach())), slope.cpu()


def fitting_sphere(
    clouds: Tensor, size: int, *, generator: torch.Generator, trials: int = 30
) -> tuple[Tensor, float]:
    """Points on a sphere around the origin that are as dense as those of the clouds.

    Among radii from 0.01 to 0.49 and `trials` draws for each, the one whose points' mean distances
    to their four nearest neighbours differ least, in the median, from the clouds'.

    Returns:
        The points (3, size) and the radius.

    Raises:
        ValueError: no clouds, or too few points for four neighbours.
    """
    if not len(clouds) or min(size, clouds.shape[2]) <= NEIGHBOURS:
        raise ValueError(
            f"cannot fit {size} points to {len(clouds)} clouds of {clouds.shape[2]}: more than "
            f"{NEIGHBOURS} are needed"
        )
    usual = _spacing(clouds[:BATCH]).median()
    radii = torch.arange(1, 50) / 100
    spheres = torch.stack([unit_sphere(size, generator) for _ in range(len(radii) * trials)])
    spheres *= radii.repeat_interleave(trials)[:, None, None]
    best = int((_spacing(spheres) - usual).abs().median(1).values.argmin())
    return spheres[best], float(radii[best // trials])


def _spacing(clouds: Tensor) -> Tensor:
    """Each point's mean distance to its nearest neighbours, (n, points)."""
    rows = clouds.transpose(1, 2)
    distances = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.topk(NEIGHBOURS + 1, largest=False).values
    return nearest.sum(2) / NEIGHBOURS  # the point itself is at distance 0
