"""Reads of what happened to an endpoint: generations, observations, pushes, and how everything stood at any moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.access.rows import Identity
from backend.core.canonical import loads
from backend.core.ledger import LedgerRow
from backend.delivery.courses import ENDPOINT
from backend.delivery.generations import DesiredEndpoint
from backend.delivery.named import named
from backend.delivery.rows import Authorization, Endpoint, Generation, Observation, PushRecord

LIMIT = 200
TELL_STATE = tuple(f"endpoint.{verb}" for verb in ("observe", "admit", "prove", "pause", "resume", "repair_now"))
"""Actions whose ledger rows hold the endpoint's state before and after."""


@dataclass(frozen=True)
class Share:
    """One arm of a generation: its version, its buckets out of 10,000, and where its server has it.

    `role`: arm (has traffic or may get some), shadow, warm (loaded, nobody's traffic).
    """

    arm: str
    version: int
    buckets: int
    served_name: str
    served_version: int
    role: Literal["arm", "shadow", "warm"]
    package_digest: str
    artifact_digest: str


@dataclass(frozen=True)
class GenerationView:
    """One admitted step, with where it came from.

    Args:
        reason: baseline, start, ramp or rollback.
        change_id: of the change whose authorization it names; None for a baseline.
        proved_at: when it was first read back whole; None: not yet, or never.
        revoked_at: when its authorization was revoked.
    """

    number: int
    reason: str
    step: int
    digest: str
    champion: str | None
    shares: tuple[Share, ...]
    authorization_id: str | None
    change_id: str | None
    policy: str | None
    admitted_at: datetime
    admitted_by: str
    admitted_by_name: str
    proved_at: datetime | None
    bake_until: datetime | None
    revoked_at: datetime | None

    @property
    def champion_version(self) -> int | None:
        """The registered version that is champion; None when nothing shall run."""
        return next((one.version for one in self.shares if one.arm == self.champion), None)


@dataclass(frozen=True)
class PushView:
    """One attempt to make a generation true. `outcome` is what came of it, in `PushRecord`'s words; `seconds` once it ended."""

    id: str
    endpoint: str
    generation: int
    started_at: datetime
    finished_at: datetime | None
    seconds: float | None
    outcome: str
    steps: tuple[Mapping[str, Any], ...]
    error: str | None


@dataclass(frozen=True)
class TimelineEntry:
    """A transition in what was seen, a push, or a change of the endpoint's state (by the worker or by hand).

    `at`: when it was seen or changed; when the push ended, or began if it runs. `state` is a push's outcome. `details` are what
    was seen, the push's steps, or the state before with who changed it.
    """

    at: datetime
    kind: Literal["observation", "push", "state"]
    id: str
    generation: int
    state: str
    says: str
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Moment:
    """How an endpoint stood at a moment.

    Args:
        exists: whether it had been created by then.
        desired: the generation in force then, with who admitted it under which policy; None before the baseline. Its
            `proved_at`, `bake_until` and `revoked_at` are None where that came only later.
        votes: those that its authorization names: identity, verdict, digests and time.
        state, reason: of the endpoint then, as the ledger tells it.
        seen: what had last been seen by then, since `seen_at`; None before the first look. Read it together with the state: of
            an endpoint that is unreachable or stale nobody knew whether it was still so.
    """

    at: datetime
    exists: bool
    desired: GenerationView | None
    votes: tuple[Mapping[str, Any], ...]
    state: str | None
    reason: str
    seen: Mapping[str, Any] | None
    seen_at: datetime | None


def history(session: Session, name: str, *, before: int | None = None, limit: int = 50) -> tuple[GenerationView, ...]:
    """An endpoint's generations, newest first. `before` is the last number of the page before."""
    endpoint = named(session, Endpoint, name)
    query = select(Generation).where(Generation.endpoint_id == endpoint.id).order_by(col(Generation.number).desc())
    if before is not None:
        query = query.where(Generation.number < before)
    return _views(session, endpoint, session.exec(query.limit(_bounded(limit))).all())


def push_log(
    session: Session, *, name: str | None = None, before: tuple[datetime, str] | None = None, limit: int = 50
) -> tuple[PushView, ...]:
    """Attempts, newest first; of one endpoint or of all. `before` is (started_at, id) of the last of the page before."""
    query = select(PushRecord, Endpoint.name).join(Endpoint, col(Endpoint.id) == PushRecord.endpoint_id)
    if name is not None:
        query = query.where(PushRecord.endpoint_id == named(session, Endpoint, name).id)
    if before is not None:
        at, key = before
        query = query.where(
            sa.or_(col(PushRecord.started_at) < at, sa.and_(col(PushRecord.started_at) == at, col(PushRecord.id) < key))
        )
    query = query.order_by(col(PushRecord.started_at).desc(), col(PushRecord.id).desc()).limit(_bounded(limit))
    return tuple(_push(row, endpoint) for row, endpoint in session.exec(query))


def timeline(
    session: Session, name: str, after: datetime | None = None, *, until: datetime | None = None, limit: int = 100
) -> tuple[TimelineEntry, ...]:
    """What was seen, pushed and changed, newest first; only what is later than `after`, as a live page asks again and again.

    A push that ran at `after` and ended since is told again, with its end. `until` (inclusive) shows an earlier stretch.
    """
    endpoint, most = named(session, Endpoint, name), _bounded(limit)
    ended = sa.func.coalesce(col(PushRecord.finished_at), col(PushRecord.started_at))
    seen = select(Observation).where(Observation.endpoint_id == endpoint.id, *_between(col(Observation.seen_at), after, until))
    pushed = select(PushRecord).where(PushRecord.endpoint_id == endpoint.id, *_between(ended, after, until))
    moved = _moves(endpoint).where(*_between(col(LedgerRow.at), after, until)).limit(most)
    entries = [
        *filter(None, map(_state_entry, session.exec(moved))),
        *map(_seen_entry, session.exec(seen.order_by(col(Observation.seen_at).desc()).limit(most))),
        *map(_push_entry, session.exec(pushed.order_by(ended.desc()).limit(most))),
    ]
    return tuple(sorted(entries, key=lambda one: (one.at, one.id), reverse=True)[:most])


def at(session: Session, name: str, moment: datetime) -> Moment:
    """What was desired of an endpoint at a moment, by whose approval, and what had last been seen of it."""
    endpoint = named(session, Endpoint, name)
    desired = session.exec(
        select(Generation)
        .where(Generation.endpoint_id == endpoint.id, col(Generation.admitted_at) <= moment)
        .order_by(col(Generation.number).desc())
        .limit(1)
    ).first()
    seen = session.exec(
        select(Observation)
        .where(Observation.endpoint_id == endpoint.id, col(Observation.seen_at) <= moment)
        .order_by(col(Observation.seen_at).desc(), col(Observation.id).desc())
        .limit(1)
    ).first()
    moved = session.exec(_moves(endpoint).where(col(LedgerRow.at) <= moment).limit(1)).first()
    told = (loads(moved.after_json) or {}) if moved is not None else {}
    exists = endpoint.created_at <= moment
    view = _views(session, endpoint, [desired], until=moment)[0] if desired is not None else None
    granted = session.get(Authorization, desired.authorization_id) if desired is not None and desired.authorization_id else None
    return Moment(
        at=moment,
        exists=exists,
        desired=view,
        votes=tuple(granted.votes) if granted is not None else (),
        state=str(told.get("state", ENDPOINT.initial)) if exists else None,
        reason=_reason(told),
        seen=seen.seen if seen is not None else None,
        seen_at=seen.seen_at if seen is not None else None,
    )


def shares(desired: DesiredEndpoint) -> tuple[Share, ...]:
    """Every arm that a generation wants loaded, the champion first, then by share and name."""
    told = [(arm, "shadow" if arm.name == desired.shadow else "arm") for arm in desired.arms]
    told += [(arm, "warm") for arm in desired.warm]
    views = [
        Share(arm.name, arm.version, arm.buckets, *arm.place, role, arm.package_digest, arm.artifact_digest)  # type: ignore[arg-type]
        for arm, role in told
    ]
    return tuple(sorted(views, key=lambda one: (one.arm != desired.champion, -one.buckets, one.arm)))


def names_of(session: Session, ids: Iterable[str]) -> dict[str, str]:
    """What pages show for identities; an id that nobody has stands for itself."""
    wanted = set(ids)
    rows = session.exec(select(Identity).where(col(Identity.id).in_(wanted)))
    return {one: one for one in wanted} | {row.id: row.display_name or row.name for row in rows}


def _views(
    session: Session, endpoint: Endpoint, rows: Iterable[Generation], *, until: datetime | None = None
) -> tuple[GenerationView, ...]:
    generations = list(rows)
    grants = {row.id: row for row in _authorizations(session, generations)}
    proved = _proved(session, endpoint, [row.number for row in generations])
    names = names_of(session, (row.admitted_by for row in generations))
    return tuple(
        _view(row, grants.get(row.authorization_id or ""), proved.get(row.number), names[row.admitted_by], until)
        for row in generations
    )


def _view(
    row: Generation, grant: Authorization | None, proved_at: datetime | None, by: str, until: datetime | None
) -> GenerationView:
    def known(at: datetime | None) -> datetime | None:
        return at if at is not None and (until is None or at <= until) else None

    desired = DesiredEndpoint.model_validate(row.desired)
    proved = known(proved_at)
    return GenerationView(
        number=row.number,
        reason=row.reason,
        step=row.step,
        digest=row.digest,
        champion=desired.champion,
        shares=shares(desired),
        authorization_id=row.authorization_id,
        change_id=grant.change_id if grant is not None else None,
        policy=grant.policy if grant is not None else None,
        admitted_at=row.admitted_at,
        admitted_by=row.admitted_by,
        admitted_by_name=by,
        proved_at=proved,
        bake_until=row.bake_until if proved is not None or until is None else None,
        revoked_at=known(grant.revoked_at) if grant is not None else None,
    )


def _authorizations(session: Session, rows: Iterable[Generation]) -> Iterable[Authorization]:
    ids = {row.authorization_id for row in rows if row.authorization_id}
    return session.exec(select(Authorization).where(col(Authorization.id).in_(ids)))


def _proved(session: Session, endpoint: Endpoint, numbers: list[int]) -> dict[int, datetime]:
    """When each generation was first proved: by the push log, and for the newest proved one by the endpoint itself."""
    query = (
        select(PushRecord.generation, sa.func.min(col(PushRecord.finished_at)))
        .where(
            PushRecord.endpoint_id == endpoint.id,
            col(PushRecord.generation).in_(numbers),
            col(PushRecord.outcome).in_(("proved", "repaired")),
            col(PushRecord.finished_at).is_not(None),
        )
        .group_by(col(PushRecord.generation))
    )
    found = {number: first for number, first in session.exec(query) if first is not None}
    if endpoint.proved_at is not None and endpoint.proved_generation in numbers:
        found.setdefault(endpoint.proved_generation, endpoint.proved_at)
    return found


def _push(row: PushRecord, endpoint: str) -> PushView:
    return PushView(
        id=row.id,
        endpoint=endpoint,
        generation=row.generation,
        started_at=row.started_at,
        finished_at=row.finished_at,
        seconds=(row.finished_at - row.started_at).total_seconds() if row.finished_at is not None else None,
        outcome=row.outcome,
        steps=tuple(row.steps),
        error=row.error,
    )


def _seen_entry(row: Observation) -> TimelineEntry:
    return TimelineEntry(row.seen_at, "observation", row.id, row.generation, row.state, row.reason, row.seen)


def _push_entry(row: PushRecord) -> TimelineEntry:
    details = {"steps": row.steps, "started_at": row.started_at.isoformat(), "token": row.token}
    return TimelineEntry(
        row.finished_at or row.started_at, "push", row.id, row.generation, row.outcome, row.error or "", details
    )


def _moves(endpoint: Endpoint) -> Any:
    """The ledger's rows that tell this endpoint's state, newest first."""
    query = select(LedgerRow).where(
        LedgerRow.subject_kind == "endpoint", LedgerRow.subject_id == endpoint.id, col(LedgerRow.action).in_(TELL_STATE)
    )
    return query.order_by(col(LedgerRow.seq).desc())


def _state_entry(row: LedgerRow) -> TimelineEntry | None:
    before, after = loads(row.before_json) or {}, loads(row.after_json) or {}
    if before.get("state") in (None, after.get("state")):
        return None
    details = {"before": before["state"], "action": row.action, "actor_id": row.actor_id}
    generation = int(after.get("generation", 0))
    return TimelineEntry(row.at, "state", f"led_{row.seq:012d}", generation, after["state"], _reason(after), details)


def _reason(told: Mapping[str, Any]) -> str:
    """The worker's words, or those of who did it by hand."""
    return str(told.get("state_reason") or told.get("reason") or "")


def _between(column: Any, after: datetime | None, until: datetime | None) -> list[sa.ColumnElement[bool]]:
    found = [column > after] if after is not None else []
    return [*found, column <= until] if until is not None else found


def _bounded(limit: int) -> int:
    return max(1, min(limit, LIMIT))
