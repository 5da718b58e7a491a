"""Inference logs: what became of a batch, what is kept, and erasures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class RejectedRow:
    """A row that was not kept: its list and place in the batch, and why."""

    list: str
    index: int
    reason: str


@dataclass(frozen=True)
class BatchTaken:
    """What became of a batch. What was taken will be in the log.

    `left_out`: rows that are not kept by the endpoint's rules: `sampled_out`, or of units that were `erased`.
    `values_left_out`: features, or outcomes, left out of rows that were taken; the endpoint has 2,000 different names already.
    """

    requests: int
    outcomes: int
    left_out: int
    rejected: int
    rejections: tuple[RejectedRow, ...]
    values_left_out: int = 0
    sampled_out: int = 0
    erased: int = 0


@dataclass(frozen=True)
class Redaction:
    """What becomes of a column's values: `drop`, `hash` or `truncate`."""

    column: str
    how: str
    length: int


@dataclass(frozen=True)
class LogRules:
    """What is kept of an endpoint's requests; `revision` 0 where nobody has said anything."""

    endpoint: str
    sample_every: int
    redactions: tuple[Redaction, ...]
    kept_days: Mapping[str, int]
    unit_header: str
    revision: int
    etag: str = field(default="", compare=False, metadata={"told": False})


@dataclass(frozen=True)
class Erasure:
    """One unit that is, or was, taken out of a log; told by its pseudonym."""

    id: str
    endpoint: str
    unit: str
    later: bool
    reason: str
    state: str
    asked_by: str
    asked_at: datetime
    done_at: datetime | None
    removed: int
