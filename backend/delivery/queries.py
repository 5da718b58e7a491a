"""Reads of endpoints and servers, each shaped for one screen. What was not seen lately is never shown as healthy.

`interval` is the setting `observe_seconds`; `now` comes from the database's clock (`Database.now`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlmodel import Session, col, select

from backend.core.work import WorkItem
from backend.delivery.generations import DesiredEndpoint
from backend.delivery.lines import EndpointLine, EndpointPage, ProofView, counts, endpoints, is_known, one_line
from backend.delivery.named import named
from backend.delivery.places import RouterLine, ServerLine, Stranger, routers, servers, strangers, unmanaged
from backend.delivery.records import (
    GenerationView,
    Moment,
    PushView,
    Share,
    TimelineEntry,
    at,
    history,
    names_of,
    push_log,
    shares,
    timeline,
)
from backend.delivery.rows import Endpoint, Generation, Look, Observation

__all__ = [
    "ArmView",
    "EndpointDetail",
    "EndpointLine",
    "EndpointPage",
    "GenerationView",
    "Moment",
    "ProofView",
    "PushView",
    "RouterLine",
    "ServerLine",
    "Share",
    "Stranger",
    "TimelineEntry",
    "at",
    "counts",
    "endpoint",
    "endpoints",
    "history",
    "managed",
    "push_log",
    "routers",
    "servers",
    "timeline",
    "unmanaged",
]


Role = Literal["arm", "shadow", "warm", "leaving"]


@dataclass(frozen=True)
class ArmView:
    """One arm as wanted and as seen. Shares are buckets out of 10,000; what was seen is None where nobody saw it lately.

    `role`: arm, shadow, warm, or leaving (of an earlier generation, to be unloaded).
    """

    name: str
    version: int
    role: Role
    served_name: str
    served_version: int
    package_digest: str
    artifact_digest: str
    champion: bool
    wanted_share: int
    seen_share: int | None
    seen_champion: bool | None
    seen_state: str | None


@dataclass(frozen=True)
class EndpointDetail:
    """One endpoint's own screen.

    Args:
        arms: wanted against seen, the champion first.
        strangers: what runs under its names and is not approved; everything that runs, while it is only observed.
        seen: the newest observation as it was stored; None before the first, and where nobody saw it lately.
        base_digest: what a change would be drawn against.
        failures: attempts in a row that did not make the newest generation true; the next one is not before `retry_at`.
        next_look_at: when its server is due; `working` while a worker is at it.
    """

    line: EndpointLine
    revision: int
    created_at: datetime
    created_by: str
    created_by_name: str
    arms: tuple[ArmView, ...]
    shadow: str | None
    salt: str
    unit_header: str
    strangers: tuple[Stranger, ...]
    seen: Mapping[str, Any] | None
    seen_at: datetime | None
    base: Mapping[str, Any] | None
    base_digest: str | None
    bake_until: datetime | None
    proved_at: datetime | None
    last_error: str | None
    failures: int
    retry_at: datetime | None
    next_look_at: datetime | None
    working: bool


def endpoint(session: Session, name: str, *, now: datetime, interval: timedelta) -> EndpointDetail:
    """One endpoint: desired against observed, proofs with their ages, strangers, the last error and the next attempt."""
    row = named(session, Endpoint, name)
    line = one_line(session, row, now=now, interval=interval)
    generation = session.get(Generation, f"{row.id}/{row.generation}")
    desired = DesiredEndpoint.model_validate(generation.desired) if generation is not None else None
    look, item = session.get(Look, row.id), session.get(WorkItem, ("server", row.server_id))
    newest = _newest_observation(session, row.id) if is_known(line) else None
    seen = newest.seen if newest is not None else None
    return EndpointDetail(
        line=line,
        revision=row.revision,
        created_at=row.created_at,
        created_by=row.created_by,
        created_by_name=names_of(session, [row.created_by])[row.created_by],
        arms=_arms(desired, row.base if newest is not None else None, seen),
        shadow=desired.shadow if desired is not None else None,
        salt=desired.salt if desired is not None else "",
        unit_header=desired.unit_header if desired is not None else "",
        strangers=strangers(row, look),
        seen=seen,
        seen_at=look.seen_at if look is not None else None,
        base=row.base,
        base_digest=row.base_digest,
        bake_until=generation.bake_until if generation is not None else None,
        proved_at=row.proved_at,
        last_error=row.last_error,
        failures=look.failures if look is not None else 0,
        retry_at=look.retry_at if look is not None else None,
        next_look_at=item.due_at if item is not None else None,
        working=item is not None and item.deadline is not None and item.deadline > now,
    )


MOST_NAMES = 2_000


def managed(session: Session) -> tuple[tuple[str, str, str], ...]:
    """(name, environment, model) of the endpoints to which a change can be proposed, by name; at most 2,000."""
    query = select(Endpoint.name, Endpoint.environment, Endpoint.model).where(Endpoint.mode == "managed")
    return tuple(session.exec(query.order_by(Endpoint.name).limit(MOST_NAMES)).all())


def _newest_observation(session: Session, endpoint_id: str) -> Observation | None:
    query = select(Observation).where(Observation.endpoint_id == endpoint_id)
    return session.exec(query.order_by(col(Observation.seen_at).desc(), col(Observation.id).desc()).limit(1)).first()


def _arms(
    desired: DesiredEndpoint | None, base: Mapping[str, Any] | None, seen: Mapping[str, Any] | None
) -> tuple[ArmView, ...]:
    """Everything that is wanted, and what is still there of earlier generations."""
    if desired is None:
        return ()
    wanted = [_arm(one, one.role, desired, base, seen) for one in shares(desired)]
    leaving = [
        _arm(one, "leaving", desired, base, seen)
        for one in shares(DesiredEndpoint(step=0, champion=None, arms=desired.leaving))
    ]
    return (*wanted, *(one for one in leaving if one.seen_state not in (None, "not_loaded")))


def _arm(
    one: Share, role: Role, desired: DesiredEndpoint, base: Mapping[str, Any] | None, seen: Mapping[str, Any] | None
) -> ArmView:
    """Share and champion as the base tells them, the state as the newest observation does."""
    return ArmView(
        name=one.arm,
        version=one.version,
        role=role,
        served_name=one.served_name,
        served_version=one.served_version,
        package_digest=one.package_digest,
        artifact_digest=one.artifact_digest,
        champion=role != "leaving" and one.arm == desired.champion,
        wanted_share=one.buckets,
        seen_share=_seen_share(base["arms"], one.arm) if base is not None else None,
        seen_champion=base["champion"] == one.arm if base is not None else None,
        seen_state=_seen_state(seen, one.served_name, one.served_version),
    )


def _seen_share(arms: Sequence[Mapping[str, Any]], name: str) -> int:
    return next((int(arm["buckets"]) for arm in arms if arm["name"] == name), 0)


def _seen_state(seen: Mapping[str, Any] | None, name: str, version: int) -> str | None:
    if seen is None or "models" not in seen:
        return None
    state = seen["models"].get(name, {}).get("versions", {}).get(str(version), "not_loaded")
    return str(state)
