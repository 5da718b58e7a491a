"""What is kept of units: counts, means and sums of products by arm and step. Whatever is asked later is asked of these.

A cell is one arm in one step of a ramp (a stratum: a stretch of time with one split). A unit lies in one cell, the one of its
first exposure, with one value, and lies in it from when its outcome is mature; until then it is only counted as waiting.

Sums are kept around the mean, so that values of the size 1e9 that differ by 1 keep their variance. All fields are arrays of
one shape, whose last axis is strata wherever strata are summed: one cell, or two thousand simulated experiments, are the same
code.

Sources: Chan, Golub and LeVeque (1983), Pebay (2008) for adding central sums; the choice of what is kept follows the
`Aggregates` of tea-tasting (count, means, variances, covariances), with the third sum of the value besides, which tells how
skewed it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

VARIABLES = ("value", "denominator", "covariate")
PRODUCTS = {f"{a[0]}{b[0]}": (a, b) for a, b in combinations_with_replacement(VARIABLES, 2)}
"""`vv`, `vd` and so on, with the two variables of each."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Cells of units.

    Args:
        n: units whose outcome is mature.
        waiting: units that were exposed and whose outcome is not mature yet; they are in nothing else.
        lost: units whose time is up without an outcome; they are in nothing else either, so that who is lost is a question of
            its own (`mismatch.lost`).
        value, denominator, covariate: means. The denominator of a metric that is no ratio is 1 for every unit; a covariate is
            something of the unit from before its exposure, and a constant where there is none.
        vv, vd, vc, dd, dc, cc: sums of products of two variables around their means.
        vvv: sum of the cubes of the value around its mean.
    """

    n: Floats
    waiting: Floats
    lost: Floats
    value: Floats
    denominator: Floats
    covariate: Floats
    vv: Floats
    vd: Floats
    vc: Floats
    dd: Floats
    dc: Floats
    cc: Floats
    vvv: Floats

    @property
    def shape(self) -> tuple[int, ...]:
        """Of every field."""
        return self.n.shape

    @property
    def finite(self) -> bool:
        """Whether every figure of every cell is a number; what is not counts as missing."""
        return all(bool(np.isfinite(getattr(self, one)).all()) for one in FIELDS)

    def __add__(self, other: Moments) -> Moments:
        """The cells of both, cell by cell."""
        return stacked([self, other]).total(axis=0)

    def total(self, axis: int = -1) -> Moments:
        """The sum of cells along an axis."""
        n = self.n.sum(axis)
        means = {one: _mean(self.n, getattr(self, one), n, axis) for one in VARIABLES}
        apart = {one: getattr(self, one) - np.expand_dims(mean, axis) for one, mean in means.items()}
        sums = {name: (getattr(self, name) + self.n * apart[a] * apart[b]).sum(axis) for name, (a, b) in PRODUCTS.items()}
        d = apart["value"]
        cubes = (self.vvv + 3 * d * self.vv + self.n * d**3).sum(axis)
        return Moments(n=n, waiting=self.waiting.sum(axis), lost=self.lost.sum(axis), **means, **sums, vvv=cubes)

    def cell(self, place: Any) -> Moments:
        """The cells at an index of NumPy's."""
        return Moments(**{one: np.asarray(getattr(self, one)[place]) for one in FIELDS})

    def to_json(self) -> dict[str, Any]:
        """JSON-able: numbers of one cell, lists of more."""
        return {one: getattr(self, one).tolist() for one in FIELDS}


FIELDS = tuple(one.name for one in fields(Moments))


def from_json(found: Mapping[str, Any]) -> Moments:
    """What `to_json` made. Raises ValueError for what cannot be moments: other shapes, no numbers, fewer than no units."""
    made = {one: np.asarray(found[one], dtype=np.float64) for one in FIELDS}
    if len({one.shape for one in made.values()}) > 1:
        raise ValueError("All fields of moments need the same shape.")
    moments = Moments(**made)
    squares = (moments.n, moments.waiting, moments.lost, moments.vv, moments.dd, moments.cc)
    if not moments.finite or any(bool((one < 0).any()) for one in squares):
        raise ValueError("Moments are finite numbers, and neither counts nor sums of squares are below 0.")
    return moments


def stacked(parts: list[Moments], axis: int = 0) -> Moments:
    """Cells of one shape beside each other, along a new axis."""
    return Moments(**{one: np.stack([getattr(part, one) for part in parts], axis) for one in FIELDS})


def of_units(value: npt.ArrayLike, denominator: npt.ArrayLike | None = None, covariate: npt.ArrayLike | None = None) -> Moments:
    """One cell from the values of its units (or cells, of which the last axis is units)."""
    v = np.asarray(value, dtype=np.float64)
    given = {"value": v, "denominator": np.ones_like(v), "covariate": np.zeros_like(v)}
    given |= {} if denominator is None else {"denominator": np.asarray(denominator, dtype=np.float64)}
    given |= {} if covariate is None else {"covariate": np.asarray(covariate, dtype=np.float64)}
    n = np.full(v.shape[:-1], float(v.shape[-1]))
    means = {one: np.asarray(held.mean(-1)) if v.shape[-1] else np.zeros(v.shape[:-1]) for one, held in given.items()}
    apart = {one: held - means[one][..., None] for one, held in given.items()}
    sums = {name: np.asarray((apart[a] * apart[b]).sum(-1)) for name, (a, b) in PRODUCTS.items()}
    cubes = np.asarray((apart["value"] ** 3).sum(-1))
    return Moments(n=n, waiting=np.zeros_like(n), lost=np.zeros_like(n), **means, **sums, vvv=cubes)


def of_sums(found: Mapping[str, npt.ArrayLike], shifts: Mapping[str, float] | None = None) -> Moments:
    """Cells from what `sql` selects: sums of shifted values. A column that was not selected is a denominator of 1 or no
    covariate.

    The shift of a variable should lie near its mean: what is lost is about (mean - shift)^2 / variance times 1e-16.
    """
    shifts = shifts or {}
    n = np.asarray(found["n"], dtype=np.float64)
    first = {one: _sum(found, one, n) for one in VARIABLES}
    with np.errstate(invalid="ignore", divide="ignore"):
        near = {one: np.where(n > 0, held / n, 0.0) for one, held in first.items()}
    means = {one: near[one] + shifts.get(one, 0.0) for one in VARIABLES}
    if "denominator" not in found:
        means["denominator"] = np.ones_like(n)
    sums = {name: _sum(found, name, n) - n * near[a] * near[b] for name, (a, b) in PRODUCTS.items()}
    squares = {one: np.maximum(sums[one], 0.0) for one in ("vv", "dd", "cc")}
    m = near["value"]
    cubes = _sum(found, "vvv", n) - 3 * m * _sum(found, "vv", n) + 2 * n * m**3
    others = {one: _sum(found, one, n) for one in ("waiting", "lost")}
    return Moments(n=n, **others, **means, **(sums | squares), vvv=cubes)


def sql(*, denominator: bool = False, covariate: bool = False, shifts: Mapping[str, float] | None = None) -> str:
    """The columns to select for `of_sums`, grouped by arm and step, from a table with one row a unit.

    That table has `value` (NULL where no outcome came), `denominator`, `covariate` and `mature`; its columns are doubles. A
    unit's rows are summed up into one before, or requests of one unit would pass for independent ones. Winsorising is done
    there: `least(greatest(value, low), high)`, with bounds that were fixed before. Where a covariate is NULL, a constant takes
    its place.
    """
    shifts = shifts or {}
    names = ("value", *(["denominator"] if denominator else []), *(["covariate"] if covariate else []))
    near = {one: f"({one} - {float(shifts.get(one, 0.0))!r})" for one in names}
    wanted = {one: near[one] for one in names}
    wanted |= {name: f"{near[a]} * {near[b]}" for name, (a, b) in PRODUCTS.items() if a in near and b in near}
    wanted["vvv"] = " * ".join([near["value"]] * 3)
    counted = "mature AND value IS NOT NULL"
    sums = [f"coalesce(sum({expression}) FILTER (WHERE {counted}), 0) AS {name}" for name, expression in wanted.items()]
    heads = {"n": counted, "waiting": "NOT mature", "lost": "mature AND value IS NULL"}
    return ", ".join([*(f"count(*) FILTER (WHERE {which}) AS {name}" for name, which in heads.items()), *sums])


def _sum(found: Mapping[str, npt.ArrayLike], name: str, n: Floats) -> Floats:
    return np.asarray(found[name], dtype=np.float64) if name in found else np.zeros_like(n)


def _mean(weights: Floats, values: Floats, n: Floats, axis: int) -> Floats:
    """The mean of means; 0 of nothing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(n > 0, (weights * values).sum(axis) / n, 0.0))
