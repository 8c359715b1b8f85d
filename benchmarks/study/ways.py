"""Four ways to add up what the marks say, each fitted on some networks: from a network to its evidence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.study.marked_models import MARKS, Model

Score = Callable[[Model], tuple[float, int]]  # the evidence, and the class it is of


def weighted(weights: np.ndarray) -> Score:
    """The sum of the marks of a class, weighted; the class for which it is largest, -1 for pairs."""

    def score(model: Model) -> tuple[float, int]:
        evidence = model.matrix() @ weights
        by_pairs = weights[-1] * model.in_pairs
        top = int(evidence.argmax())
        return (by_pairs, -1) if by_pairs > evidence[top] else (float(evidence[top]), top)

    return score


def equal(models: Sequence[Model]) -> Score:
    """Each mark in units of its mean over clean networks."""
    return weighted(units_of(models))


def units_of(models: Sequence[Model]) -> np.ndarray:
    """One over the mean of each mark's largest value over clean networks."""
    tops = np.array([tops_of(model) for model in models if model.clean])
    return 1 / np.maximum(tops.mean(0), 1e-3)


def tops_of(model: Model) -> np.ndarray:
    found = model.matrix().max(0)
    found[-1] = model.in_pairs
    return found


def logistic(models: Sequence[Model]) -> Score:
    """Weights of at least zero by logistic regression: the marks of the true target, or of the clean top."""
    return weighted(logistic_weights(models))


def logistic_weights(models: Sequence[Model], rounds: int = 8, strength: float = 0.1) -> np.ndarray:
    """The weights in turns with the class that they put on top, from equal ones; in units as `equal`.

    `strength` draws them towards equal ones: of 0.02, 0.1, 0.3 and 1 the best on the choosing half.
    """
    from scipy.optimize import minimize

    units = units_of(models)
    labels = np.array([0.0 if model.clean else 1.0 for model in models])
    count = np.array([np.sum(labels == label) for label in labels])
    weights = np.ones(len(MARKS))
    for _ in range(rounds):
        rows = np.array([row_of(model, weights * units) for model in models]) * units

        def loss(at: np.ndarray, rows: np.ndarray = rows) -> float:
            logits = rows @ at[:-1] + at[-1]
            each = np.logaddexp(0, -np.where(labels == 1, logits, -logits))
            return float((each / count).sum() + strength * ((at[:-1] - 0.5) ** 2).sum())

        start = np.append(weights, -2.0)
        bounds = [(0.0, None)] * len(MARKS) + [(None, None)]
        weights = minimize(loss, start, bounds=bounds, method="L-BFGS-B").x[:-1]
    return weights * units


def row_of(model: Model, weights: np.ndarray) -> np.ndarray:
    """The marks of the class that counts: the top one with these weights, of the targets if there are any."""
    matrix = model.matrix()
    pairs = np.zeros(len(MARKS))
    pairs[-1] = model.in_pairs
    rows = [matrix[label] for label in (model.targets or range(len(matrix)))]
    if model.clean or len(model.targets) > 1:
        rows.append(pairs)
    return max(rows, key=lambda row: float(row @ weights))


def smallest(models: Sequence[Model]) -> Score:
    """Minus the logarithm of the smallest p-value of a mark by clean networks."""
    tops = np.sort(np.array([tops_of(model) for model in models if model.clean]), axis=0)

    def score(model: Model) -> tuple[float, int]:
        matrix, best = model.matrix(), (0.0, 0)
        for column in range(len(MARKS)):
            value = model.in_pairs if column == len(MARKS) - 1 else matrix[:, column].max()
            above = len(tops) - np.searchsorted(tops[:, column], value, side="left")
            found = -math.log((1 + above) / (1 + len(tops))) + 1e-6 * float(value)
            label = -1 if column == len(MARKS) - 1 else int(matrix[:, column].argmax())
            best = max(best, (found, label))
        return best

    return score


def boosting(models: Sequence[Model]) -> Score:
    """Monotone boosted trees on the marks of the class with the most evidence by `equal`."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    units = units_of(models)
    rows = np.array([row_of(model, units) for model in models])
    labels = [not model.clean for model in models]
    trees = HistGradientBoostingClassifier(
        monotonic_cst=[1] * len(MARKS), max_iter=60, learning_rate=0.1, min_samples_leaf=5, random_state=0
    ).fit(rows, labels)
    plain = weighted(units)

    def score(model: Model) -> tuple[float, int]:
        value, label = plain(model)
        matrix = model.matrix()
        row = np.zeros(len(MARKS)) if label < 0 else matrix[label]
        row[-1] = model.in_pairs if label < 0 else 0.0
        return float(trees.predict_proba([row])[0, 1]) + 1e-6 * value, label

    return score


WAYS: dict[str, Callable[[Sequence[Model]], Score]] = {
    "equal": equal,
    "logistic": logistic,
    "smallest": smallest,
    "boosting": boosting,
}
