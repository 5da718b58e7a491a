"""Pure decisions on evidence: what a gate's newest result is worth now, and what that means for a change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from backend.core.machine import Machine
from backend.policy.rules import GateRule

Standing = Literal["missing", "running", "passed", "failed", "error", "stale"]

EVIDENCE = Machine(
    noun="check",
    initial="queued",
    states=("queued", "running", "passed", "failed", "error", "void"),
    table={
        ("queued", "begin"): "running",
        ("running", "begin"): "running",  # the worker that ran it is gone; another begins again
        ("running", "passed"): "passed",
        ("running", "failed"): "failed",
        ("running", "error"): "error",
        **{(state, "void"): "void" for state in ("queued", "running", "passed", "failed", "error")},
    },
    remedies={"void": "Ask for a fresh check of the present plan."},
)


class Result(Protocol):
    """One run of one gate; a row of evidence is one."""

    @property
    def plan_digest(self) -> str: ...
    @property
    def verdict(self) -> str: ...
    @property
    def finished_at(self) -> datetime | None: ...
    @property
    def valid_until(self) -> datetime | None: ...


def standing(newest: Result | None, plan_digest: str, now: datetime, max_age_seconds: int | None = None) -> Standing:
    """What the newest result of a gate is worth for this plan at this moment. One for another plan is worth nothing."""
    if newest is None or newest.verdict == "void" or newest.plan_digest != plan_digest:
        return "missing"
    if newest.verdict in ("queued", "running"):
        return "running"
    if newest.verdict == "failed":
        return "failed"
    if _too_old(newest, now, max_age_seconds):
        return "stale"
    return "passed" if newest.verdict == "passed" else "error"


def _too_old(result: Result, now: datetime, max_age_seconds: int | None) -> bool:
    if result.finished_at is None or (result.valid_until is not None and now >= result.valid_until):
        return True
    return max_age_seconds is not None and now >= result.finished_at + timedelta(seconds=max_age_seconds)


@dataclass(frozen=True)
class Outlook:
    """What the gates of a policy say together.

    Args:
        wanted: gates that have to be run (again).
        waiting: gates that are running.
        blocking: gates whose result stops the change.
    """

    wanted: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    blocking: tuple[str, ...] = ()

    @property
    def clear(self) -> bool:
        """Whether every gate has spoken and none blocks."""
        return not (self.wanted or self.waiting or self.blocking)


def strictest_ages(asked: Iterable[GateRule]) -> dict[str, int | None]:
    """Gate -> the greatest age that counts. The least one where policies of old name a gate twice."""
    found: dict[str, int | None] = {}
    for rule in asked:
        ages = [one for one in (found.get(rule.gate), rule.max_age_seconds) if one is not None]
        found[rule.gate] = min(ages, default=None)
    return found


def outlook(asked: Iterable[GateRule], standings: Mapping[str, Standing], hard: frozenset[str]) -> Outlook:
    """Weighs the standing of each gate that a policy asks for. `hard` gates must pass whatever the policy says."""
    wanted, waiting, blocking = [], [], []
    for rule in asked:
        stands = standings.get(rule.gate, "missing")
        if stands in ("missing", "stale"):
            wanted.append(rule.gate)
        elif stands == "running":
            waiting.append(rule.gate)
        elif stands in _BLOCKING["must_pass" if rule.gate in hard else rule.weight]:
            blocking.append(rule.gate)
    return Outlook(*(tuple(dict.fromkeys(each)) for each in (wanted, waiting, blocking)))


_BLOCKING: dict[str, frozenset[str]] = {
    "must_pass": frozenset({"failed", "error"}),
    "must_not_fail": frozenset({"failed"}),
    "inform": frozenset(),
}
