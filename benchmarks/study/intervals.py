"""Rates and AUCs as the studies print them: the frozen figures have bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmbd.evaluation.metrics import auc, clopper_pearson


def rate(hits: Sequence[bool] | np.ndarray) -> str:
    """A rate as text: share, counts and 95 % interval."""
    n, k = len(hits), int(np.sum(hits))
    if not n:
        return "-"
    low, high = clopper_pearson(k, n)
    return f"{k / n:.3f} ({k}/{n}; {low:.3f}-{high:.3f})"


def auc_interval(
    positives: Sequence[float], negatives: Sequence[float], draws: int = 2000
) -> tuple[float, float]:
    """A 95 % bootstrap interval of the AUC, resampling models."""
    generator = np.random.default_rng(0)
    p, n = np.asarray(positives), np.asarray(negatives)
    values = [auc(generator.choice(p, len(p)), generator.choice(n, len(n))) for _ in range(draws)]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
