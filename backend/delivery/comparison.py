"""What a plan has compared while its arms share the traffic, and what follows when one of them does worse. Values only.

It is part of the plan, so that votes are bound to it: nobody moves a margin, an error rate or a tuning after the approval. What
is measured of it and what that means is `experiments`' business.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from backend.delivery.closed import Frozen, Slug

MetricKind = Literal[
    "errors", "slow", "latency", "predictions", "outcome", "log_loss", "brier", "squared_error", "absolute_error"
]
OF_OUTCOMES: frozenset[MetricKind] = frozenset({"outcome", "log_loss", "brier", "squared_error", "absolute_error"})
"""Kinds that need to know what became of a request."""
Action = Literal["rollback", "hold", "warn"]
Design = Literal["sequence", "obrien_fleming", "pocock"]
MOST_METRICS, MOST_GUARDRAILS, MOST_SEGMENTS, MOST_CUTS = 20, 20, 20, 19
YEAR = 365 * 86_400


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("has to be a finite number")
    return value


Number = Annotated[float, AfterValidator(_finite)]
Positive = Annotated[float, Field(gt=0), AfterValidator(_finite)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128)]
"""Of a feature or an outcome, as the caller writes it."""


class Metric(Frozen):
    """One figure that is compared between arms. Requests of one unit are summed up before.

    Args:
        kind: `errors`: failed requests over requests; `slow`: requests that took longer than `above_seconds`, over requests;
            `latency`: the `quantile` of seconds; `predictions`: how far apart the arms' predictions are spread, as the largest
            difference of the shares below one of `cuts`; `outcome`: the mean of an outcome over requests; the others: mean
            loss of the prediction beside the outcome.
        better: which way is better; only of an `outcome` that is a choice.
        horizon_seconds: after a request, when its outcome is known if it ever is.
        cap: values of a request below and above are taken to be these; fixed before anything is seen.
        adjusted: with the unit's own mean of the days before its exposure as a covariate (CUPED).
        unit_variance: of one unit, as measured before the plan was drawn; None where nothing was measured.
    """

    name: Slug
    kind: MetricKind
    outcome: Name | None = None
    better: Literal["lower", "higher"] = "lower"
    above_seconds: Positive | None = None
    quantile: Annotated[float, Field(ge=0.5, le=0.999)] | None = None
    cuts: Annotated[tuple[Number, ...], Field(max_length=MOST_CUTS)] = ()
    horizon_seconds: Annotated[int, Field(ge=0, le=YEAR, strict=True)] = 0
    cap: tuple[Number, Number] | None = None
    adjusted: bool = False
    unit_variance: Annotated[float, Field(ge=0), AfterValidator(_finite)] | None = None

    @model_validator(mode="after")
    def _says_what_it_needs(self) -> Self:
        needs = (
            ("outcome", self.outcome is not None, self.kind in OF_OUTCOMES),
            ("above_seconds", self.above_seconds is not None, self.kind == "slow"),
            ("quantile", self.quantile is not None, self.kind == "latency"),
            ("cuts", bool(self.cuts), self.kind == "predictions"),
        )
        for field, given, needed in needs:
            if given != needed:
                raise ValueError(f"{self.kind} {'needs' if needed else 'has no'} {field}")
        if self.better == "higher" and self.kind != "outcome":
            raise ValueError(f"less of {self.kind} is better")
        if self.horizon_seconds and self.kind not in OF_OUTCOMES:
            raise ValueError(f"{self.kind} is known at once: it has no horizon_seconds")
        if any(low >= high for low, high in pairwise(self.cuts)) or (self.cap is not None and self.cap[0] >= self.cap[1]):
            raise ValueError("cuts and the ends of a cap have to rise")
        return self


class Guardrail(Frozen):
    """What must not get worse.

    Args:
        metric: its name.
        margin: how much harm is tolerated, in the metric's unit; with `relative` as a share of the control's figure.
        on_fail: what follows where more harm is proved. `warn` never keeps a ramp from going on.
        eta: tuning of its interval (`experiments.statistics.sequences`), fixed with the plan; None where the variance is not
            known: only an exact test may judge then.
    """

    metric: Slug
    margin: Positive
    relative: bool = False
    on_fail: Action = "rollback"
    eta: Positive | None = None


class Primary(Frozen):
    """What an experiment is for.

    Args:
        goal: `better`: ships what is proved better; `not_worse`: what is proved to be within `margin`.
        smallest: the smallest effect that matters, in the metric's unit; the plan is refused if it could not see it.
        margin: of `not_worse`, in the metric's unit.
        eta: as of a guardrail.
    """

    metric: Slug
    goal: Literal["better", "not_worse"] = "better"
    smallest: Positive
    margin: Annotated[float, Field(ge=0), AfterValidator(_finite)] = 0.0
    eta: Positive | None = None


class Segment(Frozen):
    """Some of the units, by a feature of their first request.

    Args:
        value: the feature's text (`true` or `false` of a truth value); else numbers from `low` on and below `high`.
        guarded: guardrails hold for it too; else it is exploratory and stops nothing.
    """

    name: Slug
    feature: Name
    value: Annotated[str, StringConstraints(max_length=256)] | None = None
    low: Number | None = None
    high: Number | None = None
    guarded: bool = False

    @model_validator(mode="after")
    def _chooses(self) -> Self:
        if (self.value is None) == (self.low is None and self.high is None):
            raise ValueError("a segment is a value, or numbers from low on and below high")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low has to lie below high")
        return self


class Triggers(Frozen):
    """What follows where nothing can be judged, or not rightly. None of it is ever a pass.

    `hold`: no further step while it lasts; `rollback`: the way back at once; `warn`: a finding beside.
    """

    sample_ratio: Action = "hold"
    no_traffic: Action = "hold"
    missing: Action = "hold"
    stale: Action = "hold"


class Comparison(Frozen):
    """Which arms' figures are compared, with how much error, and what follows.

    Args:
        experiment: name of the experiment that this is part of; None for a rollout's own.
        control: the arm that the others are compared with; None until the plan is drawn.
        counts: `once`: a unit counts in the step of its first request alone; `each_step`: in each step that it has requests in,
            as a ramp has to, whose units return; its steps' figures then go together, and the variance says so.
        window_seconds: how long after its first request (of that step) a unit's requests count, from when on it is complete;
            with 0 the first one alone. None: all of them, as they come.
        alpha: of one whole decision (`experiments.statistics.budget`).
        before_days: days before the first exposure that covariates are of.
        design: how the primary metric may be looked at; `planned_weight`: where a group-sequential one ends.
        failures: how many looks one after the other a guardrail has to fail.
        no_traffic_seconds, stale_seconds: from when on there is no traffic, or a look is stale.
    """

    experiment: Slug | None = None
    control: Slug | None = None
    counts: Literal["once", "each_step"] = "once"
    window_seconds: Annotated[int, Field(ge=0, le=90 * 86_400, strict=True)] | None = None
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    before_days: Annotated[int, Field(ge=0, le=90, strict=True)] = 0
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1, max_length=MOST_METRICS)]
    guardrails: Annotated[tuple[Guardrail, ...], Field(max_length=MOST_GUARDRAILS)] = ()
    primary: Primary | None = None
    segments: Annotated[tuple[Segment, ...], Field(max_length=MOST_SEGMENTS)] = ()
    design: Design = "sequence"
    planned_weight: Positive | None = None
    failures: Annotated[int, Field(ge=1, le=100, strict=True)] = 1
    on: Triggers = Triggers()
    no_traffic_seconds: Annotated[int, Field(ge=1, le=86_400, strict=True)] = 300
    stale_seconds: Annotated[int, Field(ge=1, le=86_400, strict=True)] = 300

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        names = [one.name for one in self.metrics]
        for what, listed in (
            ("metrics", names),
            ("segments", [one.name for one in self.segments]),
            ("guardrails", self._guarded),
        ):
            if len(set(listed)) != len(listed):
                raise ValueError(f"two {what} have the same name")
        wanted = (*self._guarded, *([self.primary.metric] if self.primary is not None else []))
        if unknown := sorted(set(wanted) - set(names)):
            raise ValueError(f"no metric is called {unknown[0]}")
        if self.primary is not None and self.metric(self.primary.metric).kind in ("latency", "predictions"):
            raise ValueError("a quantile and the spread of predictions are guardrails; what an experiment is for is a mean")
        if self.primary is None and not self.guardrails:
            raise ValueError("nothing is asked for: neither a guardrail nor a primary metric")
        if self.design != "sequence" and (self.planned_weight is None or self.primary is None):
            raise ValueError("a group-sequential design has a primary metric and a planned end")
        return self

    @property
    def _guarded(self) -> tuple[str, ...]:
        return tuple(one.metric for one in self.guardrails)

    def metric(self, name: str) -> Metric:
        """The metric of that name; KeyError is a defect, names were checked when it was made."""
        return {one.name: one for one in self.metrics}[name]

    @property
    def matures_seconds(self) -> int:
        """How long after its first request a unit's figures are complete; with an open window those of one request."""
        return (self.window_seconds or 0) + max(one.horizon_seconds for one in self.metrics)
