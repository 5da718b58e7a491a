"""What pages and the API show of a comparison: how it stands, its newest look, and its looks over time. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from backend.delivery.comparison import Comparison
from backend.experiments.comparing.figures import Figures
from backend.experiments.comparing.standing import Standing


@dataclass(frozen=True)
class Point:
    """One figure of one treatment at one look, of all units together.

    Args:
        of: `effect`: the difference to the control in the metric's unit. `primary`: the gain (above 0 is better), as it
            decides. `guardrail`: the harm in the margin's unit (above 0 is worse).
        low, high: its interval's ends; None: no end, or it does not count yet.
        line: what `primary` has to pass, and `guardrail` to stay below.
    """

    at: datetime
    generation: int
    of: Literal["effect", "primary", "guardrail"]
    metric: str
    treatment: str
    value: float | None
    low: float | None
    high: float | None
    line: float | None

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return {**vars(self), "at": self.at.isoformat()}


@dataclass(frozen=True)
class ComparisonView:
    """One comparison.

    Args:
        experiment: its experiment's name; "" for a rollout's own.
        versions: of every arm, also of those that are not compared; `control` and `treatments` are.
        asked: what is compared, by its newest plan.
        changes: ids of the changes that it is of, in order.
        stale: whether the newest look says nothing any more; only of what runs.
        problem: why the latest look failed; "" where it did not.
        figures: of the newest look; None before the first.
    """

    id: str
    endpoint: str
    experiment: str
    control: str
    versions: Mapping[str, int]
    treatments: tuple[str, ...]
    asked: Comparison
    state: Literal["running", "ended"]
    why: str
    decision: str
    reasons: tuple[str, ...]
    person: bool
    changes: tuple[str, ...]
    began_at: datetime
    ended_at: datetime | None
    looked_at: datetime | None
    stale: bool
    problem: str
    standing: Standing
    figures: Figures | None

    @property
    def unsound(self) -> tuple[str, ...]:
        """Why nothing may be read from its figures."""
        if self.figures is None:
            return ()
        told = [one.words for one in self.figures.mismatches if one.mismatch]
        crossed = self.figures.crossed
        if crossed.invalid:
            told.append(f"{crossed.crossed:,} of {crossed.units:,} units were seen in two arms.")
        return tuple(told)

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        standing = {**vars(self.standing), "warnings": list(self.standing.warnings)}
        standing["looked_at"] = _time(self.standing.looked_at)
        return {
            "id": self.id,
            "endpoint": self.endpoint,
            "experiment": self.experiment,
            "control": self.control,
            "versions": dict(self.versions),
            "treatments": list(self.treatments),
            "asked": self.asked.model_dump(mode="json"),
            "state": self.state,
            "why": self.why,
            "decision": self.decision,
            "reasons": list(self.reasons),
            "person": self.person,
            "changes": list(self.changes),
            "began_at": _time(self.began_at),
            "ended_at": _time(self.ended_at),
            "looked_at": _time(self.looked_at),
            "stale": self.stale,
            "problem": self.problem,
            "standing": standing,
            "figures": self.figures.to_json() if self.figures is not None else None,
        }


def _time(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None
