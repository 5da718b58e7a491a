"""Changes: what they are, what they would do, votes, checks and rollouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class ChangeLine:
    """A change in a list."""

    id: str
    number: int
    title: str
    state: str
    state_reason: str
    endpoint: str
    environment: str
    model: str
    version: int
    requester: str
    decide_by: datetime | None
    updated_at: datetime


@dataclass(frozen=True)
class AskedChange:
    """One change that waits for whoever asks. `what`: vote, start, let_on, redraw or mend."""

    line: ChangeLine
    what: str
    missing: tuple[str, ...]


@dataclass(frozen=True)
class DifferenceLine:
    """One field that a plan changes: a sentence, and the values before and after."""

    field: str
    says: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Move:
    """So many of 10,000 buckets go from one arm to another."""

    source: str
    target: str
    buckets: int


@dataclass(frozen=True)
class Difference:
    """Everything that a plan changes; `anew`: every unit is assigned anew."""

    summary: str
    lines: tuple[DifferenceLine, ...]
    moves: tuple[Move, ...]
    anew: bool


@dataclass(frozen=True)
class Vote:
    """One vote, with the digests that it is bound to; `counts` while those are the present ones."""

    voter: str
    verdict: str
    comment: str
    at: datetime
    counts: bool
    void_reason: str
    plan_digest: str
    base_digest: str


@dataclass(frozen=True)
class Evidence:
    """One check of a change: what its newest result is worth now, and how far a run has come."""

    id: str
    gate: str
    title: str
    weight: str
    standing: str
    verdict: str
    summary: str
    findings: tuple[Mapping[str, Any], ...]
    age_seconds: float | None
    valid_until: datetime | None
    fraction: float
    doing: str


@dataclass(frozen=True)
class Comment:
    """One remark."""

    author: str
    text: str
    at: datetime


@dataclass(frozen=True)
class Remark:
    """A remark that was added."""

    id: str
    change_id: str
    at: datetime


@dataclass(frozen=True)
class Step:
    """One step of a ramp: shares in buckets by arm, what it takes to go on, and `done`, `now` or `ahead`.

    `statistics`: `not_failed`, `passed` or None; `shadow`: the arm that gets copies at it.
    """

    shares: Mapping[str, int]
    hold_seconds: int
    person: bool
    standing: str
    min_units: int = 0
    statistics: str | None = None
    shadow: str | None = None


@dataclass(frozen=True)
class Rollout:
    """The walk through an approved ramp. `may_skip_to`: step, from 0, up to which others may be skipped now; None: to none."""

    id: str
    change_id: str
    state: str
    reason: str
    step: int
    steps: tuple[Step, ...]
    hold_until: datetime | None
    waits_for_person: bool
    can_go_back: bool
    started_at: datetime
    ended_at: datetime | None
    may_skip_to: int | None = None


@dataclass(frozen=True)
class Impact:
    """What else a change touches."""

    on_the_same_server: tuple[str, ...]
    run_the_version: tuple[str, ...]
    open_changes: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Change:
    """Everything about one change. `plan_digest` and `base_digest` are what a vote is bound to.

    `may`: action -> "" where whoever asked may do it now, else why not. `etag` binds a write to this state of it.
    """

    line: ChangeLine
    reason: str
    plan: Mapping[str, Any]
    plan_digest: str
    base: Mapping[str, Any]
    base_digest: str
    policy: str
    start_mode: str
    start_at: datetime | None
    supersede: bool
    changes: Difference
    since_earlier: Difference | None
    drawn_on: str
    votes: tuple[Vote, ...]
    evidence: tuple[Evidence, ...]
    comments: tuple[Comment, ...]
    missing: tuple[str, ...]
    may: Mapping[str, str]
    rollout: Rollout | None
    impact: Impact
    etag: str = field(default="", compare=False, metadata={"told": False})

    @property
    def number(self) -> int:
        """By which people name it."""
        return self.line.number

    @property
    def state(self) -> str:
        """The state that it is in."""
        return self.line.state


@dataclass(frozen=True)
class Moment:
    """Something that happened to a change, as the ledger has it."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    reason: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Preview:
    """A plan as it would be drawn now."""

    plan: Mapping[str, Any]
    base: Mapping[str, Any]
    changes: Difference
    drawn_on: str
    policy: str
    is_packaged: bool
    lacks: tuple[str, ...]
    waits: str
