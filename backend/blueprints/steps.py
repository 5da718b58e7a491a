"""Steps and shares between the words of files (percent, durations) and those of plans (buckets, seconds)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from backend.core import durations
from backend.delivery.plan import buckets_from_percent
from backend.policy import ramps
from backend.policy.rules import RampStep


def steps_in(steps: Iterable[Mapping[str, Any]], name: str = "ramp") -> tuple[RampStep, ...]:
    """The steps of a ramp as a file declares them. Refusal `bad-share`, `bad-duration`, `bad-name` or `bad-ramp`."""
    return ramps.checked(name, [_step(one) for one in steps])


def told_steps(steps: Iterable[RampStep]) -> list[dict[str, Any]]:
    """Steps as files write them."""
    return [_told(one) for one in steps]


def _told(step: RampStep) -> dict[str, Any]:
    """What a step does not ask for is left out."""
    what: dict[str, Any] = {"shadow": True} if step.shadow else {"share": percent(step.share)}
    gates = {"units": step.min_units, "statistics": step.statistics, "person": step.person}
    return {**what, "hold": durations.written(step.hold_seconds), **{name: one for name, one in gates.items() if one}}


def percent(buckets: int) -> int | float:
    """Buckets as percent: a whole number where it is one."""
    return buckets // 100 if buckets % 100 == 0 else buckets / 100


def buckets(share: float) -> int:
    """Percent as buckets. Refusal `bad-share` for more than two decimals."""
    return buckets_from_percent(f"{share:.10g}")


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    share = step.get("share")
    return {
        "share": buckets(share) if share is not None else 0,
        "hold_seconds": durations.seconds(step.get("hold", "0s")),
        "min_units": step.get("units", 0),
        "statistics": step.get("statistics"),
        "person": bool(step.get("person")),
        "shadow": bool(step.get("shadow")),
    }
