"""How often the statistics of experiments are wrong when somebody looks on every tick, and how soon a planted regression is
found.

Two thousand A/A experiments of each kind, by the code that analyses real ones: what is simulated are units, by tick, arm and
step of the ramp; their sums go through `moments`, `estimates`, `sequences`, `spending`, `exact` and `mismatch`. A share of
experiments that ever alarmed stands beside its nominal value and its binomial error.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from backend.experiments.statistics import exact, mismatch, planning, sequences, spending
from backend.experiments.statistics.estimates import FEWEST, Estimate, estimate
from backend.experiments.statistics.moments import Bools, Floats, Moments, of_sums
from backend.experiments.statistics.planning import Asked
from benchmarks.harness import progress
from benchmarks.machine import facts
from benchmarks.results import Figure, Result

Kind = Literal["normal", "binomial", "rare", "lognormal", "capped", "ratio", "covariate", "returning"]
Split = Literal["half", "ramp"]
KINDS: tuple[Kind, ...] = ("normal", "binomial", "rare", "lognormal", "capped", "ratio", "covariate")
SPLITS: Mapping[Split, tuple[float, ...]] = {"half": (0.5,), "ramp": (0.01, 0.05, 0.25, 0.5)}
SHARES = {"binomial": 0.1, "rare": 0.01}
ALPHA = 0.05
CAP = math.exp(1.5 * 2.326)
CHUNK = 100
LEVELS = (0.0, 1.0, -0.5, 2.0)
"""By how much steps differ from each other, whatever the arm: a split that changes would turn it into an effect."""


@dataclass(frozen=True)
class Size:
    """Of one simulation."""

    experiments: int = 2000
    ticks: int = 200
    units: int = 200


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--experiments", type=int, default=2000, help="of each kind and split (%(default)s)")
    parser.add_argument("--ticks", type=int, default=200, help="looks of each (%(default)s)")
    parser.add_argument("--units", type=int, default=200, help="that come in a tick, over both arms (%(default)s)")


def run(options: argparse.Namespace) -> Result:
    """Simulates everything once; it is random, but always the same."""
    size = Size(options.experiments, options.ticks, options.units)
    figures, began = list[Figure](), time.process_time()
    cases: list[tuple[Kind, Split]] = [(kind, split) for kind in KINDS for split in SPLITS]
    for kind, split in [*cases, ("returning", "ramp")]:
        progress(f"A/A: {kind}, {split}")
        found = false_alarms(kind, split, size)
        figures += [Figure(f"A/A {kind}, {split}: {name}", "countersign", "share", (one,)) for name, one in found.items()]
    for name, one in clustered_alarms(size).items():
        figures.append(Figure(f"A/A returning, ramp, variance by unit: {name}", "countersign", "share", (one,)))
    for name, one in planted(size).items():
        figures.append(Figure(f"planted: {name}", "countersign", "", (one,)))
    error = math.sqrt(ALPHA * (1 - ALPHA) / size.experiments)
    return Result(
        benchmark="aa_simulation",
        settings=vars(size),
        machine=facts(["numpy", "scipy"]),
        figures=figures,
        notes=(f"nominal {ALPHA:g}, of mismatches 0.001; binomial error of a share of {ALPHA:g}: {error:.4f}",),
        headline={"cpu_seconds": time.process_time() - began},
    )


def false_alarms(kind: Kind, split: Split, size: Size, *, seed: int = 7) -> dict[str, float]:
    """Shares of A/A experiments that ever alarmed, by method."""
    counts, done = dict[str, int](), 0
    for control, treatment in looks(kind, split, size, seed=seed):
        found = estimate(control, treatment, ratio=kind == "ratio", adjusted=kind == "covariate")
        ever = {**_asymptotic(found, kind, split, size), **_of_counts(control, treatment, split)}
        if kind in SHARES:
            ever["exact test, one side"] = np.asarray((exact.worse(control, treatment) >= -math.log(ALPHA)).any(-1))
        for name, one in ever.items():
            counts[name] = counts.get(name, 0) + int(one.sum())
        done += control.shape[0]
    return {name: one / done for name, one in counts.items()}


def _asymptotic(found: Estimate, kind: Kind, split: Split, size: Size) -> dict[str, Bools]:
    tuned = {sides: tuning_of(kind, split, size, sides) for sides in ("two", "one")}
    counts = sequences.settled(found)
    enough = np.minimum(found.n_control, found.n_treatment) >= sequences.FEWEST_UNITS
    two = sequences.interval(found, tuned["two"], ALPHA)
    one = sequences.interval(found, tuned["one"], ALPHA, "one")
    naive = sequences.fixed(found, ALPHA)
    z = found.difference / np.where(found.variance > 0, found.error, np.inf)
    outside = (two.low > 0) | (two.high < 0)
    found_naive = (naive.low > 0) | (naive.high < 0)
    ever = {
        "usual interval, every look": enough & found_naive,
        "usual interval, last look": found_naive[:, -1:],
        "sequence, two sides": counts & outside,
        "sequence, two sides, skewed too": enough & outside,
        "sequence, one side, false fail": counts & (one.low > 0),
        "sequence, one side, false pass": counts & (one.high < 0),
        "sequence, one side, false pass, skewed too": enough & (one.high < 0),
        "O'Brien-Fleming": counts & (np.abs(z) > _limits(found, "obrien_fleming")),
        "Pocock": counts & (np.abs(z) > _limits(found, "pocock")),
        "settled at the end": counts[:, -1:],
    }
    return {name: np.asarray(one.any(-1)) for name, one in ever.items()}


def _of_counts(control: Moments, treatment: Moments, split: Split) -> dict[str, Bools]:
    counts = np.stack([control.n, treatment.n], -1)
    theta = np.array([[1 - one, one] for one in SPLITS[split]])
    ever = mismatch.log_evidence(counts, np.broadcast_to(theta, counts.shape)) >= -math.log(mismatch.ALPHA)
    return {"mismatch, every look": np.asarray(ever.any(-1))}


def _limits(found: Estimate, shape: spending.Shape) -> Floats:
    """One schedule for all experiments: the mean sample at each look, the last being the plan."""
    weights = np.nan_to_num(found.weight).mean(0)
    plan = spending.Plan(ALPHA, float(weights[-1]), shape)
    every = [spending.Look(float(one), float(one)) for one in weights]
    counted = spending._counted(plan, every)
    by = dict(zip(counted, spending.bounds(tuple(counted), plan), strict=True))
    return np.array([by.get(one, math.inf) for one in every])


def tuning_of(kind: Kind, split: Split, size: Size, sides: sequences.Sides) -> sequences.Tuning:
    """Tightest at two thirds of the whole, by the kind's true variance."""
    shares = SPLITS[split]
    weight = size.ticks * size.units * sum(one * (1 - one) for one in shares) / len(shares)
    variance = {"binomial": 0.09, "rare": 0.0099, "lognormal": math.exp(4.5) - math.exp(2.25), "capped": 20.0, "ratio": 0.0047}
    wanted = variance.get(kind, 0.51 if kind == "covariate" else 1.0)
    return planning.tuning(wanted, weight, Asked(alpha=ALPHA, sides=sides))


def looks(kind: Kind, split: Split, size: Size, *, seed: int, harm: float = 0.0) -> Iterator[tuple[Moments, Moments]]:
    """Control and treatment of a hundred experiments at a time, of shape (experiments, looks, steps), as known at each look."""
    random = np.random.default_rng([seed, sum(map(ord, kind)), len(split)])
    for start in range(0, size.experiments, CHUNK):
        shape = (min(CHUNK, size.experiments - start), size.ticks, size.units)
        drawn, treated = _units(kind, split, shape, random, harm)
        yield _known(drawn, ~treated, len(SPLITS[split])), _known(drawn, treated, len(SPLITS[split]))


def _units(
    kind: Kind, split: Split, shape: tuple[int, int, int], random: np.random.Generator, harm: float
) -> tuple[dict[str, Floats], Bools]:
    """Values of units by tick, and who is treated."""
    shares = SPLITS[split]
    step = np.arange(shape[1]) * len(shares) // shape[1]
    chance: Floats = random.random(shape)
    normal: Floats = random.standard_normal(shape)
    if kind == "returning":  # the same units come in every step; a unit that was treated stays so while the split grows
        many = shape[1] // len(shares)
        own: Floats = random.standard_normal(shape)
        chance, own = (np.asarray(np.tile(one[:, :many], (1, len(shares), 1))) for one in (chance, own))
        normal = 0.9 * own + math.sqrt(1 - 0.81) * normal
    treated = chance < np.array(shares)[step][None, :, None]
    drawn = _values(kind, normal, random, shape)
    level = np.array(LEVELS)[step] if len(shares) > 1 and kind in ("normal", "covariate", "returning") else np.zeros(shape[1])
    return {**drawn, "value": drawn["value"] + level[None, :, None] + harm * treated}, treated


def _values(kind: Kind, normal: Floats, random: np.random.Generator, shape: tuple[int, int, int]) -> dict[str, Floats]:
    if kind in SHARES:
        return {"value": (random.random(shape) < SHARES[kind]).astype(np.float64)}
    if kind in ("lognormal", "capped"):
        values = np.exp(1.5 * normal)
        return {"value": np.minimum(values, CAP) if kind == "capped" else values}
    if kind == "ratio":
        requests = 1 + np.floor(-3 * np.log1p(-random.random(shape)))
        return {"value": requests * 0.1 * np.exp(0.5 * normal), "denominator": requests}
    if kind == "covariate":
        before = random.standard_normal(shape)
        return {"value": 0.7 * before + math.sqrt(0.51) * normal, "covariate": before}
    return {"value": normal}


def _known(drawn: Mapping[str, Floats], here: Bools, steps: int) -> Moments:
    """One arm's sums by step as they were known at each look."""
    masked = {name: np.where(here, one, 0.0) for name, one in drawn.items()}
    sums = {"n": here.sum(-1).astype(np.float64), **{name: one.sum(-1) for name, one in masked.items()}}
    for a in masked:
        for b in masked:
            if (name := a[0] + b[0]) in ("vv", "vd", "vc", "dd", "dc", "cc"):
                sums[name] = (masked[a] * masked[b]).sum(-1)
    sums["vvv"] = (masked["value"] ** 3).sum(-1)
    return of_sums({name: _by_step(one, steps) for name, one in sums.items()})


def _by_step(ticks: Floats, steps: int) -> Floats:
    step = np.arange(ticks.shape[1]) * steps // ticks.shape[1]
    return np.stack([np.where(step == one, ticks, 0.0).cumsum(1) for one in range(steps)], -1)


def clustered_alarms(size: Size, *, seed: int = 7) -> dict[str, float]:
    """As `false_alarms` of units that come back, with the variance in which a unit's steps are one term."""
    counts, random = dict[str, int](), np.random.default_rng([seed, sum(map(ord, "returning")), len(SPLITS["ramp"])])
    for start in range(0, size.experiments, CHUNK):
        shape = (min(CHUNK, size.experiments - start), size.ticks, size.units)
        drawn, treated = _units("returning", "ramp", shape, random, 0.0)
        control, treatment = (_known(drawn, here, len(SPLITS["ramp"])) for here in (~treated, treated))
        plain = estimate(control, treatment)
        found = replace(plain, variance=plain.variance + _together(drawn["value"], treated, control, treatment))
        for name, one in _asymptotic(found, "returning", "ramp", size).items():
            counts[name] = counts.get(name, 0) + int(one.sum())
    return {name: one / size.experiments for name, one in counts.items()}


def _together(value: Floats, treated: Bools, control: Moments, treatment: Moments) -> Floats:
    """At each look, twice the sum over units and pairs of their steps of what they add in both."""
    steps = len(SPLITS["ramp"])
    many = value.shape[1] // steps
    n0, n1 = control.n, treatment.n
    kept = (n0 >= FEWEST) & (n1 >= FEWEST)
    w = np.where(kept, n0 * n1 / np.maximum(n0 + n1, 1.0), 0.0)
    share = w / np.maximum(w.sum(-1, keepdims=True), 1e-300)
    whole = np.zeros(value.shape[:2])
    for later in range(1, steps):
        for earlier in range(later):
            for arms in ((0, 0), (0, 1), (1, 1)):
                first, second = (slice(one * many, (one + 1) * many) for one in (earlier, later))
                here = (treated[:, first] == bool(arms[0])) & (treated[:, second] == bool(arms[1]))
                x, y = value[:, first], value[:, second]
                sums = [_so_far((here * one).sum(-1), later * many, value.shape[1]) for one in (x * y, x, y, np.ones_like(x))]
                (mx, nx), (my, ny) = (
                    (cells.value[..., step], np.maximum(cells.n[..., step], 1.0))
                    for cells, step in (((control, treatment)[arms[0]], earlier), ((control, treatment)[arms[1]], later))
                )
                joint = sums[0] - mx * sums[2] - my * sums[1] + sums[3] * mx * my
                sign = 1.0 if arms[0] == arms[1] else -1.0
                whole += 2 * sign * share[..., earlier] * share[..., later] * joint / nx / ny
    return whole


def _so_far(ticks: Floats, begins: int, looks: int) -> Floats:
    """Sums by tick of one step, as they were known at each look."""
    known = np.zeros((ticks.shape[0], looks))
    known[:, begins : begins + ticks.shape[1]] = ticks
    return np.asarray(known.cumsum(1))


def planted(size: Size, *, seed: int = 11) -> dict[str, float]:
    """Regressions that a fixed sample of 45 % of all units would find with 80 % power: how many are found, and after which part
    of it."""
    found = dict[str, float]()
    for split in SPLITS:
        shares = SPLITS[split]
        weight = size.ticks * size.units * sum(one * (1 - one) for one in shares) / len(shares)
        optimum = 0.45 * weight
        for sides in ("two", "one"):
            asked = Asked(alpha=ALPHA, sides=sides, design="fixed")
            harm = planning.detectable(1.0, optimum, asked)
            stopped = _stopped(split, size, harm, sides, seed)
            name = f"normal, {split}, {sides} side(s)"
            found[f"{name}: found"] = float(np.isfinite(stopped).mean())
            found[f"{name}: weight when found over the fixed optimum"] = float(np.minimum(stopped, weight).mean() / optimum)
            planned = planning.inflation(Asked(alpha=ALPHA, sides=sides))
            found[f"{name}: the same, of a plan that ends at 80 % power"] = planned[1]
    return found | _broken(size, seed)


def _stopped(split: Split, size: Size, harm: float, sides: sequences.Sides, seed: int) -> Floats:
    """The weight at which each experiment was found; infinite where it was not."""
    stopped = list[Floats]()
    for control, treatment in looks("normal", split, size, seed=seed, harm=harm):
        one = estimate(control, treatment)
        crossed = sequences.settled(one) & (
            sequences.interval(one, tuning_of("normal", split, size, sides), ALPHA, sides).low > 0
        )
        first = crossed.argmax(-1)
        stopped.append(np.where(crossed.any(-1), one.weight[np.arange(len(first)), first], np.inf))
    return np.concatenate(stopped)


def _broken(size: Size, seed: int) -> dict[str, float]:
    """A canary at 1 % that fails three of ten where the champion fails one of a hundred, by the exact test at 1 %, margin 1
    %."""
    random = np.random.default_rng(seed)
    treated = (
        random.binomial(max(size.units // 100, 1), 1.0, (size.experiments, size.ticks)).cumsum(-1)[..., None].astype(float)
    )
    others = treated * 99
    failed = random.binomial(1, 0.3, treated.shape[:2]) + random.binomial(1, 0.3, treated.shape[:2])
    k1 = np.minimum(failed.cumsum(-1)[..., None], treated)
    k0 = random.binomial(99, 0.01, (*treated.shape[:2], 2)).sum(-1).cumsum(-1)[..., None]
    control, treatment = (of_sums({"n": n, "value": k, "vv": k, "vvv": k}) for n, k in ((others, k0), (treated, k1)))
    crossed = exact.worse(control, treatment, margin=0.01) >= -math.log(0.01)
    units = treated[np.arange(len(treated)), crossed.argmax(-1), 0]
    return {
        "broken canary, exact: found": float(crossed.any(-1).mean()),
        "broken canary, exact: its units": float(units.mean()),
    }
