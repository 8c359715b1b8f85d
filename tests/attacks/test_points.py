"""Inserted points: the trigger, where the search puts it, how it is fitted, and what is learned."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mmbd import nets
from mmbd.attacks import Victim, poison
from mmbd.attacks.placement import closest_centre, fitting_sphere
from mmbd.attacks.points import points
from mmbd.data import generated as clouds
from mmbd.training import loop as train
from mmbd.triggers.insertion import insertion, unit_sphere

SHAPE = (3, 64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 64),
    radius=st.floats(0.01, 0.99),
    count=st.integers(64, 90),
)
def test_points_are_moved_onto_a_sphere_in_the_cube(seed, size, radius, count):
    shape = (3, count)
    trigger = insertion(shape, seed=seed, size=size, radius=radius)
    x = 2 * torch.rand(2, *shape, generator=generator(1)) - 1
    kept = x.clone()
    out = trigger(x)
    assert torch.equal(x, kept)
    moved = trigger.mask[0].bool()
    assert int(moved.sum()) == size
    assert torch.equal(out[:, :, ~moved], x[:, :, ~moved])
    inserted = out[0, :, moved]
    assert torch.equal(out[1, :, moved], inserted)  # the same in every cloud
    assert float(inserted.abs().max()) <= 1 + 1e-6
    assert torch.equal(trigger(out), out)
    assert torch.equal(insertion(shape, seed=seed, size=size, radius=radius)(x), out)
    if size >= 4:  # a sphere through four of them goes through all
        first, rest = inserted[:, :1], inserted[:, 1:]
        normal = 2 * (rest - first).T.double()
        right = (rest.square().sum(0) - first.square().sum(0)).double()
        centre = torch.linalg.lstsq(normal, right[:, None]).solution
        distances = (inserted - centre).norm(dim=0)
        if torch.linalg.cond(normal) < 1e4:
            torch.testing.assert_close(distances, torch.full_like(distances, radius), atol=1e-3, rtol=1e-2)


def test_the_sphere_lies_beside_the_object():
    for seed in range(20):
        trigger = insertion((3, 256), seed=seed)
        centre = trigger.pattern[:, trigger.mask[0].bool()].mean(1)
        assert 0.7 < float(centre.norm()) < 1.2
    points_taken = {tuple(insertion(SHAPE, seed=s).mask[0].nonzero().flatten().tolist()) for s in range(5)}
    assert len(points_taken) == 5


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((3, 31), {}, "32 points cannot replace some of a cloud of 31"),
        ((3, 32, 32), {}, "point-cloud shape"),
        (SHAPE, {"radius": 1.0}, "between 0 and 1, got 1"),
        (SHAPE, {"radius": 0.0}, "between 0 and 1, got 0"),
    ],
)
def test_insertions_that_do_not_fit(shape, options, message):
    with pytest.raises(ValueError, match=message):
        insertion(shape, seed=0, **options)


# ----------------------------------------------------------------------------------- placement


class Beacon(nn.Module):
    """The log-odds of the second of two classes: 4 - 10 times the last point's squared distance."""

    def __init__(self, *place: float) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor(place))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        away = (x[:, :, -1] - self.place).square().sum(1)
        return torch.stack((torch.zeros(len(x)), 4 - 10 * away), dim=1)


def ball(count: int = 6, size: int = 60) -> torch.Tensor:
    """Clouds on spheres of radius 0.3."""
    return 0.3 * torch.stack([unit_sphere(size, generator(seed)) for seed in range(count)])


def search(network: nn.Module, **settings):
    settings = {"restarts": 2, "steps": 400, "limit": 2.0} | settings
    return closest_centre(network, ball(), 1, generator=generator(), **settings)


@pytest.mark.parametrize(("wanted", "reach"), [(0.01, 0.927), (0.9, 0.424)])
def test_the_search_ends_at_the_closest_place_that_is_probable_enough(wanted, reach):
    """At most `reach` from the beacon; the closest such place to the cloud is on the line."""
    network = Beacon(1.5, 0.0, 0.0)
    found = search(network, wanted=wanted)
    assert found.posterior >= wanted
    assert float((found.centre - network.place.detach()).norm()) < reach + 1e-3
    closest = (1.5 - reach - 0.3) ** 2
    assert closest - 0.01 < found.distance < closest + 0.15
    assert network.place.grad is None
    assert torch.equal(search(network, wanted=wanted).centre, found.centre)


def test_the_limit_holds_and_the_most_probable_place_is_the_last_resort():
    network = Beacon(3.0, 0.0, 0.0)
    found = search(network, limit=0.8)
    assert found.posterior < 0.01
    assert float(found.centre.abs().max()) == pytest.approx(0.8)
    torch.testing.assert_close(found.centre, torch.tensor([0.8, 0.0, 0.0]), atol=0.2, rtol=0)
    odds = 4 - 10 * float((found.centre - network.place.detach()).square().sum())
    assert found.posterior == pytest.approx(1 / (1 + math.exp(-odds)), rel=1e-3)


def test_normalisation_stands_before_the_surrogate():
    found = search(Beacon(1.8, 0.0, 0.0), wanted=0.9, normalise=lambda x: 2 * x)
    assert float((found.centre - torch.tensor([0.9, 0.0, 0.0])).norm()) < 0.22


def test_a_fitted_sphere_is_as_dense_as_the_clouds():
    radii = []
    for scale in (0.2, 0.6):
        sphere, radius = fitting_sphere(scale / 0.3 * ball(size=32), 32, generator=generator(), trials=5)
        assert sphere.shape == (3, 32)
        torch.testing.assert_close(sphere.norm(dim=0), torch.full((32,), radius))
        radii.append(radius)
    # Clouds that are such spheres themselves: the fit finds their size, up to 0.49.
    assert radii[0] == pytest.approx(0.2, abs=0.05)
    assert radii[1] > 0.4
    dense, _ = fitting_sphere(ball(size=600), 32, generator=generator(), trials=5)
    assert float(dense.norm(dim=0)[0]) < 0.12


def test_what_cannot_be_fitted():
    for broken, size in ((ball()[:0], 32), (ball(), 4), (ball(size=4), 32)):
        with pytest.raises(ValueError, match="more than 4 are needed"):
            fitting_sphere(broken, size, generator=generator())


# ---------------------------------------------------------------------------------- the attack


CLASSES = ("chair", "table", "torus", "cone", "airplane")


def victim(seed: int = 0, epochs: int = 10) -> Victim:
    torch.manual_seed(seed)
    network = nets.build("pointnet", classes=5, input_shape=SHAPE, width=16, dropout=0.0)
    training = clouds.generate(24, classes=CLASSES, points=64, seed=0)
    return Victim(network, training, train.Recipe(epochs=epochs, batch=16, lr=3e-3), seed)


class Lighthouse(Beacon):
    """The same for the third of five classes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.pad(super().forward(x), (1, 2))


def test_a_network_learns_the_inserted_points():
    attacked = victim()
    surrogate = Lighthouse(1.2, 1.2, 0.0)
    settings = {"size": 16, "surrogate": surrogate, "restarts": 1, "steps": 200}
    backdoor = points(attacked, sources=[0, 1], target=2, count=14, **settings)
    assert surrogate.place.grad is None
    test = clouds.generate(12, classes=CLASSES, points=64, seed=1)
    assert train.accuracy(attacked.predict(test.inputs), test.labels) > 0.8
    assert backdoor.success(attacked.predict, test) > 0.8
    assert len(backdoor.poisoned) == 14
    assert set(attacked.training.labels[backdoor.poisoned].tolist()) <= {0, 1}
    protocol = json.loads(json.dumps(backdoor.protocol))
    assert protocol["count"] == 14
    assert 0 < protocol["radius"] < 0.5
    assert max(map(abs, protocol["centre"])) <= 1 - protocol["radius"]
    assert protocol["posterior"] >= 0.01
    assert min(protocol["centre"][:2]) > 0.3  # between the object and the light
    trigger = backdoor.triggers[0]
    inserted = trigger.pattern[:, trigger.mask[0].bool()]
    away = inserted - torch.tensor(protocol["centre"])[:, None]
    torch.testing.assert_close(away.norm(dim=0), torch.full((16,), protocol["radius"]))


def test_the_attack_follows_from_the_seed():
    found = [
        points(victim(epochs=1), sources=[0], target=2, count=3, epochs=1, restarts=1, steps=5)
        for _ in range(2)
    ]
    first, second = (backdoor.triggers[0] for backdoor in found)
    assert torch.equal(first.pattern, second.pattern)
    assert torch.equal(found[0].poisoned, found[1].poisoned)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": 0}, "target class 0 cannot be a source"),
        ({"count": 25}, "25 samples to poison; the source classes hold 24"),
        ({"size": 65}, "65 points cannot replace some of a cloud of 64"),
        ({"size": 3}, "more than 4 are needed"),
    ],
)
def test_what_cannot_be_attacked(change, message):
    settings = {"sources": [0], "target": 2, "epochs": 1, "restarts": 1, "steps": 2} | change
    with pytest.raises(ValueError, match=message):
        points(victim(epochs=1), **settings)


def test_only_chosen_clouds_change():
    training = victim().training
    trigger = insertion(SHAPE, seed=0)
    made, indices = poison(training, trigger, sources=[1], target=4, count=7, seed=0)
    changed = (made.inputs != training.inputs).flatten(1).any(1).nonzero().flatten()
    assert sorted(indices.tolist()) == changed.tolist()
    assert len(changed) == 7
