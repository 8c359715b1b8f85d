"""One model to train, as a plan says it: data, network, attack, recipe and seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mmbd.training import loop as train

CLEAN = "clean"


@dataclass(frozen=True)
class DataPlan:
    """Where the samples come from.

    Args:
        name: in the names of the models.
        train: a file or folder, see `data.load`, or "clouds:N", see `clouds.generate`, for N
            generated point clouds a class.
        test: the same.
        size, crop, grey, samples, points: see `data.load`.
        train_split, test_split: its `split`, where both are in one folder.
        classes: keep only these, by number or name.
        limit, test_limit: draw so many samples, the same ones for every model.
        mean, std: normalise inside the network.
        bounds: the lowest and the highest valid input; by default 0 and 1 for images, -1 and 1
            for sounds and point clouds.
        domain: "cube" or "ball" for the region of a point cloud, see `points.Points`; else "box".
    """

    name: str
    train: str
    test: str
    size: tuple[int, int] | None = None
    crop: float = 1.0
    grey: bool = False
    samples: int = 8000
    points: int = 1024
    train_split: str | None = None
    test_split: str | None = None
    classes: tuple[int | str, ...] | None = None
    limit: int | None = None
    test_limit: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    bounds: tuple[float, float] | None = None
    domain: str | None = None


@dataclass(frozen=True)
class ArchPlan:
    """A network of `nets.ARCHITECTURES` (`kind`) with its arguments.

    With `private` it is trained by DP-SGD, with these options of `private.fit`. With `start`, the
    path of a model under the data's root, it begins with that model's weights, see `zoo.start`.
    """

    name: str
    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    private: Mapping[str, float] | None = None
    start: str | None = None


@dataclass(frozen=True)
class AttackPlan:
    """An attack by its name in `attacks`, or "clean".

    `sources` are "M" (all classes but the target), "S" (one random class), a number (so many
    random classes) or classes by number or name. Without a `target` one is drawn.
    """

    name: str
    kind: str
    sources: str | int | tuple[int | str, ...] = "M"
    target: int | str | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Job:
    """One model to train. Every random choice follows from `draw`; `seed` is the plan's number."""

    name: str
    data: DataPlan
    arch: ArchPlan
    attack: AttackPlan
    recipe: train.Recipe
    seed: int
    draw: int
    device: str = "cpu"

    def settings(self) -> dict[str, Any]:
        """Everything that decides what the model will be, JSON-ready."""
        return {
            "data": asdict(self.data),
            "arch": asdict(self.arch),
            "attack": asdict(self.attack),
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "draw": self.draw,
        }
