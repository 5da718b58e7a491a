"""Environments, policies, freezes and the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class EnvironmentLine:
    """An environment in promotion order."""

    name: str
    policy: str
    frozen: str
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Policy:
    """What an environment asks for now."""

    environment: str
    policy: str
    rules: Mapping[str, Any]
    digest: str
    created_by: str
    created_at: datetime
    problems: tuple[str, ...]
    etag: str = field(default="", compare=False, metadata={"told": False})


@dataclass(frozen=True)
class SavedPolicy:
    """The policy in force, and the request that a second person has to confirm before another one is."""

    policy: str
    problems: tuple[str, ...]
    request: str | None


@dataclass(frozen=True)
class Freeze:
    """A stop of all starts in an environment, or everywhere."""

    id: str
    scope: str
    reason: str
    set_by: str
    set_at: datetime
    lifted_by: str | None
    lifted_at: datetime | None


@dataclass(frozen=True)
class Event:
    """One row of the ledger."""

    seq: int
    at: datetime
    actor_id: str
    action: str
    subject_kind: str
    subject_id: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    hash: str


@dataclass(frozen=True)
class BrokenRow:
    """The first row that does not hold, and why."""

    row: int
    reason: str


@dataclass(frozen=True)
class Verification:
    """What walking the ledger's chain found."""

    intact: bool
    rows: int
    heads: int
    last_hash: str
    first_bad: BrokenRow | None
    signed_to: int
    warning: str
