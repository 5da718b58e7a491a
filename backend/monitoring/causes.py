"""What is one cause among several monitors and looks, and what a look says of a cause that it did not see. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from backend.core.canonical import digest
from backend.findings import rules as findings
from backend.monitoring.looks import Found, Verdict
from backend.monitoring.rules import OF_FEATURES, MonitorSpec, ReferenceSpec, TaskSpec, is_among

After = Literal["clean", "unknown", "left", "gone"]
"""`clean`: it was looked for and not seen; `unknown`: this look can say nothing of it; `left`: the monitor does not look for it
any more; `gone`: what it is about is not there any more."""
_LONGEST = 120
_EXTRA = ".extra-column"


def of_version(spec: MonitorSpec, version: int) -> str:
    """Of which version, and by what measure: monitors that say the same here have the same causes."""
    by = _reference(spec.reference) if spec.kind in OF_FEATURES else _task(spec.task)
    return f"version {version}, {by}{f', arm {short(spec.arm)}' if spec.arm is not None else ''}"


def short(name: str) -> str:
    """A name that leaves room for what stands behind it; two long ones stay two."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 11]}… {digest(name)[-8:]}"


def told(spec: MonitorSpec, found: Found) -> dict[str, str]:
    """By what a later look knows it again, for its evidence."""
    if not found.feature:
        return {}
    return {"column" if spec.kind in OF_FEATURES else "figure": found.feature}


def after(
    spec: MonitorSpec,
    name: str,
    there: Collection[int],
    verdicts: Sequence[Verdict],
    kind: str,
    about: str,
    evidence: Mapping[str, Any],
) -> After:
    """What a look with a verdict says of something that its monitor had found and that it did not see now.

    Args:
        name: the monitor's.
        there: versions that answer.
        kind, about, evidence: of what was found, as it was kept.
    """
    version = evidence.get("version")
    if about.endswith(f" ({name})") or version not in there:  # once, each monitor had causes of its own
        return "gone"
    if not about.endswith(findings.line(of_version(spec, int(str(version))), findings.MAX_SUBJECT)):
        return "left"
    verdict = next((one for one in verdicts if one.version == version), None)
    if verdict is None or verdict.why or kind in verdict.unjudged:
        return "unknown"
    return _of_name(spec, verdict, kind, evidence)


def _of_name(spec: MonitorSpec, verdict: Verdict, kind: str, evidence: Mapping[str, Any]) -> After:
    if kind == "drift.joint" and spec.joint is None:
        return "left"
    figure, column = evidence.get("figure"), evidence.get("column")
    if figure is not None and kind == f"{spec.kind}.{figure.replace('_', '-')}" and figure not in spec.limits:
        return "left"
    if column is None:
        return "clean"
    if not is_among(spec, column):
        return "left"
    looked = {findings.line(one.feature, _LONGEST_IN_EVIDENCE) for one in verdict.scores}
    return "clean" if column in looked or (kind.endswith(_EXTRA) and verdict.rows) else "unknown"


_LONGEST_IN_EVIDENCE = 500


def _reference(told: ReferenceSpec) -> str:
    match told.kind:
        case "champion":
            return "against the champion"
        case "season":
            return f"against a {told.season} earlier"
        case "period" if told.start is not None and told.end is not None:
            return f"against {told.start:%Y-%m-%d %H:%M} to {told.end:%Y-%m-%d %H:%M}"
        case _:
            return "against training data"


def _task(task: TaskSpec | None) -> str:
    if task is None:
        return "without a task"
    at = f" at {task.threshold:g}" if task.threshold != TaskSpec(outcome="any").threshold else ""
    within = f" within {task.horizon_hours} hours" if task.horizon_hours is not None else ""
    return f"predicting {short(task.outcome)}{at}{within}"
