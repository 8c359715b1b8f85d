"""From clean samples to a meta-classifier: shadow models, and what tells them apart.

data = mmbd.data.read.load("clean.parquet", size=(32, 32))
meta = train_meta(data, store="results.sqlite")
mmbd.scan(classifier, detector="meta", shadow_models=meta)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmbd.base.progress import ProgressCallback
from mmbd.data.dataset import Dataset
from mmbd.detectors.meta.classifier import Learning, learn
from mmbd.detectors.meta.plan import PAPER, RECIPE, Arch, Plan, bounds_of
from mmbd.detectors.meta.shadows import Shadows, train_shadows
from mmbd.detectors.meta.trained import Meta
from mmbd.model.forward import scaled
from mmbd.results import identity
from mmbd.results.store import Store
from mmbd.training.loop import Recipe


def train_meta(
    data: Dataset,
    *,
    arch: Arch | None = None,
    arguments: Mapping[str, Any] | None = None,
    count: int = 64,
    recipe: Recipe = RECIPE,
    learning: Learning | None = None,
    seed: int = 0,
    store: Store | str | Path | None = None,
    workers: int = 0,
    device: str = "cpu",
    progress: ProgressCallback | None = None,
) -> Meta:
    """Train shadow models, or take them from the store, and a meta-classifier on them.

    Args:
        data: the defender's clean samples of the task, 8-bit images or sounds in [-1, 1]. The paper
            takes 2 % of the training set, 1000 images of CIFAR-10.
        arch: of the shadow models: a name in `nets.ARCHITECTURES`, or a function that makes a
            network for raw inputs from classes= and input_shape=; the paper's convolutional network
            for CIFAR-10 by default.
        arguments: of the architecture.
        count: shadow models of each kind. The paper has 2048 clean and 2048 backdoored ones, and a
            ninth more for validation, which take days; 64 and 64 here.
        recipe: how each is trained, see `plan.RECIPE`.
        learning: the hyper-parameters of the meta-classifier.
        seed: every random choice follows from it.
        store: a store, or its file, where shadow models are kept and found again.
        workers: processes side by side for the shadow models; 0 for this one.
        device: where everything is trained.
        progress: called after every shadow model, and every epoch after that.

    Raises:
        ValueError: samples, numbers or an architecture that do not do.
        Failed: a shadow model could not be trained.
    """
    store = Store(store) if isinstance(store, str | Path) else store
    plan = plan_of(data, arch, arguments, recipe=recipe, seed=seed, device=device)
    shadows = train_shadows(data, plan, count=count, store=store, workers=workers, progress=progress)
    return meta_of(shadows, data, learning or Learning(), seed=seed, progress=progress)


def plan_of(
    data: Dataset,
    arch: Arch | None = None,
    arguments: Mapping[str, Any] | None = None,
    *,
    recipe: Recipe = RECIPE,
    seed: int = 0,
    device: str = "cpu",
) -> Plan:
    """How the shadow models for these samples are made; see `train_meta`."""
    shape = tuple(data.inputs.shape[1:])
    if arch is None:
        arch, arguments = PAPER
    return Plan(shape, len(data.names), arch, arguments or {}, recipe, seed, device)


def meta_of(
    shadows: Shadows,
    data: Dataset,
    learning: Learning,
    *,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Meta:
    """A meta-classifier on shadow models that there are already; see `train_meta`."""
    learned = learn(shadows, scaled(data.inputs), learning, seed=seed, progress=progress)
    rates = [model.asr for model in shadows.models if model.asr is not None]
    plan = shadows.plan
    return Meta(
        learned.parts,
        bounds_of(plan.input_shape),
        learning.standardise,
        learned.clean,
        learned.jumbo,
        {
            "clean": len(shadows.models) - len(rates),
            "backdoored": len(rates),
            "held out": len(learned.clean) + len(learned.jumbo),
            "architecture": plan.name,
            "epochs": plan.recipe.epochs,
            "samples": len(data),
            "data": identity.samples(data.inputs, data.labels),
            "accuracy": sum(model.accuracy for model in shadows.models) / len(shadows.models),
            "ASR": sum(rates) / len(rates),
            "seed": seed,
            "steps": learned.steps,
        },
    )
