"""Findings: what was found wrong, and what people say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class FindingLine:
    """One finding in a list. `says` is of when it was opened or became worse, `last_says` of the newest look that saw it."""

    id: str
    number: int
    kind: str
    says: str
    last_says: str
    severity: str
    state: str
    state_since: datetime
    endpoint: str | None
    environment: str | None
    model: str
    subject: str
    found_by: str
    owner: str
    owner_kind: str
    first_seen_at: datetime
    last_seen_at: datetime
    times: int
    snoozed_until: datetime | None
    clean_since: datetime | None
    test: bool


@dataclass(frozen=True)
class FindingMoment:
    """Something that happened to a finding, as the ledger has it."""

    seq: int
    at: datetime
    by: str
    what: str
    state: str
    severity: str
    reason: str


@dataclass(frozen=True)
class Finding:
    """One finding whole. `blocks` and `holds`: whether a start, and a rollout under way, wait for it.

    `messages_made`: whether a worker made the messages of what became of it so far, if any were due.
    """

    line: FindingLine
    assigned: bool
    outcome: str | None
    reason: str
    by: str
    former: int | None
    later: int | None
    beside: tuple[int, ...]
    blocks: bool
    holds: bool
    needs_person: bool
    clear_after_seconds: int
    escalated: int
    opened_at: datetime
    resolved_at: datetime | None
    first_evidence: Mapping[str, Any]
    latest_evidence: Mapping[str, Any]
    history: tuple[FindingMoment, ...]
    messages_made: bool = True
    etag: str = field(default="", compare=False, metadata={"told": False})


@dataclass(frozen=True)
class FindingCount:
    """How many there are of one state and severity."""

    state: str
    severity: str
    count: int


@dataclass(frozen=True)
class FindingMessage:
    """One message of a finding: to whom it goes, and what became of it."""

    id: str
    whom: str
    event: str
    state: str
    created_at: datetime
    settled_at: datetime | None
