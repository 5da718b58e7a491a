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
    return [
        {"share": percent(one.share), "hold": durations.written(one.hold_seconds)} | ({"person": True} if one.person else {})
        for one in steps
    ]


def percent(buckets: int) -> int | float:
    """Buckets as percent: a whole number where it is one."""
    return buckets // 100 if buckets % 100 == 0 else buckets / 100


def buckets(share: float) -> int:
    """Percent as buckets. Refusal `bad-share` for more than two decimals."""
    return buckets_from_percent(f"{share:.10g}")


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    hold = durations.seconds(step.get("hold", "0s"))
    return {"share": buckets(step["share"]), "hold_seconds": hold, "person": bool(step.get("person"))}
