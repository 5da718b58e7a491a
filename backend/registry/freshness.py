"""How old the lists are, whether they are read again, and what keeps them from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.access.visible import is_narrow
from backend.core.work import Heartbeat, WorkItem
from backend.registry import rules
from backend.registry.mirror import EVERYTHING, KIND, RECENT
from backend.registry.rows import MirrorState


@dataclass(frozen=True)
class Reading:
    """The mirror as people see it.

    Args:
        read_at: when the registry was last read, whole or for its latest changes; None: never yet.
        whole_at: when it was last read whole, which took `seconds`.
        is_stale: it was not read for longer than it should have been.
        runs_left: versions whose run is still to be read.
        is_counted: whether these three are told; whoever sees only a part is told no number of all.
        due_at: when it is to be read next; None where nobody was ever asked to.
        is_working: a worker is at it now.
        failures, error: attempts in a row that failed, and why the latest did.
        beat_at: when a worker last said that it lives; None: none ever did.
    """

    read_at: datetime | None
    whole_at: datetime | None
    seconds: float
    is_stale: bool
    models: int
    versions: int
    runs_left: int
    is_counted: bool
    due_at: datetime | None
    is_working: bool
    failures: int
    error: str
    beat_at: datetime | None


def reading(session: Session, now: datetime) -> Reading:
    """How the mirror stands at this moment."""
    whole, recent = session.get(MirrorState, EVERYTHING), session.get(MirrorState, RECENT)
    item = session.get(WorkItem, (KIND, EVERYTHING))
    read_at = max((one.completed_at for one in (whole, recent) if one is not None), default=None)
    seconds = whole.seconds if whole is not None else 0.0
    counted = whole if not is_narrow(session) else None
    return Reading(
        read_at=read_at,
        whole_at=whole.completed_at if whole is not None else None,
        seconds=seconds,
        is_stale=rules.is_mirror_stale(read_at, seconds, now),
        models=counted.models if counted else 0,
        versions=counted.versions if counted else 0,
        runs_left=counted.runs_left if counted else 0,
        is_counted=counted is not None,
        due_at=item.due_at if item is not None else None,
        is_working=_is_held(item, now),
        failures=item.failures if item is not None else 0,
        error=(item.last_error or "") if item is not None else "",
        beat_at=session.exec(select(sa.func.max(col(Heartbeat.beat_at)))).one(),
    )


def is_read_now(session: Session, model: str, now: datetime) -> bool:
    """Whether one model was asked for and is not read yet."""
    return session.get(WorkItem, (KIND, model)) is not None


def _is_held(item: WorkItem | None, now: datetime) -> bool:
    return item is not None and item.deadline is not None and item.deadline > now
