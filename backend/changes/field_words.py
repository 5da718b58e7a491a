"""A plan's fields and their values in a person's words, for what an edit changed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backend.delivery.plan import percent

_TITLES = {
    "arms": "Versions",
    "bake_seconds": "Stays loaded afterwards",
    "champion": "Champion",
    "feature_service_digest": "Feature service",
    "guardrails": "Guardrails",
    "model": "Model",
    "policy": "Policy",
    "probes": "Recorded answers",
    "probes.count": "Recorded answers",
    "probes.digest": "Recorded answers, digest",
    "ramp": "On the way",
    "rollback": "Going back leads to",
    "rollback.champion": "Going back, champion",
    "salt": "Assignment of units",
    "shadow": "Shadow",
    "unit_header": "Unit's header",
}
_OF_AN_ARM = {
    "artifact_digest": "Artifact",
    "buckets": "Share",
    "package_digest": "Package",
    "served_as.model": "Served name",
    "served_as.version": "Served version",
    "version": "Version",
}
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_LONGEST = 200


def title(field: str) -> str:
    """The words for a field's path (`arms.v2.buckets`); a path without words of its own is its own title."""
    if field in _TITLES:
        return _TITLES[field]
    head, _, rest = field.partition(".")
    name, _, part = rest.partition(".")
    if head == "arms" and part in _OF_AN_ARM:
        return f"{_OF_AN_ARM[part]} of {name}"
    if head == "rollback" and name == "shares":
        return f"Going back, share of {part}"
    return field


def tell(field: str, value: Any) -> str:
    """A field's value: shares in per cent, times in their unit, a ramp step by step; shortened to 200 characters."""
    if value is None:
        return "none"
    if field == "bake_seconds" and isinstance(value, int):
        return span(value) if value else "not at all"
    if field == "ramp" and isinstance(value, Sequence):
        return ", then ".join(_step(one) for one in value) or "at once"
    if isinstance(value, int) and (field.endswith(".buckets") or ".shares." in field):
        return percent(value)
    return str(value)[:_LONGEST]


def span(seconds: int) -> str:
    """A length of time in the largest unit that tells it exactly: `30 min`, `90 s`."""
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    return f"{seconds // size:,} {unit}"


def step_says(shares: Mapping[str, int], hold_seconds: int, *, person: bool) -> str:
    """One step of a ramp: who has how much, for how long, and whether somebody must let it go on."""
    held = f" for {span(hold_seconds)}" if hold_seconds else ""
    return f"{shares_say(shares)}{held}{' until somebody lets it go on' if person else ''}"


def shares_say(shares: Mapping[str, int]) -> str:
    """Who has how much; whoever has nothing is left out."""
    return ", ".join(f"{name} {percent(share)}" for name, share in sorted(shares.items()) if share)


def _step(step: Mapping[str, Any]) -> str:
    return step_says(step["shares"], step["hold_seconds"], person=step["person"])
