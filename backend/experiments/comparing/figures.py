"""The figures of one look, as they are kept and shown. Values only; what is no number, or has no end, is None."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, Literal, Self

from backend.delivery.closed import Frozen

Verdict = Literal["pass", "fail", "inconclusive", "missing", "stale"]
Decision = Literal["ship", "roll_back", "keep_running"]


def number(value: Any) -> float | None:
    """A finite number, or None."""
    found = float(value)
    return found if math.isfinite(found) else None


class ArmFigures(Frozen):
    """One arm over all strata.

    Args:
        units: without those that crossed; `complete`: of these, whose figures are complete; `waiting`: the others.
        lost: complete units of whom no outcome came, for the metric where it is most.
        planned, assigned, served: shares from 0 to 1 among the compared arms: buckets of the newest stratum, requests that
            were assigned to it, requests that it answered.
    """

    name: str
    version: int | None
    control: bool
    units: int
    complete: int
    waiting: int
    lost: int
    crossed: int
    requests: int
    failures: int
    fallbacks: int
    planned: float
    assigned: float
    served: float


class StratumFigures(Frozen):
    """One generation: buckets, units, and complete units by arm."""

    generation: int
    shares: dict[str, int]
    units: dict[str, int]
    complete: dict[str, int]


class Mismatch(Frozen):
    """A test of whether arms got (`of` = "units") or lost (the metric's name) units alike; counts by arm."""

    of: str
    p: float | None
    anytime_p: float
    mismatch: bool
    counts: dict[str, float]
    expected: dict[str, float]
    words: str


class Crossed(Frozen):
    """Units that were seen in two arms within one generation; `invalid`: too many to read anything."""

    units: int
    crossed: int
    invalid: bool


class Effect(Frozen):
    """One metric of one treatment beside the control; `segment` is "" for everyone.

    Args:
        control_value, treatment_value: the arms' figures.
        low, high: of the difference, always valid on two sides at the comparison's alpha; None: no end, or not settled.
        p: always valid; `adjusted_p`: by Holm over all metrics and treatments of everyone.
        unsettled: why the ends do not count yet; "" where they do.
        better_chance, loss_of_treatment: a Bayesian reading that decides nothing.
    """

    metric: str
    kind: str
    treatment: str
    segment: str
    better: Literal["lower", "higher"]
    control_value: float | None
    treatment_value: float | None
    difference: float | None
    low: float | None
    high: float | None
    relative: float | None
    relative_low: float | None
    relative_high: float | None
    p: float | None
    adjusted_p: float | None
    n_control: int
    n_treatment: int
    waiting: int
    lost: int
    unsettled: str
    better_chance: float | None
    loss_of_treatment: float | None


class Guarded(Frozen):
    """One guardrail's verdict. `harm`, `fail_low` and `pass_high` are in the margin's unit; above 0 is worse.

    `stops`: whether it may stop anything: it is neither of an exploratory segment nor only a warning. `failures`: looks one
    after the other at which it failed.
    """

    metric: str
    treatment: str
    segment: str
    verdict: Verdict
    reason: str
    margin: float
    relative: bool
    harm: float | None
    fail_low: float | None
    pass_high: float | None
    on_fail: Literal["rollback", "hold", "warn"]
    stops: bool
    failures: int

    @property
    def key(self) -> str:
        """By which failures are counted from look to look."""
        return f"{self.metric}/{self.treatment}/{self.segment}"


class PrimaryFigures(Frozen):
    """The primary metric of one treatment: its gain (above 0 is better), and the line that the gain's low end has to pass.

    `words`: what a person has to know of a group-sequential look.
    """

    metric: str
    treatment: str
    goal: Literal["better", "not_worse"]
    gain: float | None
    low: float | None
    high: float | None
    line: float
    unsettled: str
    ended: bool
    words: str
    decision: Decision


class Exposed(Frozen):
    """Units first seen in one hour."""

    hour: datetime
    arm: str
    units: int


class Figures(Frozen):
    """Everything of one look. `problems`: triggers that are on, {"trigger", "action", "says"}."""

    at: datetime
    generation: int
    arms: tuple[ArmFigures, ...]
    strata: tuple[StratumFigures, ...]
    mismatches: tuple[Mismatch, ...]
    crossed: Crossed
    effects: tuple[Effect, ...]
    guardrails: tuple[Guarded, ...]
    primaries: tuple[PrimaryFigures, ...]
    exposure: tuple[Exposed, ...]
    decision: Decision
    reasons: tuple[str, ...]
    person: bool
    problems: tuple[dict[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        """What `to_json` made."""
        return cls.model_validate(told)

    def slim(self) -> Figures:
        """Without what only the newest look needs."""
        return self.model_copy(update={"exposure": ()})
