"""The gate port: one automatic check on one plan, run in a worker subprocess with limits and progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from backend.delivery.plan import Plan

Verdict = Literal["passed", "failed", "error"]
Progress = Callable[[float, str], None]
"""Told a fraction from 0 to 1 and what is being done, in a few words."""


@dataclass(frozen=True)
class Finding:
    """One thing that a gate checked: `ok`, a sentence, and small facts with their units in the keys."""

    ok: bool
    says: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GateResult:
    """A gate's verdict. `error` means that the check itself could not run, which is never a pass."""

    verdict: Verdict
    summary: str
    findings: tuple[Finding, ...] = ()


class Gate(Protocol):
    """An automatic check. It reads what it needs itself; it never writes."""

    name: ClassVar[str]
    title: ClassVar[str]
    hard: ClassVar[bool]
    """Whether a failure blocks the change whatever the reviewers think."""
    valid_seconds: ClassVar[int]
    """How long a result may be relied on."""
    limit_seconds: ClassVar[int]

    def run(self, plan: Plan, progress: Progress) -> GateResult:
        """Checks one plan. Exceptions become `error` with what to do next."""
        ...
