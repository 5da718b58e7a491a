"""Sample-ratio mismatch: whether arms got the units that they should have. Where they did not, no difference between them is
theirs.

`anytime` holds at every look at once and is the one that alarms: counts by step and arm, Dirichlet-multinomial over
multinomial, steps multiplied (Lindon and Malek 2020). `chi_squared` holds at one look, such as the last: Pearson's statistic of
the same counts, summed over steps.

Both want units, not requests, each in the arm and step of its first exposure, and the split as it was meant in each step, so
that a changed split is no mismatch. Champion's units are those of the experiment: requests without a unit are no part of it.
The same test of units that were lost (no outcome though its time is up) tells whether an arm loses more of them; of the units
that were analysed, whether something filtered them.

Sources: Fabijan et al. (2019), diagnosing sample-ratio mismatch; Lindon and Malek (2020), anytime-valid inference for
multinomial counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.experiments.statistics.moments import Floats

ALPHA = 0.001
CONCENTRATION = 100.0
"""How closely the alternatives lie around the split that was meant: the prior counts as so many units."""
MOST_CROSSED = 0.01
FEWEST = 100
LEAST_EXPECTED = 5.0


@dataclass(frozen=True)
class Ratio:
    """What the test of a split found.

    Args:
        p: of the chi-squared test, for a look that was fixed before; None where fewer than five units are expected somewhere.
        anytime_p: 1 over the e-process: that it is ever at or below 0.001 has a chance of 0.001 at most.
        mismatch: by `anytime_p`. Once it was seen it stays, whatever the counts become: whoever calls this keeps it.
        counts, expected: by arm, over all steps.
    """

    p: float | None
    anytime_p: float
    mismatch: bool
    counts: tuple[float, ...]
    expected: tuple[float, ...]

    @property
    def words(self) -> str:
        """For a person."""
        told = ", ".join(f"{n:,.0f} where {e:,.0f} were expected" for n, e in zip(self.counts, self.expected, strict=True))
        return f"Arms got {told} units" + (
            ": more than chance explains; find out where units are lost before reading any result." if self.mismatch else "."
        )


def ratio(counts: npt.ArrayLike, shares: npt.ArrayLike, *, alpha: float = ALPHA) -> Ratio:
    """Tests counts of units by step and arm against the shares that were meant there.

    Args:
        counts: (steps, arms), or (arms,).
        shares: of the same shape, or one row for all steps; a step's shares may sum to anything, such as buckets.
    """
    n = np.atleast_2d(np.asarray(counts, dtype=np.float64))
    meant = np.broadcast_to(np.atleast_2d(np.asarray(shares, dtype=np.float64)), n.shape)
    if not (np.isfinite(n).all() and np.isfinite(meant).all() and (n >= 0).all() and (meant >= 0).all()):
        raise ValueError("Counts and shares are finite numbers not below 0.")
    theta = meant / meant.sum(-1, keepdims=True)
    evidence = float(log_evidence(n, theta))
    anytime = math.exp(-evidence) if evidence > 0 else 1.0
    expected = n.sum(-1, keepdims=True) * theta
    whole = tuple(float(one) for one in n.sum(0))
    return Ratio(_chi_squared_p(n, expected), anytime, anytime <= alpha, whole, tuple(float(one) for one in expected.sum(0)))


def log_evidence(n: Floats, theta: Floats) -> Floats:
    """ln of the e-process of counts (..., steps, arms) under shares of that shape; infinite where a unit is in an arm of share
    0."""
    from scipy.special import gammaln

    meant = theta > 0
    prior = np.where(meant, CONCENTRATION * theta, 1.0)
    safe = np.where(meant, n, 0.0)
    mixed = gammaln(CONCENTRATION) - gammaln(CONCENTRATION + safe.sum(-1)) + (gammaln(prior + safe) - gammaln(prior)).sum(-1)
    plain = (safe * np.log(np.where(meant, theta, 1.0))).sum(-1)
    stray = (n * ~meant).sum((-2, -1)) > 0
    return np.asarray(np.where(stray, np.inf, (mixed - plain).sum(-1)))


def _chi_squared_p(n: Floats, expected: Floats) -> float | None:
    from scipy.special import chdtrc

    used = n.sum(-1) > 0
    n, expected = n[used], expected[used]
    if not n.size or (expected < LEAST_EXPECTED).any():
        return None
    freedom = n.size - len(n)
    return float(chdtrc(freedom, ((n - expected) ** 2 / expected).sum())) if freedom else 1.0


def lost(counts: npt.ArrayLike, shares: npt.ArrayLike, *, alpha: float = ALPHA) -> Ratio:
    """Whether arms lose units alike: units without an outcome by step and arm, which under no effect split as all units do."""
    return ratio(counts, shares, alpha=alpha)


@dataclass(frozen=True)
class Crossed:
    """Units seen in more than one arm within a step, where no split moved them.

    Args:
        invalid: more than 1 % of at least 100 units.
    """

    units: int
    crossed: int
    invalid: bool

    @property
    def share(self) -> float:
        """Of all units."""
        return self.crossed / self.units if self.units else 0.0

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return {"units": self.units, "crossed": self.crossed, "share": self.share, "invalid": self.invalid}


def crossed(units: int, in_two: int) -> Crossed:
    """Judges how many units were seen in two arms. They are left out of the analysis; beyond 1 % nothing is to be read from
    it."""
    return Crossed(units, in_two, units >= FEWEST and in_two > MOST_CROSSED * units)
