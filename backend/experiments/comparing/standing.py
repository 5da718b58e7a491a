"""How a comparison stands at one moment, as far as a ramp has to know. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pydantic import Field

from backend.delivery.closed import Frozen
from backend.delivery.comparison import Action as Trigger
from backend.delivery.comparison import Comparison

Action = Literal["go", "hold", "rollback"]


@dataclass(frozen=True)
class Standing:
    """What a comparison says of one generation.

    Args:
        action: what its triggers ask for now: `go` for nothing, `hold` for no further step while that lasts, `rollback`.
        reason: why, a sentence; of `go` what is still open, or "".
        passed: every guardrail that stops anything is proved to be kept, on sound and fresh data.
        not_failed: data are sound and fresh, no such guardrail failed and none is missing.
        units: complete units of the smallest arm that entered at this generation.
        looked_at: of the newest look; None before the first.
        warnings: what is told and stops nothing.
    """

    action: Action
    reason: str
    passed: bool
    not_failed: bool
    units: int
    looked_at: datetime | None
    warnings: tuple[str, ...] = ()


class Kept(Frozen):
    """What the newest look left for ramps. `units`: by generation, as its number's text."""

    action: Action = "go"
    reason: str = ""
    passed: bool = False
    not_failed: bool = False
    units: dict[str, int] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Looked:
    """How the looking goes: since when it does, when a look came to its end, and what keeps it from that."""

    began_at: datetime
    looked_at: datetime | None = None
    problem: str | None = None
    kept: Kept | None = None


def standing(asked: Comparison, found: Looked, generation: int, now: datetime) -> Standing:
    """What stands at `now`, by the database's clock. A look that is too old, or dated ahead, is no look."""
    kept = found.kept or Kept(reason="Nothing was looked at yet.")
    units = kept.units.get(str(generation), 0)
    if not is_stale(asked, found, now):
        return Standing(kept.action, kept.reason, kept.passed, kept.not_failed, units, found.looked_at, kept.warnings)
    why = _stale_words(asked, found, now)
    action, warnings = kept.action, kept.warnings
    if heavier(asked.on.stale, action) != action:
        action = heavier(asked.on.stale, action)
    elif asked.on.stale == "warn":
        warnings = (*warnings, why)
    return Standing(action, why if action != "rollback" or not kept.reason else kept.reason, False, False, units,
                    found.looked_at, warnings)  # fmt: skip


def is_stale(asked: Comparison, found: Looked, now: datetime) -> bool:
    """Whether the newest look says nothing any more."""
    age = now - (found.looked_at or found.began_at)
    return abs(age) > timedelta(seconds=asked.stale_seconds)


def heavier(trigger: Trigger, action: Action) -> Action:
    """The weightier of what a trigger asks for and what was asked for already."""
    order: tuple[Action, ...] = ("go", "hold", "rollback")
    mine: Action = "go" if trigger == "warn" else trigger
    return mine if order.index(mine) > order.index(action) else action


def _stale_words(asked: Comparison, found: Looked, now: datetime) -> str:
    age = (now - (found.looked_at or found.began_at)).total_seconds()
    told = f" The latest one failed: {found.problem}" if found.problem else ""
    if age < 0:
        return "The newest look at the arms is dated in the future: check the clocks."
    since = "The newest look at the arms is" if found.looked_at else "Nothing was looked at, and the arms began"
    return f"{since} {age:,.0f} s {'old' if found.looked_at else 'ago'}; a look counts for {asked.stale_seconds:,} s.{told}"
