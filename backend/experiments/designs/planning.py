"""From a design and what was measured to the plan's comparison, and to what that comparison will be able to see.

The formulas are `statistics.planning`'s. What is added here is which alpha each figure gets (`statistics.budget`), how a
margin is said in the unit that variances are in, and what a ramp's steps come to together:

- Where a unit counts once, steps bring different units, and their weights add up.
- Where it counts in each step (a ramp), the same units come again. How alike they stay is not known beforehand, so the worst is
  planned for: that a unit does the same each time. Then the covariance of two steps is at most that of the larger one, and the
  steps' weights w come to (sum w)^2 / (sum over pairs of min(w, w')).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from backend.core.errors import Refusal
from backend.delivery.comparison import Comparison, Guardrail, Primary
from backend.delivery.plan import BUCKETS, Plan
from backend.experiments.designs.goals import Goal, eta_of, goal_of, variance_of
from backend.experiments.designs.measured import Measured
from backend.experiments.designs.spec import Design, metrics_asked
from backend.experiments.designs.views import Figure, PlanView, Point
from backend.experiments.statistics.planning import (
    Planned,
    Step,
    Traffic,
    detectable,
    plan_test,
    refusal,
    weight_needed,
)
from backend.policy.guardrails import GuardrailAsked

DAY = 86_400.0
MOST_RAMP_DAYS = 28.0
"""How long a ramp may wait for what its guardrails need before it is refused as blind."""


@dataclass(frozen=True)
class Stage:
    """Some time under one split; shares are of all units of the endpoint, from 0 to 1."""

    seconds: float
    control: float
    treatments: Mapping[str, float]


@dataclass(frozen=True)
class _End:
    """The end of a stage. `weight` is what a variance is divided by; `sum` what tunings are made of."""

    units: float
    days: float
    weight: float
    sum: float


@dataclass(frozen=True)
class _Course:
    """What the treatment that gets least comes to, stage by stage, its shares in the last one, and how many there are."""

    arms: int
    arm: str
    ends: tuple[_End, ...]
    treatment: float
    control: float


def comparison_of(design: Design, slug: str, measured: Measured) -> Comparison:
    """The comparison of an experiment, tuned. Refusal `not-measured` where it cannot be made without figures that are not
    there: cuts of predictions that nobody named, or the end of a group-sequential design."""
    weight = _course(_draft(design, slug, measured, 1.0), stages_of_design(design), measured.traffic).ends[-1].sum
    if design.looks != "sequence" and not weight > 0:
        raise _not_measured("where a group-sequential design ends", measured.why or "no traffic was seen", "Look by `sequence`")
    return tuned(_draft(design, slug, measured, weight), stages_of_design(design), measured)


def rollout_comparison(guardrails: Sequence[GuardrailAsked], measured: Measured) -> Comparison | None:
    """The comparison of a rollout's own guardrails, not yet tuned; None without any. Refusal `not-measured` as above."""
    asked = metrics_asked(tuple(guardrails))
    if not asked:
        return None
    for one in asked:
        if one.kind == "predictions" and not measured.cuts:
            raise _no_cuts(one.name, measured)
    told = [Guardrail(metric=one.name, margin=one.margin, relative=one.relative, on_fail=one.on_fail) for one in guardrails]
    try:
        metrics = tuple(one.metric(measured.cuts) for one in asked)
        return Comparison(counts="each_step", window_seconds=None, metrics=metrics, guardrails=tuple(told))
    except ValidationError as error:
        says = str(error.errors(include_url=False, include_input=False)[0]["msg"]).removeprefix("Value error, ")
        raise Refusal(f"These guardrails do not go together: {says}.", "Correct them.", code="bad-guardrail") from error


def stages_of_design(design: Design) -> tuple[Stage, ...]:
    """An experiment's one split, for as long as it is planned to take."""
    shares = {f"v{one.version}": one.share / BUCKETS for one in design.arms}
    return (Stage(design.planned_days * DAY, design.control_share / BUCKETS, shares),)


def stages_of(plan: Plan, *, last_seconds: float = 0.0) -> tuple[Stage, ...]:
    """The steps of a plan in which something is compared with its control.

    Args:
        last_seconds: how long arms go on sharing the traffic after the last step, as in an experiment.
    """
    if plan.comparison is None or plan.comparison.control is None:
        return ()
    control, treatments = plan.comparison.control, plan.treatments
    found = []
    for place, step in enumerate(plan.steps):
        seconds = last_seconds if place == len(plan.steps) - 1 else float(step.hold_seconds)
        shares = {name: step.shares[name] / BUCKETS for name in treatments if step.shares.get(name)}
        if step.shares.get(control) and shares and (seconds or place < len(plan.steps) - 1):
            found.append(Stage(seconds, step.shares[control] / BUCKETS, shares))
    return tuple(found)


def tuned(comparison: Comparison, stages: Sequence[Stage], measured: Measured) -> Comparison:
    """The comparison with unit variances, tunings and planned weight, as far as they are known; what is not stays as it was."""
    course = _course(comparison, stages, measured.traffic)
    weight = course.ends[-1].sum if course.ends else 0.0
    metrics = tuple(one.model_copy(update={"unit_variance": measured.of(one.name).unit_variance}) for one in comparison.metrics)
    guardrails = tuple(
        one.model_copy(update={"eta": _eta(comparison, one, course, weight, measured)}) for one in comparison.guardrails
    )
    primary = comparison.primary
    if primary is not None:
        primary = primary.model_copy(update={"eta": _eta(comparison, primary, course, weight, measured)})
    planned = weight if comparison.design != "sequence" and weight > 0 else comparison.planned_weight
    return comparison.model_copy(
        update={"metrics": metrics, "guardrails": guardrails, "primary": primary, "planned_weight": planned}
    )


def plan(comparison: Comparison, stages: Sequence[Stage], measured: Measured, *, most_days: float | None = None) -> PlanView:
    """What a comparison can see on its way through these stages.

    Args:
        most_days: how long the last stage may be held to see what matters, as a ramp's is that waits for its guardrails; None:
            what is not seen by the end of the stages is never seen.
    """
    course = _course(comparison, stages, measured.traffic)
    goals: list[Primary | Guardrail] = [*([comparison.primary] if comparison.primary else []), *comparison.guardrails]
    figures = tuple(_figure(comparison, one, course, measured, most_days) for one in goals)
    end = course.ends[-1] if course.ends else _End(0.0, 0.0, 0.0, 0.0)
    return PlanView(figures, measured.traffic.lately, end.units, end.days, end.sum, measured.to_json())


def _draft(design: Design, slug: str, measured: Measured, weight: float) -> Comparison:
    for one in design.metrics:
        if one.kind == "predictions" and not (one.cuts or measured.cuts):
            raise _no_cuts(one.name, measured)
    return design.comparison(slug, cuts=measured.cuts, planned_weight=weight)


def _no_cuts(name: str, measured: Measured) -> Refusal:
    return _not_measured(
        f"where the predictions of {name} are to be cut",
        measured.why or "none that is in the log is a number that differs from others",
        "Name its cuts",
    )


def _not_measured(what: str, why: str, remedy: str) -> Refusal:
    return Refusal(f"It is not known {what}: {why}.", f"{remedy}, or let the champion be measured first.", code="not-measured")


def _course(comparison: Comparison, stages: Sequence[Stage], traffic: Traffic) -> _Course:
    arms = sorted({name for one in stages for name, share in one.treatments.items() if share > 0})
    if not arms:
        return _Course(0, "", (), 0.0, 0.0)
    found = (_course_of(comparison, stages, traffic, one) for one in arms)
    return replace(min(found, key=lambda one: one.ends[-1].sum), arms=len(arms))


def _course_of(comparison: Comparison, stages: Sequence[Stage], traffic: Traffic, arm: str) -> _Course:
    ends, seconds, units, weights = list[_End](), 0.0, 0.0, list[float]()
    maturity = comparison.matures_seconds / DAY
    for one in stages:
        before, seconds = traffic.by(seconds / DAY), seconds + one.seconds
        came = traffic.by(one.seconds / DAY) if comparison.counts == "each_step" else traffic.by(seconds / DAY) - before
        units = traffic.by(seconds / DAY) if comparison.counts == "each_step" else units + came
        weights.append(Step(came, one.treatments.get(arm, 0.0), one.control).weight)
        ends.append(_End(units, seconds / DAY + maturity, _together(weights, comparison), math.fsum(weights)))
    last = next(one for one in reversed(stages) if one.treatments.get(arm))
    return _Course(1, arm, tuple(ends), last.treatments[arm], last.control)


def _together(weights: Sequence[float], comparison: Comparison) -> float:
    """The weight that steps come to together; see above."""
    if comparison.counts == "once" or not any(weights):
        return math.fsum(weights)
    return math.fsum(weights) ** 2 / math.fsum(min(one, other) for one in weights for other in weights)


def _eta(comparison: Comparison, goal: Primary | Guardrail, course: _Course, weight: float, measured: Measured) -> float | None:
    """An experiment's is tightest towards its planned end. A ramp waits for its guardrails, so that what they need counts where
    it is more than its steps bring."""
    asked = goal_of(comparison, goal, course.arms)
    found = measured.of(asked.metric.name)
    if comparison.experiment is None and math.isfinite(variance := variance_of(asked, found)):
        weight = max(weight, weight_needed(variance, asked.wanted, asked.shows)) if weight > 0 else 0.0
    return eta_of(asked, found, weight)


def _figure(
    comparison: Comparison, goal: Primary | Guardrail, course: _Course, measured: Measured, most_days: float | None
) -> Figure:
    asked = goal_of(comparison, goal, course.arms)
    found = measured.of(asked.metric.name)
    variance = variance_of(asked, found)
    points = tuple(_point(asked, variance, one) for one in course.ends)
    end = points[-1] if points else Point(0.0, 0.0, math.inf, None)
    needed = plan_test(
        variance,
        asked.wanted,
        measured.traffic,
        treatment=course.treatment,
        control=course.control,
        asked=asked.shows,
        maturity=comparison.matures_seconds / DAY,
        whole_weeks=comparison.experiment is not None,
    ) if math.isfinite(variance) else Planned(math.inf, math.inf, math.inf, math.inf, 0.0)  # fmt: skip
    return Figure(
        metric=asked.metric.name,
        role="primary" if isinstance(goal, Primary) else "guardrail",
        arm=course.arm,
        wanted=asked.wanted,
        relative=asked.relative,
        alpha=asked.shows.alpha,
        sides=asked.shows.sides,
        power=asked.shows.power,
        level=found.level,
        unit_variance=found.unit_variance,
        detectable=end.detectable,
        harm=end.harm,
        units=needed.units,
        days=needed.days,
        expected_units=needed.expected_units,
        steps=points,
        blind=_blind(asked, variance, course, end, needed, measured, most_days),
        known=math.isfinite(variance),
        binding=asked.binding,
        note=found.why,
    )


def _point(asked: Goal, variance: float, end: _End) -> Point:
    if not math.isfinite(variance):
        return Point(end.units, end.days, math.inf, None)
    harm = asked.wanted + detectable(variance, end.weight, asked.fails) if asked.fails is not None else None
    return Point(end.units, end.days, detectable(variance, end.weight, asked.shows), harm)


def _blind(
    asked: Goal,
    variance: float,
    course: _Course,
    end: Point,
    needed: Planned,
    measured: Measured,
    most_days: float | None,
) -> str:
    """Why it is blind, in words. A ramp that may wait is judged by what it needs, anything else by its end."""
    if not math.isfinite(variance):
        why = measured.of(asked.metric.name).why or "the champion's figure is not above 0, or has gaps where the margin lies"
        return f"How much {asked.metric.name} varies is not known ({why}): let the champion be measured first."
    weight = course.ends[-1].weight if course.ends else 0.0
    there = Planned(end.units, end.days, end.detectable, end.units, weight)
    found = refusal(
        there if most_days is None or end.detectable <= asked.wanted else needed,
        asked.wanted,
        variance,
        measured.traffic,
        asked=asked.shows,
        most_days=math.inf if most_days is None or end.detectable <= asked.wanted else most_days,
        what=asked.metric.name,
    )
    return found.words if found is not None else ""
