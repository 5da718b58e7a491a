"""A small design of an experiment, as it is sent."""

from typing import Any

DESIGN: dict[str, Any] = {
    "hypothesis": "Version 2 fails less often.",
    "arms": [{"version": 2, "share": 5_000}],
    "metrics": [{"name": "errors", "kind": "errors"}, {"name": "slow", "kind": "slow", "above_seconds": 0.25}],
    "guardrails": [{"metric": "slow", "margin": 0.05}],
    "primary": {"metric": "errors", "smallest": 0.02},
    "planned_days": 14,
}
