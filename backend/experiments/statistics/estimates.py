"""How much better or worse a treatment arm did than the control arm, over all steps of a ramp, and with what variance.

A mean is a ratio whose denominator is 1, a proportion a mean of 0 and 1, a winsorised mean one of values that were capped
before they were summed; so there is one formula. In step s, with mean value y, mean denominator x and n units of an arm:

| | is |
|---|---|
| weight of a step | w = n1 n0 / (n1 + n0) (`precise`), or n1 + n0 (`exposed`) |
| an arm's ratio | R = sum w y / sum w x, over steps: Cochran's combined ratio |
| residual of a unit | e = (value - R denominator) / (sum w x / sum w), variance within step and arm only: the delta method |
| with a covariate c | e - theta c, theta being the one that leaves the least variance of the difference |
| difference | R1 - R0 - theta (sum w (c1 - c0) / sum w) |
| its variance | sum w^2 (var1 / n1 + var0 / n0) / (sum w)^2 |

Arms are only ever compared within a step, where the split was one and the same, so that neither a changing split nor a day that
differs from another can pass for an effect (Simpson's paradox). `precise` weights are those of a regression with an indicator
for each step; they say least about steps of 1 %, which know least. `exposed` weights answer what the mean effect over everyone
exposed was; where the effect is the same in all steps, both answer the same.

Sources: Deng, Knoblich and Lu (2018), delta method; Deng, Xu, Kohavi and Walker (2013), CUPED; Cochran (1977), Sampling
Techniques, 6.11; Angrist (1998), weights; Fieller (1954), the interval of a relative effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from backend.experiments.statistics.moments import Floats, Moments

Weights = Literal["precise", "exposed"]
FEWEST = 2.0
"""Units of each arm below which a step has no variance; it is left out and counted as left out."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """One treatment arm beside the control, for one metric. All fields are arrays of one shape, NaN where nothing can be said.

    Args:
        control, treatment: the arms' means or ratios, adjusted by the covariate if there is one.
        difference: treatment less control.
        variance: of the difference.
        base_variance, covariance: variance of the control's mean, and its covariance with the difference: for relative effects.
        weight: the sum of the steps' weights; with `precise` ones, of equal arms a quarter of their units.
        n_control, n_treatment: units that the estimate rests on; `left_out` those in steps where an arm has fewer than two.
        waiting: units whose outcome is not mature.
        freedom: degrees of freedom of the variance (Welch and Satterthwaite).
        skewness: of the difference over its standard error, as far as the values' third sums tell; NaN of ratios.
        theta: how much of the covariate was taken off.
    """

    control: Floats
    treatment: Floats
    difference: Floats
    variance: Floats
    base_variance: Floats
    covariance: Floats
    weight: Floats
    n_control: Floats
    n_treatment: Floats
    left_out: Floats
    waiting: Floats
    freedom: Floats
    skewness: Floats
    theta: Floats

    @property
    def error(self) -> Floats:
        """Standard error of the difference."""
        return np.asarray(np.sqrt(self.variance))

    @property
    def clock(self) -> Floats:
        """The variance of the sum that the difference is a mean of: it only grows, and is the time of a sequence's
        intervals."""
        return np.asarray(self.weight**2 * self.variance)

    @property
    def relative(self) -> Floats:
        """The difference over the control's mean; NaN where that is not above 0, since then a share of it means nothing."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(self.control > 0, self.difference / self.control, np.nan))

    def times(self, factor: float) -> Estimate:
        """Of the metric times a factor; -1 turns better into worse."""
        square = factor * factor
        scaled = {one: getattr(self, one) * factor for one in ("control", "treatment", "difference", "theta", "skewness")}
        scaled["skewness"] = self.skewness * np.sign(factor)
        spread = {one: getattr(self, one) * square for one in ("variance", "base_variance", "covariance")}
        return Estimate(**(vars(self) | scaled | spread))


class Residuals(NamedTuple):
    """Variances of one arm's residuals by step, each of a mean: of the value's, of the covariate's, and of both together."""

    own: Floats
    covariate: Floats
    both: Floats


def estimate(
    control: Moments, treatment: Moments, *, ratio: bool = False, adjusted: bool = False, weights: Weights = "precise"
) -> Estimate:
    """Compares two arms whose last axis is the steps of the ramp.

    Args:
        ratio: the metric is the value's sum over the denominator's, such as errors over requests.
        adjusted: use the covariate. It must come from before the exposure: whatever the arm may have touched would take the
            effect away with the noise.
    """
    kept = (control.n >= FEWEST) & (treatment.n >= FEWEST)
    n0, n1 = (np.where(kept, one.n, 1.0) for one in (control, treatment))
    w = np.where(kept, n1 * n0 / (n1 + n0) if weights == "precise" else n1 + n0, 0.0)
    whole = w.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = np.where(whole > 0, whole, np.nan)
        share = w / whole[..., None]
        arms = [_ratio(share, one, ratio) for one in (control, treatment)]
        r0, r1 = (one[0] + 0 * whole for one in arms)  # no step at all is NaN too, not a sum of nothing
        e0, e1 = (
            _residuals(one, n, arm if ratio else None) for one, n, arm in zip((control, treatment), (n0, n1), arms, strict=True)
        )
        squares = share**2
        theta = _theta(squares, e0, e1) if adjusted else np.zeros_like(r0)
        t = theta[..., None]
        split = n1 / (n1 + n0)
        apart = treatment.covariate - control.covariate
        towards0, towards1 = (theta * (share * part * apart).sum(-1) for part in (split, 1 - split))
        parts0, parts1 = (squares * (one.own - 2 * t * one.both + t * t * one.covariate) for one in (e0, e1))
        variance = (parts0 + parts1).sum(-1) + 0 * whole
        base = squares * (e0.own - 2 * t * split * e0.both + (t * split) ** 2 * (e0.covariate + e1.covariate))
        joint = squares * (
            t * split * (e1.both - t * e1.covariate) - e0.own + t * (1 + split) * e0.both - t * t * split * e0.covariate
        )
        skewness = np.full(whole.shape, np.nan) if ratio else _skewness(share, (control, treatment), (n0, n1), variance)
        freedom = variance**2 / (parts0**2 / (n0 - 1 + ~kept) + parts1**2 / (n1 - 1 + ~kept)).sum(-1)
    n_control, n_treatment = (np.where(kept, one.n, 0.0).sum(-1) for one in (control, treatment))
    everyone = control.n.sum(-1) + treatment.n.sum(-1)
    return Estimate(
        control=r0 + towards0,
        treatment=r1 - towards1,
        difference=r1 - r0 - towards0 - towards1,
        variance=variance,
        base_variance=base.sum(-1),
        covariance=joint.sum(-1),
        weight=np.nan_to_num(whole),
        n_control=n_control,
        n_treatment=n_treatment,
        left_out=everyone - n_control - n_treatment,
        waiting=control.waiting.sum(-1) + treatment.waiting.sum(-1),
        freedom=np.where(np.isfinite(freedom), freedom, n_control + n_treatment - 2),
        skewness=skewness,
        theta=theta,
    )


def _ratio(share: Floats, arm: Moments, ratio: bool) -> tuple[Floats, Floats]:
    """An arm's mean or ratio, and the mean denominator; over steps, in their shares."""
    below = (share * arm.denominator).sum(-1) if ratio else np.ones(share.shape[:-1])
    return np.asarray((share * arm.value).sum(-1) / below), np.asarray(below)


def _residuals(arm: Moments, n: Floats, ratio: tuple[Floats, Floats] | None) -> Residuals:
    """Of the plain values, or of what a ratio leaves of them."""
    whole = n * np.maximum(n - 1, 1.0)
    if ratio is None:
        return Residuals(arm.vv / whole, arm.cc / whole, arm.vc / whole)
    r, x = (one[..., None] for one in ratio)
    own = np.maximum(arm.vv - 2 * r * arm.vd + r * r * arm.dd, 0.0) / (x * x)
    return Residuals(own / whole, arm.cc / whole, (arm.vc - r * arm.dc) / x / whole)


def _skewness(share: Floats, arms: tuple[Moments, Moments], n: tuple[Floats, Floats], variance: Floats) -> Floats:
    """Of the difference: by each arm's own third sum, or, if that is more, by what both arms' units would give together.

    An arm of few units in which nothing rare has happened yet looks even, and is not: the other arm knows better.
    """
    (c, t), (n0, n1) = arms, n
    own = (share**3 * (t.vvv / n1**3 - c.vvv / n0**3)).sum(-1) / variance**1.5
    cubes, squares = (c.vvv + t.vvv) / (n0 + n1), (c.vv + t.vv) / (n0 + n1)
    alike = (share**3 * cubes * (1 / n1**2 - 1 / n0**2)).sum(-1) / (share**2 * squares * (1 / n1 + 1 / n0)).sum(-1) ** 1.5
    found = np.where(np.abs(own) > np.abs(alike), own, alike)
    return np.asarray(np.where(variance > 0, found, 0.0))


def _theta(squares: Floats, e0: Residuals, e1: Residuals) -> Floats:
    """Cov(difference, difference of covariates) over the variance of the latter, pooled over arms and steps; 0 where the
    covariate does not vary. No other one leaves less variance, so that an adjusted interval is never wider by it."""
    both = (squares * (e0.both + e1.both)).sum(-1)
    own = (squares * (e0.covariate + e1.covariate)).sum(-1)
    return np.where(own > 0, both / np.where(own > 0, own, 1.0), 0.0)
