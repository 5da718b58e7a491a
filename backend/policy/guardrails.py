"""Guardrails as somebody asks for them: in a policy, for every rollout of an environment, or in a proposal, for this one.

What is measured of them, and how sure that is, is fixed when the plan is drawn (`delivery.comparison`).
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from backend.core import durations

Kind = Literal["errors", "slow", "latency", "predictions", "outcome", "log_loss", "brier", "squared_error", "absolute_error"]
"""As `delivery.comparison.MetricKind`; a test holds the two together."""
OF_OUTCOMES: frozenset[Kind] = frozenset({"outcome", "log_loss", "brier", "squared_error", "absolute_error"})


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("has to be a finite number")
    return value


Positive = Annotated[float, Field(gt=0), AfterValidator(_finite)]


class GuardrailAsked(BaseModel):
    """What must not get worse while two versions share the traffic.

    Args:
        name: what people call it, once in a plan.
        margin: how much harm is tolerated, in the metric's unit (errors and slow answers: a share of requests, 0.01 is 1 %);
            with `relative` as a share of the champion's figure.
        on_fail: `rollback`, `hold` until a person acts, or `warn`.
        above_seconds: of `slow`; quantile: of `latency`, 0.95 is p95; outcome: its name, for what became of a request.
        horizon_seconds: after a request, when its outcome is known if it ever is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    kind: Kind
    margin: Positive
    relative: bool = False
    on_fail: Literal["rollback", "hold", "warn"] = "rollback"
    outcome: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    better: Literal["lower", "higher"] = "lower"
    above_seconds: Positive | None = None
    quantile: Annotated[float, Field(ge=0.5, le=0.999)] | None = None
    horizon_seconds: Annotated[int, Field(ge=0, le=365 * 86_400, strict=True)] = 0

    @model_validator(mode="after")
    def _says_what_it_needs(self) -> Self:
        needs = (
            ("outcome", self.outcome is not None, self.kind in OF_OUTCOMES),
            ("above_seconds", self.above_seconds is not None, self.kind == "slow"),
            ("quantile", self.quantile is not None, self.kind == "latency"),
        )
        for field, given, needed in needs:
            if given != needed:
                raise ValueError(f"{self.kind} {'needs' if needed else 'has no'} {field}")
        if self.better == "higher" and self.kind != "outcome":
            raise ValueError(f"less of {self.kind} is better")
        if self.horizon_seconds and self.kind not in OF_OUTCOMES:
            raise ValueError(f"{self.kind} is known at once: it has no horizon_seconds")
        if self.relative and self.kind == "predictions":
            raise ValueError("how far predictions lie apart is a share of requests; it has no relative margin")
        return self


_FOLLOWS = {"rollback": "rolls back", "hold": "holds until a person acts", "warn": "is told"}


def says(one: GuardrailAsked) -> str:
    """`p95 (latency, p95): at most 10 % of the champion's figure worse; else rolls back`."""
    shares = one.kind in ("errors", "slow", "predictions")
    of = "of the champion's figure" if one.relative else "of requests" if shares else "s" if one.kind == "latency" else ""
    harm = f"{one.margin * 100:g} % {of}" if one.relative or shares else f"{one.margin:g} {of}".strip()
    what = (
        one.kind.replace("_", " "),
        f"over {one.above_seconds:g} s" if one.above_seconds is not None else "",
        f"p{one.quantile * 100:g}" if one.quantile is not None else "",
        f"of {one.outcome}" if one.outcome is not None else "",
        "higher is better" if one.better == "higher" else "",
        f"known after {durations.written(one.horizon_seconds)}" if one.horizon_seconds else "",
    )
    return f"{one.name} ({', '.join(part for part in what if part)}): at most {harm} worse; else {_FOLLOWS[one.on_fail]}"


def as_strict(old: GuardrailAsked, new: GuardrailAsked) -> bool:
    """Whether the new one asks for as much as the old one."""
    order = ("warn", "hold", "rollback")
    same = new.model_copy(update={"margin": old.margin, "on_fail": old.on_fail}) == old
    return same and new.margin <= old.margin and order.index(new.on_fail) >= order.index(old.on_fail)
