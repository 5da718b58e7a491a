"""How a comparison stands at one moment, as far as a ramp has to know. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


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

    action: Literal["go", "hold", "rollback"]
    reason: str
    passed: bool
    not_failed: bool
    units: int
    looked_at: datetime | None
    warnings: tuple[str, ...] = ()
