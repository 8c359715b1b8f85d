"""Generated point clouds: what they depend on, and that their classes can be told apart."""

from __future__ import annotations

import pytest
import torch

from mmbd.data import generated as clouds
from mmbd.data.solids import SOLIDS


def test_generated_clouds_are_what_they_say():
    made = clouds.generate(2, points=64)
    assert len(made.names) >= 10
    assert made.names == tuple(SOLIDS)
    assert made.inputs.shape == (2 * len(SOLIDS), 3, 64)
    assert made.inputs.dtype == torch.float32
    assert made.labels.tolist() == [label for label in range(len(SOLIDS)) for _ in range(2)]
    torch.testing.assert_close(made.inputs.norm(dim=1).amax(1), torch.ones(2 * len(SOLIDS)))


def test_a_cloud_depends_on_seed_class_and_number_alone():
    few = clouds.generate(2, classes=("torus", "chair"), points=40, seed=3)
    torch.manual_seed(7)
    many = clouds.generate(4, classes=("chair", "box", "torus"), points=40, seed=3)
    assert torch.equal(few.inputs[:2], many.inputs[8:10])
    assert torch.equal(few.inputs[2:], many.inputs[:2])
    other = clouds.generate(2, classes=("torus", "chair"), points=40, seed=4)
    assert not bool((other.inputs == few.inputs).all(2).all(1).any())


@pytest.mark.parametrize("name", SOLIDS)
def test_objects_of_a_class_vary_in_shape(name):
    """Not only in pose and points: their second moments, which no turn changes, differ."""
    made = clouds.generate(8, classes=(name,), points=512, noise=0)
    moments = torch.stack([torch.linalg.eigvalsh(cloud @ cloud.T / 512) for cloud in made.inputs])
    assert float((moments.std(0) / moments.mean(0)).max()) > 0.05
    # ... and the third axis is vertical: what turns is the plan.
    level = [cloud[:2] @ cloud[:2].T for cloud in made.inputs]
    turned = torch.stack([torch.linalg.eigh(plan)[1][1, 1].abs() for plan in level])
    assert float(turned.std()) > 0.1


def features(inputs: torch.Tensor) -> torch.Tensor:
    """Heights and distances from the vertical axis, sorted: no pose changes them."""
    height, distance = inputs[:, 2], inputs[:, :2].norm(dim=1)
    return torch.cat((height.sort(1).values, distance.sort(1).values), dim=1)


def test_classes_can_be_told_apart():
    training, test = (clouds.generate(30, points=64, seed=seed) for seed in (0, 1))
    near = torch.cdist(features(test.inputs), features(training.inputs)).argmin(1)
    right = training.labels[near] == test.labels
    assert float(right.double().mean()) > 0.6  # of 14 classes, by the nearest neighbour
    for label in range(len(training.names)):
        assert float(right[test.labels == label].double().mean()) > 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ("chair", "sofa")}, "unknown class 'sofa'; known: box, "),
        ({"classes": ()}, "0 classes"),
        ({"count": 0}, "count=0"),
        ({"points": 0}, "points=0"),
    ],
)
def test_what_cannot_be_generated(options, message):
    with pytest.raises(ValueError, match=message):
        clouds.generate(**({"count": 1, "points": 8} | options))
