"""What a look shows of arms, strata and effects beside its verdicts. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from backend.delivery.comparison import OF_OUTCOMES, Comparison, Metric
from backend.experiments.comparing import effects
from backend.experiments.comparing.counts import EVERYONE, Counts
from backend.experiments.comparing.figures import (
    ArmFigures,
    Effect,
    StratumFigures,
    number,
)
from backend.experiments.statistics import sequences
from backend.experiments.statistics.budget import holm
from backend.experiments.statistics.moments import Floats
from backend.experiments.statistics.reading import reading
from backend.experiments.statistics.sequences import Tuning


def arms(found: Counts, versions: Mapping[str, int]) -> tuple[ArmFigures, ...]:
    """Every arm with its units, requests and shares."""
    names, newest = found.asked.arms, found.asked.strata[-1].shares
    mine = {arm: [one for one in found.traffic if one.arm == arm] for arm in names}
    assigned = _shares({arm: sum(one.requests for one in mine[arm]) for arm in names})
    served = _shares({arm: sum(one.requests for each in mine.values() for one in each if one.served == arm) for arm in names})
    planned = _shares({arm: newest.get(arm, 0) for arm in names})
    lost = _lost(found)
    return tuple(
        ArmFigures(
            name=arm,
            version=versions.get(arm),
            control=place == 0,
            units=int(found.units[place].sum()),
            complete=int(found.complete[place].sum()),
            waiting=int((found.units - found.complete)[place].sum()),
            lost=int(lost[place]),
            crossed=int(found.crossed[place].sum()),
            requests=sum(one.requests for one in mine[arm]),
            failures=sum(one.failures for one in mine[arm]),
            fallbacks=sum(one.fallbacks for one in mine[arm]),
            planned=planned[arm],
            assigned=assigned[arm],
            served=served[arm],
        )
        for place, arm in enumerate(names)
    )


def _lost(found: Counts) -> Floats:
    places = [found.of_metric[one.name][0] for one in found.asked.comparison.metrics if one.kind in OF_OUTCOMES]
    cells = [found.cells[place, EVERYONE].lost.sum(-1) for place in places]
    return np.asarray(np.max(cells, axis=0)) if cells else np.zeros(len(found.asked.arms))


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    whole = sum(counts.values())
    return {name: one / whole if whole else 0.0 for name, one in counts.items()}


def strata(found: Counts) -> tuple[StratumFigures, ...]:
    """Every stratum with its shares and units."""
    arms = found.asked.arms
    return tuple(
        StratumFigures(
            generation=one.generation,
            shares={arm: one.shares.get(arm, 0) for arm in arms},
            units={arm: int(found.units[place, at]) for place, arm in enumerate(arms)},
            complete={arm: int(found.complete[place, at]) for place, arm in enumerate(arms)},
        )
        for at, one in enumerate(found.asked.strata)
    )


def every_effect(found: Counts) -> list[Effect]:
    """Every metric of every treatment and segment."""
    asked = found.asked.comparison
    segments = (EVERYONE, *(one.name for one in asked.segments))
    arms = range(1, len(found.asked.arms))
    return [_effect(found, one, arm, segment) for one in asked.metrics for arm in arms for segment in segments]


def _eta(asked: Comparison, metric: str) -> float | None:
    """The tuning that the plan has for a metric."""
    if asked.primary is not None and asked.primary.metric == metric and asked.primary.eta is not None:
        return asked.primary.eta
    return next((one.eta for one in asked.guardrails if one.metric == metric), None)


def _effect(found: Counts, metric: Metric, arm: int, segment: str) -> Effect:
    eta = _eta(found.asked.comparison, metric.name)
    if metric.kind == "latency":
        return _latency_effect(found, metric, arm, segment, eta)
    made = effects.of_metric(found, metric.name, arm, segment)
    distance = [abs(float(one.difference)) if math.isfinite(float(one.difference)) else -1.0 for one in made]
    most = int(np.argmax(distance))
    one, alpha = made[most], found.asked.comparison.alpha / len(made)
    cell = found.cells[found.of_metric[metric.name][most], segment]
    words = effects.unsettled([one]) or ("" if eta is not None else effects.UNTUNED)
    tuned = Tuning(eta or 1.0)
    plain, share = (effects.ends(one, tuned, alpha, "two", relative=each) for each in (False, True))
    better = reading(one.times(-1.0) if metric.better == "lower" else one)
    p = min(1.0, float(sequences.chance(one, tuned)) * len(made)) if not words else None
    return Effect(
        metric=metric.name,
        kind=metric.kind,
        treatment=found.asked.arms[arm],
        segment=segment,
        better=metric.better,
        control_value=number(one.control),
        treatment_value=number(one.treatment),
        difference=number(one.difference),
        low=number(plain.low) if not words else None,
        high=number(plain.high) if not words else None,
        relative=number(share.value),
        relative_low=number(share.low) if not words else None,
        relative_high=number(share.high) if not words else None,
        p=p,
        adjusted_p=None,
        n_control=int(cell.n[0].sum()),
        n_treatment=int(cell.n[arm].sum()),
        waiting=int(cell.waiting[[0, arm]].sum()),
        lost=int(cell.lost[[0, arm]].sum()),
        unsettled=words,
        better_chance=number(better.better),
        loss_of_treatment=number(better.loss_of_treatment),
    )


def _latency_effect(found: Counts, metric: Metric, arm: int, segment: str, eta: float | None) -> Effect:
    alpha = found.asked.comparison.alpha
    one = effects.latency(found, metric, arm, segment, Tuning(eta or 1.0), alpha, "two")
    counts = [int(found.bins[segment][where].n.sum()) for where in (0, arm)]
    words = "" if one.enough else "too few requests lie beyond that quantile in the smaller arm"
    words = words or ("" if eta is not None else effects.UNTUNED)
    return Effect(
        metric=metric.name,
        kind=metric.kind,
        treatment=found.asked.arms[arm],
        segment=segment,
        better=metric.better,
        control_value=number(one.control),
        treatment_value=number(one.treatment),
        difference=number(one.difference),
        low=number(one.interval.low) if not words else None,
        high=number(one.interval.high) if not words else None,
        relative=number(one.difference / one.control) if one.control > 0 else None,
        relative_low=None,
        relative_high=None,
        p=None,
        adjusted_p=None,
        n_control=counts[0],
        n_treatment=counts[1],
        waiting=0,
        lost=0,
        unsettled=words,
        better_chance=None,
        loss_of_treatment=None,
    )


def with_holm(made: Sequence[Effect]) -> list[Effect]:
    """p-values of everyone's, adjusted over all metrics and treatments that may be news."""
    adjusted = holm({place: one.p for place, one in enumerate(made) if one.segment == EVERYONE and one.p is not None})
    return [one.model_copy(update={"adjusted_p": adjusted.get(place)}) for place, one in enumerate(made)]
