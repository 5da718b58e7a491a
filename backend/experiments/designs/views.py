"""What a plan comes to, for whoever designs it. Values only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from backend.core.errors import Refusal


@dataclass(frozen=True)
class Point:
    """The end of one step (an experiment has one), with everything before it.

    Args:
        units: of the endpoint, all arms together.
        days: from the start on, until the last of them is mature.
        detectable, harm: as of a `Figure`.
    """

    units: float
    days: float
    detectable: float
    harm: float | None

    def to_json(self) -> dict[str, Any]:
        """JSON-able; what never ends, or is not known, is None."""
        return _finite(vars(self))


@dataclass(frozen=True)
class Figure:
    """What a plan can see of one metric, between the control and the treatment that gets least.

    Args:
        metric, role, arm: which one, what it is for, and beside which treatment.
        wanted: the smallest effect that matters, or the margin; in the metric's unit, or where `relative` is said as a share of
            the champion's figure.
        alpha, sides, power: of the interval that has to show it; a guardrail's power is such that a version as good as the
            champion passes all of them together with 80 %.
        level, unit_variance: the champion's, as measured.
        detectable: by the plan's end, the smallest effect that is found, or of a guardrail the smallest margin that a version
            as good as the champion is proved to keep.
        harm: of a guardrail, the smallest harm that is found (and rolled back) with 80 %; it lies beyond the margin.
        units, days, expected_units: what it takes to see `wanted`; days in whole weeks for an experiment. `expected_units` is
            where it is found on average if it is there.
        steps: the same by the end of each step.
        blind: why it cannot see what matters, with the figure; "" where it can.
        known: whether it was measured; unknown is not blind, and cannot be planned either.
        binding: whether a plan that is blind to it is refused; a guardrail that only warns is not.
        note: what else one has to know.
    """

    metric: str
    role: Literal["primary", "guardrail"]
    arm: str
    wanted: float
    relative: bool
    alpha: float
    sides: Literal["one", "two"]
    power: float
    level: float | None
    unit_variance: float | None
    detectable: float
    harm: float | None
    units: float
    days: float
    expected_units: float
    steps: tuple[Point, ...]
    blind: str
    known: bool
    binding: bool
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON-able; what never ends, or is not known, is None."""
        return _finite(vars(self)) | {"steps": [one.to_json() for one in self.steps]}


@dataclass(frozen=True)
class PlanView:
    """What a plan comes to.

    Args:
        figures: the primary metric's first, then the guardrails'.
        units_a_day: new units of the endpoint, as measured lately; with `units_by_end` by the plan's end.
        days: how long it is planned to take, with the time that outcomes take.
        weight: by the plan's end, of the treatment that gets least: what tunings and group-sequential plans are made of.
        measured: `Measured.to_json()`.
    """

    figures: tuple[Figure, ...]
    units_a_day: float
    units_by_end: float
    days: float
    weight: float
    measured: dict[str, Any]

    @property
    def blind(self) -> tuple[str, ...]:
        """Why the plan is refused: each with its figure. Empty where it sees what matters."""
        return tuple(one.blind for one in self.figures if one.blind and one.binding)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The binding metrics of which nothing is known, so that nothing can be planned."""
        return tuple(one.metric for one in self.figures if not one.known and one.binding)

    def refuse_blind(self, *, unknown: bool = True) -> None:
        """Refusal `blind` with the figures, where the plan could not see what matters.

        Args:
            unknown: refuse too where a metric was never measured.
        """
        for one in self.figures:
            if one.blind and one.binding and (one.known or unknown):
                raise Refusal(
                    f"This is blind to {one.metric}. {one.blind}",
                    "Change the design as it says and plan it again (`countersign experiment plan`).",
                    code="blind",
                    metric=one.metric,
                    **_finite({"detectable": one.detectable, "wanted": one.wanted, "units": one.units, "days": one.days}),
                )

    def to_json(self) -> dict[str, Any]:
        """JSON-able; what never ends, or is not known, is None."""
        told = _finite({name: getattr(self, name) for name in ("units_a_day", "units_by_end", "days", "weight")})
        return {
            "figures": [one.to_json() for one in self.figures],
            **told,
            "blind": list(self.blind),
            "measured": self.measured,
        }


def _finite(told: dict[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(one, float) and not math.isfinite(one) else one for name, one in told.items()}
