"""What can be said of shares from the first unit on, and where nothing has failed yet: exact at every look, for values of 0 and
1.

A canary that fails every request must not wait for the sample that an asymptotic interval needs; and two arms without any
failure have no variance, so that an asymptotic interval of them has the width 0 and would pass anything. Both are covered here,
by martingales:

Whether the treatment's share lies above `margin + (1 + relative margin) control` is told by universal inference: the arms'
likelihood mixed over Jeffreys' priors, over the largest likelihood that the null allows; steps multiply.

How large a share may be is told by sub-Bernoulli sums, of values in [0, 1]: exp(l k - n ln(1 - p + p exp l)) mixed over fixed l
< 0. There p may change over time; the bound is for its mean.

Sources: Wasserman, Ramdas and Balakrishnan (2020), universal inference; Ramdas, Grünwald, Vovk and Shafer (2023), e-processes;
Howard, Ramdas, McAuliffe and Sekhon (2021), sub-Bernoulli sums.
"""

from __future__ import annotations

import numpy as np

from backend.experiments.statistics.moments import Floats, Moments

_STEPS = 60
_RATES = np.concatenate([-np.geomspace(1e-5, 12.0, 45), [-60.0]])
"""The rates l; the last stands for minus infinity, which serves a share of which nothing was seen."""


def worse(control: Moments, treatment: Moments, *, margin: float = 0.0, relative: float = 0.0) -> Floats:
    """ln of the e-process against "in every step the treatment's share is at most margin + (1 + relative) control's".

    It ever reaches ln(1 / alpha) with chance alpha at most, if units of a step and arm are alike and independent. Values are 0
    and 1, and 1 is bad; the last axis is steps.
    """
    from scipy.special import betaln, xlog1py, xlogy

    k0, k1 = (np.rint(one.n * one.value) for one in (control, treatment))
    o0, o1 = control.n - k0, treatment.n - k1
    slope = 1 + relative
    p = _least_guilty(k0, o0, k1, o1, margin, slope)
    q = np.clip(margin + slope * p, 0.0, 1.0)
    bounded = xlogy(k0, p) + xlog1py(o0, -p) + xlogy(k1, q) + xlog1py(o1, -q)
    free = sum(xlogy(k, k / n) + xlog1py(o, -k / n) for k, o in ((k0, o0), (k1, o1)) for n in [np.maximum(k + o, 1.0)])
    allowed = k1 * np.maximum(control.n, 1) <= (margin * np.maximum(control.n, 1) + slope * k0) * treatment.n
    mixed = sum(betaln(k + 0.5, o + 0.5) - betaln(0.5, 0.5) for k, o in ((k0, o0), (k1, o1)))
    return np.asarray((mixed - np.where(allowed, free, bounded)).sum(-1))


def _least_guilty(k0: Floats, o0: Floats, k1: Floats, o1: Floats, margin: float, slope: float) -> Floats:
    """The control's share that explains the counts best where the treatment's is just what is allowed: the zero of a falling
    slope."""
    low, high = np.zeros_like(k0), np.full_like(k0, min(1.0, (1 - margin) / slope))
    for _ in range(_STEPS):
        p = (low + high) / 2
        q = margin + slope * p
        with np.errstate(divide="ignore", invalid="ignore"):
            rising = k0 / p - o0 / (1 - p) + slope * k1 / q - slope * o1 / (1 - q) > 0
        low, high = np.where(rising, p, low), np.where(rising, high, p)
    return (low + high) / 2


def share_upper(total: Floats, n: Floats, alpha: float) -> Floats:
    """The largest mean that n values in [0, 1] with this total may have; at every look with chance 1 - alpha. 1 where there are
    none."""
    low, high = np.where(n > 0, total / np.maximum(n, 1), 1.0), np.ones_like(n)
    for _ in range(_STEPS):
        p = (low + high) / 2
        inside = _evidence(total, n, p) < -np.log(alpha)
        low, high = np.where(inside, p, low), np.where(inside, high, p)
    return high


def _evidence(total: Floats, n: Floats, p: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        each = total[..., None] * _RATES - n[..., None] * np.log1p(p[..., None] * np.expm1(_RATES))
    most = each.max(-1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(np.isinf(most), most, most + np.log(np.exp(each - most[..., None]).mean(-1))))


def difference_upper(control: Moments, treatment: Moments, alpha: float) -> Floats:
    """The largest that the (`precise`) difference of shares may be, whatever the control's is: the treatment's share at most.

    A step's weight is the treatment's units times the control's part of that step, so that the weighted mean of shares is at
    most the treatment's units over the sum of weights times their plain mean.
    """
    total, n = (treatment.n * treatment.value).sum(-1), treatment.n.sum(-1)
    both = treatment.n + control.n
    weight = (treatment.n * control.n / np.maximum(both, 1)).sum(-1)
    upper = share_upper(total, n, alpha) * n / np.where(weight > 0, weight, 1.0)
    return np.asarray(np.where(weight > 0, np.minimum(upper, 1.0), 1.0))
