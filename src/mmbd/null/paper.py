"""The paper's order-statistic p-value (section 5.2, eq. 7), and the authors' variant of it.

A Gamma density is fitted to all statistics but the largest, r_max; under "no attack" the chance
that the largest of n such values exceeds r_max is 1 - H0(r_max)^n. The paper's text has n = K - 1
and non-negative statistics, so a location of zero; the authors' script has n = K and leaves the
location free. Neither is calibrated: the fit leaves the maximum out, which makes the null too
narrow (a nominal 5 % test raises about 25 % false alarms at K = 10).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from mmbd.base.extras import room_for_scipy
from mmbd.null.null import Null, margins_of
from mmbd.results.finding import Test


def paper(statistics: Sequence[float]) -> Test:
    """Eq. 7 as printed: location 0, exponent K - 1."""
    return order_statistic(statistics, null="paper", exponent=len(statistics) - 1, free_location=False)


def authors(statistics: Sequence[float]) -> Test:
    """As the authors' script computes it: free location, exponent K."""
    return order_statistic(statistics, null="authors", exponent=len(statistics), free_location=True)


def order_statistic(statistics: Sequence[float], *, null: str, exponent: int, free_location: bool) -> Test:
    """1 - H0(r_max)^exponent with H0 a Gamma fitted by maximum likelihood to the others.

    Args:
        statistics: one finite maximum margin a class.
        null: the name under which the answer is reported.
        exponent: n above.
        free_location: fit three parameters instead of shape and scale alone.

    Returns:
        The p-value with log10 p (exact where p underflows) and the fitted `shape`, `loc` and
        `scale`; or the reason why there is none. Never NaN.
    """
    if len(statistics) < 3:
        return Test(null, reason=f"{len(statistics)} classes leave too few statistics for a Gamma fit")
    if not all(math.isfinite(value) for value in statistics):
        return Test(null, reason="some statistics are not finite")
    *others, largest = sorted(statistics)
    if others[0] == others[-1]:
        return Test(null, reason="all other statistics are equal")
    try:
        gamma = fitted(others, free_location=free_location)
        log_tail = gamma.log_tail(largest)
    except NoFit as error:
        return Test(null, reason=str(error))
    log_p = log_of_largest(log_tail, exponent)
    return Test(
        null,
        p_value=math.exp(log_p),
        log10=log_p / math.log(10),
        parameters={**asdict(gamma), "exponent": float(exponent)},
    )


class NoFit(Exception):
    """A Gamma cannot be fitted, and why."""


@dataclass(frozen=True)
class Gamma:
    """A Gamma density with a location of its own."""

    shape: float
    loc: float
    scale: float

    def log_tail(self, value: float) -> float:
        """The log of the chance of more than `value`; NoFit where that is no number."""
        log_tail = _log_tail(self.shape, (value - self.loc) / self.scale)
        if not math.isfinite(self.shape * self.scale) or math.isnan(log_tail):
            raise NoFit("the Gamma fit did not converge")
        return log_tail


def fitted(values: Sequence[float], *, free_location: bool) -> Gamma:
    """The Gamma of largest likelihood for finite values that are not all equal.

    Args:
        values: in any order.
        free_location: fit three parameters instead of shape and scale alone.

    Raises:
        NoFit: values that no Gamma at location 0 can have, or a fit that fails.
    """
    room_for_scipy()
    from scipy import stats

    if not free_location and min(values) <= 0:
        raise NoFit("a statistic is not positive, and a Gamma at location 0 has no density")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the search passes odd parameters
            fixed = {} if free_location else {"floc": 0}
            shape, loc, scale = (float(value) for value in stats.gamma.fit(values, **fixed))
    except (stats.FitError, ValueError, RuntimeError) as error:
        raise NoFit(f"the Gamma fit failed: {error}") from error
    return Gamma(shape, loc, scale)


def log_of_largest(log_tail: float, count: int) -> float:
    """log(1 - (1 - e^log_tail)^count), without cancellation."""
    if log_tail < -600:
        return math.log(count) + log_tail
    if log_tail >= 0:
        return 0.0
    return math.log(-math.expm1(count * math.log1p(-math.exp(log_tail))))


def _log_tail(shape: float, x: float) -> float:
    """The log of the Gamma's upper tail at x (unit scale), also where the tail underflows."""
    from scipy import special

    if x <= 0:
        return 0.0
    tail = float(special.gammaincc(shape, x))
    if tail > 1e-290 or math.isnan(tail):
        return math.log(tail)
    # Gamma(a, x) = x^(a-1) e^-x (1 + (a-1)/x + (a-1)(a-2)/x^2 + ...), here far out, so x >> a.
    term = total = 1.0
    for order in range(1, 60):
        term *= (shape - order) / x
        if abs(term) < 1e-17 * abs(total) or abs(shape - order) > x:
            break
        total += term
    return (shape - 1) * math.log(x) - x + math.log(total) - math.lgamma(shape)


PAPER = Null(
    title="paper (eq. 7)",
    basis="a Gamma fitted to the other classes; not calibrated",
    values=margins_of,
    test=lambda values, _: paper(values),
    alone=True,
    gamma=True,
)
AUTHORS = Null(
    title="authors' variant",
    basis="the same with free location, as scripted; not calibrated",
    values=margins_of,
    test=lambda values, _: authors(values),
    alone=True,
    gamma=True,
)
