"""What a step of a ramp asks for before the next, in a person's words."""

from __future__ import annotations

from typing import Protocol

from backend.core import durations

_MEASURED = {"not_failed": "no guardrail failed", "passed": "guardrails proved"}


class Gated(Protocol):
    """A step as `client.results` tells it, of a ramp or of a rollout."""

    @property
    def hold_seconds(self) -> int: ...
    @property
    def min_units(self) -> int: ...
    @property
    def statistics(self) -> str | None: ...
    @property
    def person(self) -> bool: ...


def gates_say(step: Gated) -> str:
    """`10m, then 100 units, then guardrails proved, then a person`: the gates in the order in which they are asked."""
    units = f"{step.min_units:,} units" if step.min_units else ""
    measured = _MEASURED.get(step.statistics, step.statistics) if step.statistics else ""
    told = (durations.written(step.hold_seconds), units, measured, "a person" if step.person else "")
    return ", then ".join(one for one in told if one)
