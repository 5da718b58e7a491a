"""The variance of a difference whose units stand in several strata: of each unit, what it adds in all of them is one term.

With the residual e of a unit in stratum s (`statistics.estimates`), share w_s / W and n units of its arm there, the variance is
the sum over units of (sum over their strata of share * sign * (e - mean e) / n)^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from backend.experiments.comparing import unit_rows
from backend.experiments.comparing.counts import Asked
from backend.experiments.comparing.unit_rows import UNITS, Shape
from backend.experiments.designs.unit_sql import Counted as Ratio
from backend.experiments.statistics.estimates import FEWEST, Estimate
from backend.experiments.statistics.moments import Floats, Moments


class Weights(NamedTuple):
    """What a unit's value, denominator, covariate and itself add: (arms, strata) each, to the difference and the control."""

    difference: tuple[Floats, Floats, Floats, Floats]
    control: tuple[Floats, Floats, Floats, Floats]


def weights(cells: Moments, arm: int, found: Estimate, one: Ratio, shape: Shape) -> Weights:
    """Of one ratio and treatment; all 0 in strata that the estimate leaves out."""
    ratio = shape.window != 0
    control, treatment = cells.cell(0), cells.cell(arm)
    kept = (control.n >= FEWEST) & (treatment.n >= FEWEST)
    n0, n1 = (np.where(kept, each.n, 1.0) for each in (control, treatment))
    w = np.where(kept, n0 * n1 / (n0 + n1), 0.0)
    share = w / w.sum() if w.sum() else w
    theta = float(found.theta) if one.adjusted and np.isfinite(found.theta) else 0.0
    split = n1 / (n0 + n1)
    made = [[np.zeros(cells.n.shape) for _ in range(4)] for _ in range(2)]
    for place, each, n, sign, plain, part in ((0, control, n0, -1.0, 1.0, -split), (arm, treatment, n1, 1.0, 0.0, split)):
        below = float((share * each.denominator).sum()) if ratio else 1.0
        level = float((share * each.value).sum()) / below if ratio and below else 0.0
        for target, own, covariate in ((0, sign, -sign * theta), (1, plain, theta * part)):
            value = share / n * own / (below or 1.0)
            made[target][0][place] = value
            made[target][1][place] = -value * level
            made[target][2][place] = share / n * covariate
            made[target][3][place] = -(
                value * each.value - value * level * each.denominator + share / n * covariate * each.covariate
            )
    whole = [tuple(np.where(np.isfinite(each), each, 0.0) for each in some) for some in made]
    return Weights((whole[0][0], whole[0][1], whole[0][2], whole[0][3]), (whole[1][0], whole[1][1], whole[1][2], whole[1][3]))


def statement(told: Sequence[tuple[Ratio, int, Weights]], centres: Sequence[float], asked: Asked, segment: int | None) -> str:
    """One scan of the rows for several ratios: `aa0`, `ab0`, `bb0` and so on."""
    names = [f"{which}{number}{part}" for number in range(len(told)) for which in "ab" for part in "vdc1"]
    rows = ", ".join(
        f"({stratum.generation}, {place}, {', '.join(_of(each, place, at) for _, _, each in told)})"
        for at, stratum in enumerate(asked.strata)
        for place in range(len(asked.arms))
    )
    arms = ", ".join(f"WHEN ${place + 1} THEN {place}" for place in range(len(asked.arms))).replace(", WHEN", " WHEN")
    inner = ", ".join(
        f"sum({_line(number, which, one, place, centres[place], asked)}) AS {which}{number}"
        for number, (one, place, _) in enumerate(told)
        for which in "ab"
    )
    outer = ", ".join(
        f"sum(a{n} * a{n}) AS aa{n}, sum(a{n} * b{n}) AS ab{n}, sum(b{n} * b{n}) AS bb{n}" for n in range(len(told))
    )
    where = "" if segment is None else f" AND s{segment}"
    return f"""
WITH weights(generation, place, {", ".join(names)}) AS (VALUES {rows})
SELECT {outer} FROM (
    SELECT unit, {inner} FROM {UNITS} JOIN weights
    ON weights.generation = {UNITS}.generation AND weights.place = CASE arm {arms} END
    WHERE NOT crossed{where} GROUP BY unit
)
"""  # noqa: S608 - text and numbers of ours


def _of(each: Weights, place: int, at: int) -> str:
    return ", ".join(f"{float(part[place, at])!r}::DOUBLE" for some in each for part in some)


def _line(number: int, which: str, one: Ratio, place: int, centre: float, asked: Asked) -> str:
    covariate = f" + {which}{number}c * {unit_rows.covariate(place)}" if one.adjusted else ""
    sum_of = (
        f"{which}{number}v * {unit_rows.centred(place, centre)} + {which}{number}d * d{place} + {which}{number}1{covariate}"
    )
    return f"CASE WHEN {unit_rows.mature(one, asked.shape)} AND v{place} IS NOT NULL THEN {sum_of} ELSE 0 END"
