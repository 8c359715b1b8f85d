"""Shadow models: clean networks and networks with jumbo backdoors, of the defender's own making.

They are trained once for a data set, kept in a store one by one, and serve for every model of that
data set; a run that was killed goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from mmbd.attacks.attack import Victim
from mmbd.attacks.jumbo import draw, jumbo
from mmbd.base.devices import usable
from mmbd.base.errors import Failed
from mmbd.base.progress import Progress, ProgressCallback
from mmbd.base.text import clean_text
from mmbd.base.workers import run
from mmbd.data.dataset import Dataset
from mmbd.detectors.meta.kept import Shadow, from_stored, to_stored
from mmbd.detectors.meta.plan import METHOD, VERSION, Kind, Plan, bounds_of
from mmbd.model.forward import scaled
from mmbd.results import identity
from mmbd.results.store import Key, Store
from mmbd.training.loop import accuracy

Task = tuple[Kind, int]


@dataclass(frozen=True)
class Shadows:
    """Trained shadow models, first the clean and then the backdoored ones.

    Args:
        plan: how they were made.
        models: their weights and figures.
        stored: how many of them were in the store already.
        warnings: what has to be said of the store.
    """

    plan: Plan
    models: tuple[Shadow, ...]
    stored: int = 0
    warnings: tuple[str, ...] = ()

    @cached_property
    def backdoored(self) -> Tensor:
        """(n,) which of them have a backdoor."""
        return torch.tensor([model.asr is not None for model in self.models])

    @cached_property
    def network(self) -> nn.Module:
        """The network that `answer` puts their weights into."""
        return self.plan.template().to(self.plan.device)

    def answer(self, number: int, inputs: Tensor) -> Tensor:
        """The logits (n, classes) of one of them, in eval mode; gradients reach the inputs alone."""
        state = {name: value.to(self.plan.device) for name, value in self.models[number].state.items()}
        return torch.func.functional_call(self.network, state, (inputs,))


@dataclass(frozen=True)
class _Training:
    """Trains one shadow model; can be sent to other processes."""

    data: Dataset
    plan: Plan

    def __call__(self, task: Task) -> Shadow:
        kind, number = task
        seed = self.plan.draw(kind, number)
        network = self.plan.network(seed).to(self.plan.device)
        victim = Victim(network, self.data, self.plan.recipe, seed)
        asr = None
        with _seeded(seed, self.plan.device):
            if kind == "clean":
                victim.fit()
            else:
                target = self.plan.target(kind, number)
                sources = [label for label in range(self.plan.classes) if label != target]
                backdoor = jumbo(victim, sources=sources, target=target)
                asr = backdoor.success(victim.predict, self.data)
        state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
        return Shadow(state, accuracy(victim.predict(self.data.inputs), self.data.labels), asr)


def train_shadows(
    data: Dataset,
    plan: Plan,
    *,
    count: int = 64,
    store: Store | None = None,
    workers: int = 0,
    progress: ProgressCallback | None = None,
) -> Shadows:
    """Train so many clean shadow models and as many with a jumbo backdoor, or take them from a store.

    One that is in the store but broken is trained again.

    Args:
        data: the defender's clean samples, 8-bit images or samples within `plan.bounds_of`.
        plan: how.
        count: of each kind. The paper has 2048 + 2048 and 256 + 256 more for validation.
        store: where they are kept as they come; None for nowhere.
        workers: processes side by side, with one torch thread each; 0 for this one.
        progress: called after every one that is trained.

    Raises:
        ValueError: samples or numbers that do not do, an architecture without a name by which a
            store could know it, or one that cannot be sent to other processes.
        Failed: one of them could not be trained.
    """
    if count < 2:
        raise ValueError(f"{count} shadow models of each kind: expected at least 2")
    check_data(data, plan)
    usable(plan.device)
    tasks: list[Task] = [*(("clean", i) for i in range(count)), *(("jumbo", i) for i in range(count))]
    keys = {} if store is None else _keys(data, plan, tasks)
    found = {} if store is None else _stored(store, plan, keys)
    todo = [task for task in tasks if task not in found]
    stored, warnings, started = len(found), [], time.monotonic()
    outcomes = run(_Training(data, plan), todo, workers=min(workers, len(todo)))
    with closing(outcomes):
        for done, outcome in enumerate(outcomes, start=1):
            kind, number = outcome.task
            if outcome.result is None:
                why = clean_text(outcome.failure or "no reason given", 300)
                raise Failed(f"the {kind} shadow model {number} could not be trained: {why}")
            found[outcome.task] = outcome.result
            if store is not None:
                warnings.append(store.put(keys[outcome.task], *to_stored(outcome.result)))
            if progress is not None:
                seconds = time.monotonic() - started
                progress(Progress("shadow models", done, len(todo), "models", seconds, f"{kind} {number}"))
    said = tuple(dict.fromkeys(warning for warning in warnings if warning is not None))
    return Shadows(plan, tuple(found[task] for task in tasks), stored, said)


def check_data(data: Dataset, plan: Plan) -> None:
    """ValueError for samples that shadow models cannot be trained on."""
    shape, classes = tuple(data.inputs.shape[1:]), len(data.names)
    if (shape, classes) != (plan.input_shape, plan.classes):
        raise ValueError(
            f"the plan is for inputs of {plan.input_shape} and {plan.classes} classes; the samples "
            f"are {shape}, of {classes}"
        )
    draw(shape, seed=0)  # says which kinds of inputs have no jumbo triggers
    missing = [data.names[k] for k, n in enumerate(data.labels.bincount(minlength=classes)) if not n]
    if classes < 2 or missing:
        lacking = f"none are of {clean_text(missing[0])}" if missing else "there is one class alone"
        raise ValueError(f"shadow models need samples of at least two classes, and of each: {lacking}")
    low, high = bounds_of(shape)
    values = scaled(data.inputs)
    if not low <= float(values.min()) <= float(values.max()) <= high:
        raise ValueError(
            f"samples of {shape} must be 8-bit, or from {low:g} to {high:g}; these range from "
            f"{float(values.min()):g} to {float(values.max()):g}"
        )


def _keys(data: Dataset, plan: Plan, tasks: Sequence[Task]) -> dict[Task, Key]:
    digest = identity.samples(data.inputs, data.labels)
    keys: dict[Task, Key] = {}
    for task in tasks:
        settings = plan.settings(*task)
        if settings is None:
            raise ValueError(
                f"shadow models of {plan.name} cannot be kept in a store, as it has no name by which it "
                "is known elsewhere: give a function that can be imported, or no store"
            )
        keys[task] = Key("", digest, METHOD, VERSION, settings, seed=plan.seed)
    return keys


def _stored(store: Store, plan: Plan, keys: dict[Task, Key]) -> dict[Task, Shadow]:
    like = plan.template().state_dict()
    found: dict[Task, Shadow] = {}
    for task, key in keys.items():
        stored = store.get(key)
        shadow = None if stored is None else from_stored(stored, like, backdoored=task[0] == "jumbo")
        if shadow is not None:
            found[task] = shadow
    return found


@contextmanager
def _seeded(seed: int, device: str) -> Generator[None]:
    """Dropout draws from torch's own generators: seeded inside, and afterwards as they were."""
    place = torch.device(device)
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
