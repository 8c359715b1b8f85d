"""META's meta-classifier: learnable queries, and a small network on what a model answers to them.

Xu, Wang, Li, Borisov, Gunter and Li, "Detecting AI Trojans Using Meta Neural Analysis", IEEE S&P
2021. Hyper-parameters are those of the authors' script unless said otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbd.base.progress import Progress, ProgressCallback
from mmbd.base.seeds import generator_for
from mmbd.detectors.meta.shadows import Shadows

SMALLEST = 1e-12  # of a spread that something is divided by


@dataclass(frozen=True)
class Learning:
    """How a meta-classifier is trained.

    Args:
        queries: how many inputs a model is asked.
        hidden: the units between its answers and the decision.
        epochs: how often the training goes through the shadow models, one a step; the epoch with
            the highest AUC on the validation part is kept, of equal ones that with the lowest loss.
        lr: of Adam, for queries and weights alike.
        repeats: so many are trained from different starts, and their logits averaged (the authors'
            script averages the AUC of five). They see the shadow models in one order (own choice),
            so that one pass through a shadow model serves all.
        validation: the share of the shadow models of each kind that is held out: a quarter (own
            choice; the script has one of nine, of many more shadow models).
        standardise: own choice, see `standardised`.

    Raises:
        ValueError: numbers out of their range.
    """

    queries: int = 10
    hidden: int = 20
    epochs: int = 10
    lr: float = 1e-3
    repeats: int = 5
    validation: float = 0.25
    standardise: bool = True

    def __post_init__(self) -> None:
        for name in ("queries", "hidden", "epochs", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not (self.lr > 0 and 0 < self.validation < 1):
            raise ValueError(
                f"lr must be above 0 and validation between 0 and 1, got {self.lr:g} and {self.validation:g}"
            )


@dataclass(frozen=True, eq=False)
class Parts:
    """The numbers of `repeats` meta-classifiers.

    Args:
        queries: (repeats, queries, *input_shape), in the units of the shadow models' inputs. They
            may lie beyond the valid inputs, as the original's do.
        hidden_weight: (repeats, hidden, queries * classes).
        hidden_bias: (repeats, hidden).
        output_weight: (repeats, hidden).
        output_bias: (repeats,).
    """

    queries: Tensor
    hidden_weight: Tensor
    hidden_bias: Tensor
    output_weight: Tensor
    output_bias: Tensor

    def tensors(self) -> dict[str, Tensor]:
        return dict(vars(self))

    def decide(self, logits: Tensor, *, standardise: bool) -> Tensor:
        """One logit a repeat, above 0 for a backdoor, from a model's answers to all queries.

        Args:
            logits: (repeats * queries, classes), the queries of the first repeat first.
            standardise: see `standardised`.
        """
        repeats, queries = self.queries.shape[:2]
        answers = logits.reshape(repeats, queries, -1)
        answers = (standardised(answers) if standardise else answers).flatten(1)
        hidden = torch.einsum("rhi,ri->rh", self.hidden_weight, answers) + self.hidden_bias
        return (hidden.relu() * self.output_weight).sum(1) + self.output_bias


def standardised(answers: Tensor) -> Tensor:
    """Logits (repeats, queries, classes) of one model, free of its own scale.

    Each query's logits are centred, as what is added to all classes means nothing, and all those of
    a repeat are divided by their root mean square: networks that differ in architecture or length
    of training differ in the scale of their logits first of all.
    """
    centred = answers - answers.mean(2, keepdim=True)
    return centred / centred.square().mean((1, 2), keepdim=True).sqrt().clamp_min(SMALLEST)


@dataclass(frozen=True, eq=False)
class Learned:
    """A trained meta-classifier, with how it does on the shadow models that were held out.

    Args:
        parts: its numbers, on the CPU.
        clean, jumbo: its logits of the held-out shadow models without and with a backdoor.
        steps: how many shadow models it was shown, one a step.
    """

    parts: Parts
    clean: Tensor
    jumbo: Tensor
    steps: int


def learn(
    shadows: Shadows,
    inputs: Tensor,
    how: Learning,
    *,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Learned:
    """Train meta-classifiers to tell the shadow models apart.

    Args:
        shadows: clean and backdoored ones.
        inputs: (n, *input_shape) clean samples in the units of the shadow models' inputs: queries
            start as noise with the mean and the spread of each channel.
        how: the hyper-parameters.
        seed: of starts, order and validation part.
        progress: called after every epoch.
    """
    generator = generator_for("meta-classifier", seed)
    training, held = _split(shadows.backdoored, how.validation, generator)
    truth = shadows.backdoored.float().to(shadows.plan.device)
    parts = _start(shadows, inputs, how, generator)
    best, best_auc, best_loss = parts, torch.full((how.repeats,), -1.0), torch.full((how.repeats,), torch.inf)
    optimizer = torch.optim.Adam(parts.tensors().values(), lr=how.lr)
    started = time.monotonic()
    for epoch in range(how.epochs):
        for place in torch.randperm(len(training), generator=generator).tolist():
            number = training[place]
            found = asked(shadows, number, parts, standardise=how.standardise)
            # The repeats share no number, so that the sum of their losses trains each on its own.
            loss = F.binary_cross_entropy_with_logits(found, truth[number].expand_as(found), reduction="sum")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        logits = logits_of(shadows, held, parts, standardise=how.standardise)
        backdoored = shadows.backdoored[held]
        areas = torch.stack([auc(column[~backdoored], column[backdoored]) for column in logits.T])
        losses = F.binary_cross_entropy_with_logits(
            logits, truth[held].cpu()[:, None].expand_as(logits), reduction="none"
        ).mean(0)
        better = (areas > best_auc) | ((areas == best_auc) & (losses < best_loss))
        best = _chosen(better, parts, best)
        best_auc, best_loss = torch.where(better, areas, best_auc), torch.where(better, losses, best_loss)
        if progress is not None:
            seconds = time.monotonic() - started
            progress(Progress("meta-classifier", epoch + 1, how.epochs, "epochs", seconds))
    logits = logits_of(shadows, held, best, standardise=how.standardise).mean(1)
    backdoored = shadows.backdoored[held]
    parts = replace(best, **{name: value.detach().cpu() for name, value in best.tensors().items()})
    return Learned(parts, logits[~backdoored], logits[backdoored], how.epochs * len(training))


def asked(shadows: Shadows, number: int, parts: Parts, *, standardise: bool) -> Tensor:
    """The logits (repeats,) of a shadow model."""
    return parts.decide(shadows.answer(number, parts.queries.flatten(0, 1)), standardise=standardise)


@torch.no_grad()
def logits_of(shadows: Shadows, numbers: Sequence[int], parts: Parts, *, standardise: bool) -> Tensor:
    """The logits (n, repeats) of these shadow models, on the CPU."""
    there = replace(parts, **{name: value.to(shadows.plan.device) for name, value in parts.tensors().items()})
    return torch.stack([asked(shadows, number, there, standardise=standardise).cpu() for number in numbers])


def auc(clean: Tensor, backdoored: Tensor) -> Tensor:
    """How often a backdoored model has the higher logit of the two, ties counted as half."""
    differences = backdoored[:, None] - clean
    return ((differences > 0).float() + 0.5 * (differences == 0).float()).mean()


def best_threshold(clean: Tensor, backdoored: Tensor) -> float:
    """The threshold with the highest mean of detection rate and clean models passed.

    It lies half way between two logits; of several the highest, which has the fewest false alarms.
    """
    values = torch.cat((clean, backdoored)).double().unique()
    ends = torch.cat((values[:1] - 1, values, values[-1:] + 1))
    middles = (ends[:-1] + ends[1:]) / 2
    rates = (backdoored[:, None] > middles).double().mean(0) + (clean[:, None] <= middles).double().mean(0)
    return float(middles[rates >= rates.max() - 1e-9].max())


def _split(backdoored: Tensor, share: float, generator: torch.Generator) -> tuple[list[int], list[int]]:
    """The numbers of the shadow models to train on, and of those held out: at least one a kind."""
    training: list[int] = []
    held: list[int] = []
    for kind in (~backdoored, backdoored):
        there = kind.nonzero().flatten()
        there = there[torch.randperm(len(there), generator=generator)].tolist()
        count = min(max(1, round(share * len(there))), len(there) - 1)
        held += there[:count]
        training += there[count:]
    return training, held


def _start(shadows: Shadows, inputs: Tensor, how: Learning, generator: torch.Generator) -> Parts:
    """Random queries and weights, as torch starts linear layers; leaves that gradients reach."""
    shape, answers = shadows.plan.input_shape, how.queries * shadows.plan.classes
    channels = inputs.transpose(0, 1).flatten(1)
    means, spreads = (
        value.reshape(-1, *[1] * (len(shape) - 1)) for value in (channels.mean(1), channels.std(1))
    )

    def uniform(fan: int, *size: int) -> Tensor:
        return (2 * torch.rand(how.repeats, *size, generator=generator) - 1) / fan**0.5

    parts = Parts(
        torch.randn(how.repeats, how.queries, *shape, generator=generator) * spreads + means,
        uniform(answers, how.hidden, answers),
        uniform(answers, how.hidden),
        uniform(how.hidden, how.hidden),
        uniform(how.hidden),
    )
    device = shadows.plan.device
    return replace(parts, **{k: v.to(device).requires_grad_(True) for k, v in parts.tensors().items()})


def _chosen(better: Tensor, new: Parts, old: Parts) -> Parts:
    """For each repeat the numbers of one of two, copied."""
    chosen: dict[str, Tensor] = {}
    for name, value in new.tensors().items():
        pick = better.to(value.device).reshape(-1, *[1] * (value.dim() - 1))
        chosen[name] = torch.where(pick, value.detach(), old.tensors()[name].detach())
    return replace(old, **chosen)
