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
_OF_A_GUARDRAIL = {
    "margin": "tolerated harm",
    "on_fail": "what follows",
    "eta": "tuning of its interval",
    "relative": "relative",
}
_OF_A_COMPARISON = {
    "alpha": "Error of one decision", "before_days": "Days before for comparison", "control": "Compared with",
    "counts": "Where a unit counts", "design": "How it may be looked at", "experiment": "Experiment",
    "failures": "Failing looks in a row", "no_traffic_seconds": "No traffic, after seconds",
    "planned_weight": "Planned end", "primary": "What it is for", "segments": "Segments",
    "stale_seconds": "No look, after seconds", "window_seconds": "A unit's requests count for seconds",
}  # fmt: skip
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
    if head == "guardrails" and name:
        return f"Guardrail {name}, {_OF_A_GUARDRAIL.get(part, part.replace('_', ' '))}" if part else f"Guardrail {name}"
    if head == "comparison":
        return _of_a_comparison(name, part)
    if head == "rollback" and name == "shares":
        return f"Going back, share of {part}"
    return field


def _of_a_comparison(name: str, part: str) -> str:
    if name in ("metrics", "segments") and part:
        one, _, rest = part.partition(".")
        return f"{name.removesuffix('s').capitalize()} {one}{_part(rest)}"
    if name == "on":
        return f"Where nothing can be judged, {part.replace('_', ' ')}"
    return f"{_OF_A_COMPARISON.get(name, name)}{_part(part)}"


def _part(path: str) -> str:
    return f", {path.replace('_', ' ')}" if path else ""


def tell(field: str, value: Any) -> str:
    """A field's value: shares in per cent, times in their unit, a ramp step by step; shortened to 200 characters."""
    if value is None:
        return "none"
    if field == "bake_seconds" and isinstance(value, int):
        return span(value) if value else "not at all"
    if field == "ramp" and isinstance(value, Sequence):
        return "; then ".join(step_says(one) for one in value) or "at once"
    if isinstance(value, int) and (field.endswith(".buckets") or ".shares." in field):
        return percent(value)
    return str(value)[:_LONGEST]


def span(seconds: int) -> str:
    """A length of time in the largest unit that tells it exactly: `30 min`, `90 s`."""
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    return f"{seconds // size:,} {unit}"


def step_says(step: Mapping[str, Any]) -> str:
    """One step of a ramp in its JSON: who has how much, who gets copies, and what it takes to go on."""
    copies = f", copies to {step['shadow']}" if step.get("shadow") else ""
    gates = gates_say(step)
    return f"{shares_say(step['shares'])}{copies}{f' {gates}' if gates else ''}"


def gates_say(step: Mapping[str, Any]) -> str:
    """`for 10 min, then until each arm has 100 units, then until somebody lets it go on`: gates in the order they are asked."""
    measured = {"not_failed": "while no guardrail fails", "passed": "until every guardrail is proved to be kept"}
    told = (
        f"for {span(step['hold_seconds'])}" if step.get("hold_seconds") else "",
        f"until each arm has {step['min_units']:,} units" if step.get("min_units") else "",
        measured.get(step.get("statistics") or "", ""),
        "until somebody lets it go on" if step.get("person") else "",
    )
    return ", then ".join(one for one in told if one)


def shares_say(shares: Mapping[str, int]) -> str:
    """Who has how much; whoever has nothing is left out."""
    return ", ".join(f"{name} {percent(share)}" for name, share in sorted(shares.items()) if share)
