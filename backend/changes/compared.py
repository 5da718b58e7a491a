"""What a change's plan compares: asked by the policy, by the proposal and by the experiment; measured, tuned, and never blind.

The log is read outside any unit of work, before a plan is drawn; what was measured is then part of the plan (unit variances and
tunings), so that votes are bound to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

from backend.changes.port import Planner
from backend.changes.wanted import Wanted
from backend.core.errors import Refusal
from backend.delivery.comparison import Comparison, Guardrail
from backend.delivery.plan import Plan
from backend.experiments.designs import planning
from backend.experiments.designs.measured import NOTHING, Measured
from backend.experiments.designs.spec import Design, MetricAsked, metrics_asked
from backend.experiments.designs.views import PlanView
from backend.policy.guardrails import GuardrailAsked, as_strict
from backend.policy.rules import Policy

KEPT_SECONDS = 60.0
"""How long what was measured counts for further plans: a preview is drawn at every stroke of a key."""
_MOST_KEPT = 64
DAY = 86_400.0


@dataclass(frozen=True)
class Compared:
    """What is to be compared, not yet tuned, and what was measured before; `design` where an experiment asks for it."""

    comparison: Comparison | None = None
    measured: Measured = NOTHING
    design: Design | None = None


UNCOMPARED = Compared()


class Kept:
    """A planner that measures the same at most once a minute. Any thread may ask."""

    def __init__(self, planner: Planner, clock: Callable[[], float] = time.monotonic) -> None:
        self._planner, self._clock, self._lock = planner, clock, Lock()
        self._kept: dict[tuple[object, ...], tuple[float, Measured]] = {}

    def measured(
        self, endpoint: str, metrics: tuple[MetricAsked, ...], window_seconds: int | None, before_days: int
    ) -> Measured:
        """As `Planner.measured`."""
        key = (endpoint, metrics, window_seconds, before_days)
        with self._lock:
            at, found = self._kept.get(key, (float("-inf"), NOTHING))
        if self._clock() - at < KEPT_SECONDS:
            return found
        found = self._planner.measured(endpoint, metrics, window_seconds, before_days)
        with self._lock:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[key] = (self._clock(), found)
        return found


def guardrails_of(policy: Policy, wanted: Wanted) -> tuple[GuardrailAsked, ...]:
    """The policy's guardrails and the proposal's. Refusal `policy` where the latter asks for less under the same name."""
    own = {one.name: one for one in wanted.guardrails}
    for one in policy.guardrails:
        if one.name in own and not as_strict(one, own[one.name]):
            raise Refusal(
                f"The policy's guardrail {one.name} tolerates {one.margin:g}, then {one.on_fail}; this asks for less.",
                "Leave it out, or tolerate less.",
                code="policy",
            )
    return (*(one for one in policy.guardrails if one.name not in own), *wanted.guardrails)


def compared(
    planner: Kept, endpoint: str, wanted: Wanted, guardrails: Sequence[GuardrailAsked], design: Design | None
) -> Compared:
    """What the plan of this shall compare. Reads the log: outside any unit.

    Refusal codes: not-measured, bad-guardrail.
    """
    asked = metrics_asked(tuple(guardrails))
    if design is None:
        if not asked:
            return UNCOMPARED
        measured = planner.measured(endpoint, asked, None, 0)
        return Compared(planning.rollout_comparison(guardrails, measured), measured)
    own = {one.name for one in design.metrics}
    every = (*design.metrics, *(one for one in asked if one.name not in own))
    measured = planner.measured(endpoint, every, design.window_seconds, design.before_days)
    comparison = planning.comparison_of(design, str(wanted.experiment), measured)
    return Compared(_with_guardrails(comparison, guardrails, asked, measured), measured, design)


def tuned(plan: Plan, found: Compared) -> Plan:
    """The plan with unit variances, tunings and a planned end, as far as they are known."""
    if plan.comparison is None:
        return plan
    stages = planning.stages_of(plan, last_seconds=_goes_on(found))
    return plan.model_copy(update={"comparison": planning.tuned(plan.comparison, stages, found.measured)})


def planned(plan: Plan, found: Compared) -> PlanView | None:
    """What a plan's comparison will be able to see; None where nothing is compared."""
    if plan.comparison is None:
        return None
    stages = planning.stages_of(plan, last_seconds=_goes_on(found))
    most = planning.MOST_RAMP_DAYS if found.design is None else None
    return planning.plan(plan.comparison, stages, found.measured, most_days=most)


def refuse_blind(view: PlanView | None) -> None:
    """Refusal `blind` with its figures, where something that stops a ramp, or that an experiment is for, could not be seen."""
    for one in view.figures if view is not None else ():
        if one.binding and one.blind:
            raise Refusal(one.blind, "Tolerate more, hold steps longer, or give the version a larger share.", code="blind")


def _goes_on(found: Compared) -> float:
    return found.design.planned_days * DAY if found.design is not None else 0.0


def _with_guardrails(
    comparison: Comparison, guardrails: Sequence[GuardrailAsked], asked: Sequence[MetricAsked], measured: Measured
) -> Comparison:
    """An experiment's comparison with what the policy and the proposal ask for besides."""
    names, kept = {one.name for one in comparison.metrics}, {one.metric for one in comparison.guardrails}
    metrics = [one.metric(measured.cuts) for one in asked if one.name not in names]
    more = [
        Guardrail(metric=one.name, margin=one.margin, relative=one.relative, on_fail=one.on_fail)
        for one in guardrails
        if one.name not in kept
    ]
    told = comparison.model_dump()
    return Comparison.model_validate(
        told | {"metrics": [*comparison.metrics, *metrics], "guardrails": [*comparison.guardrails, *more]}
    )
