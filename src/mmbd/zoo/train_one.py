"""One job of a plan: data -> victim -> attack -> a model, its trigger and its card, on disk.

The card is written last: what has no card is not finished, whatever else there is of it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mmbd import attacks
from mmbd.attacks import Backdoor, Victim
from mmbd.base.environment import hardware, versions
from mmbd.formats.spec import Spec, save
from mmbd.model.normalised import Normalisation
from mmbd.training import loop as train
from mmbd.zoo import cards, start
from mmbd.zoo.job import CLEAN, Job
from mmbd.zoo.samples import Samples, choose, load

FITTED = 5000  # training samples that the training accuracy is measured on: within 1.4 points


@dataclass(frozen=True)
class Made:
    """A trained victim, its data, its backdoor if it has one, and what a difficult training noted.

    `started` says what it began with, see `start.give`, if it did not begin as drawn.
    """

    victim: Victim
    spec: Spec
    samples: Samples
    backdoor: Backdoor | None
    notes: Mapping[str, Any]
    seconds: float
    started: Mapping[str, Any] | None = None


def make(
    job: Job, out: Path, *, root: Path, on_epoch: Callable[[int, float], None] | None = None
) -> dict[str, Any]:
    """Train one model and write NAME.safetensors, NAME.trigger.safetensors and NAME.json to `out`.

    Args:
        job: what to train.
        out: an existing folder.
        root: where relative paths of the data begin.
        on_epoch: see `train.fit`.

    Returns:
        The card.

    Raises:
        ValueError: the data, the network or the attack does not fit; the message names it.
        FileNotFoundError: no data, or no model to start from, at the path given.
        FloatingPointError: the training diverged.
    """
    made = fit(job, root, on_epoch)
    file, trigger = out / f"{job.name}.safetensors", out / f"{job.name}.trigger.safetensors"
    card = describe(job, made)
    # Until the new card is there, the old one must not vouch for the new weights.
    cards.path(out, job.name).unlink(missing_ok=True)
    save(file, made.victim.network, made.spec)
    card["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    trigger.unlink(missing_ok=True)
    if made.backdoor is not None:
        from mmbd.triggers.files import save as save_backdoor

        save_backdoor(trigger, made.backdoor)
        card["trigger_file"] = trigger.name
    cards.write(out, card)
    return card


def fit(job: Job, root: Path, on_epoch: Callable[[int, float], None] | None = None) -> Made:
    """Train the victim of a job in memory."""
    samples = load(job.data, root.resolve())
    spec = Spec(
        arch=job.arch.kind,
        arguments=job.arch.arguments,
        input_shape=samples.shape,
        classes=len(samples.names),
        bounds=samples.bounds,
        mean=job.data.mean,
        std=job.data.std,
        class_names=samples.names,
        domain=_domain(job, samples.shape),
    )
    first = None if job.arch.start is None else start.read(job.arch.start, root)
    torch.manual_seed(job.draw)
    network = spec.network()
    started = None if first is None else start.give(network, first)
    network = network.to(job.device)
    normalise = Normalisation(job.data.mean, job.data.std, samples.shape).to(job.device)
    victim = Victim(network, samples.training, job.recipe, job.draw, normalise, _trainer(job, on_epoch))
    begun = time.perf_counter()
    backdoor, notes = None, {}
    options = dict(job.attack.options)
    if job.attack.kind == CLEAN:
        victim.fit()
    elif job.attack.kind in attacks.HARD_CLEAN:
        if job.attack.target is not None:
            options["target"] = choose(job, samples)[1]
        notes = attacks.HARD_CLEAN[job.attack.kind](victim, **options)
    else:
        sources, target = choose(job, samples)
        attack = attacks.ATTACKS[job.attack.kind]
        backdoor = attack(victim, sources=sources, target=target, **options)
    return Made(victim, spec, samples, backdoor, notes, time.perf_counter() - begun, started)


def describe(job: Job, made: Made) -> dict[str, Any]:
    """The card: what the model is, how good it is, and everything needed to make it again."""
    victim, backdoor, test = made.victim, made.backdoor, made.samples.test
    predictions = victim.predict(test.inputs)
    asr = None if backdoor is None else backdoor.success(victim.predict, test)
    targets = {} if backdoor is None else backdoor.targets
    return {
        "card": cards.VERSION,
        "name": job.name,
        "file": f"{job.name}.safetensors",
        "label": "clean" if backdoor is None else "backdoored",
        "data": job.data.name,
        "arch": job.arch.name,
        "attack": job.attack.name,
        "seed": job.seed,
        "sources": sorted(targets),
        "targets": sorted(set(targets.values())),
        "pairs": {str(source): target for source, target in targets.items()},
        "poisoned": 0 if backdoor is None else len(backdoor.poisoned),
        "protocol": dict(made.notes if backdoor is None else backdoor.protocol),
        "accuracy": train.accuracy(predictions, test.labels),
        "train_accuracy": _train_accuracy(made),
        "asr": asr,
        "samples": {"train": len(victim.training), "test": len(test)},
        "class_names": list(made.samples.names),
        "digests": made.samples.digests,
        **({} if made.started is None else {"start": dict(made.started)}),
        "settings": job.settings(),
        "seconds": round(made.seconds, 1),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: versions()[name] for name in ("mmbd", "torch")},
        "hardware": hardware(job.device),
    }


def _domain(job: Job, shape: tuple[int, ...]) -> str:
    """The kind of domain, see `points.domain_for`: sounds have one channel or two."""
    return job.data.domain or ("cube" if len(shape) == 2 and shape[0] == 3 else "box")


def _trainer(job: Job, on_epoch: Callable[[int, float], None] | None) -> Callable[..., None]:
    watched: dict[str, Any] = {} if on_epoch is None else {"on_epoch": on_epoch}
    if job.arch.private is None:
        return partial(train.fit, **watched)
    from mmbd.training import private

    return partial(private.fit, **watched, **job.arch.private)


def _train_accuracy(made: Made) -> float:
    """The accuracy on training samples that are not poisoned; 1 where the network fits them all."""
    training = made.victim.training
    kept = torch.ones(len(training), dtype=torch.bool)
    if made.backdoor is not None:
        poisoned = made.backdoor.poisoned
        kept[poisoned[poisoned < len(training)]] = False
    chosen = training.take(kept.nonzero().flatten()[:FITTED])
    answers = made.victim.predict(chosen.inputs)
    return train.accuracy(answers, chosen.labels)
