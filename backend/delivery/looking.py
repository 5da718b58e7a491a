"""Looking: what a server and the routers before it run now, judged for each endpoint, and written down where it changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlmodel import Session, col, select, update

from backend.core.canonical import digest
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import CountersignError
from backend.core.unit import Unit
from backend.core.work import LeaseLost
from backend.delivery import base, courses, restarts, rules
from backend.delivery.lease import Lease
from backend.delivery.routers.port import Router, SeenRouter
from backend.delivery.rows import Endpoint, Look, Observation, Proof
from backend.delivery.seen import SeenServer
from backend.delivery.standing import Place, Standing
from backend.delivery.targets.port import Target
from backend.delivery.timing import Timing

T = TypeVar("T")
_MOST_LATE = 50
_STANDING = {"in_sync": "prove", "partial": "fall_short", "out_of_sync": "differ", "unreachable": "lose", "stale": "age"}
"""The event that leaves an endpoint's state as it is."""


@dataclass(frozen=True)
class Reach:
    """The adapters of one place. Where one could not be made, its trouble says why."""

    target: Target | None
    routers: Mapping[str, Router]
    troubles: Mapping[str, str] = field(default_factory=dict)
    """Server or router id -> why there is no adapter for it."""


@dataclass(frozen=True)
class Sighting:
    """What one look at a place saw, and when.

    Args:
        server: None where it did not answer.
        routers: those that answered, by id.
        troubles: why the others did not, by server or router id.
    """

    at: datetime
    place: Place
    server: SeenServer | None
    routers: Mapping[str, SeenRouter]
    troubles: Mapping[str, str]

    def of(self, standing: Standing) -> rules.Seen:
        """The part that concerns one endpoint."""
        router_id = standing.endpoint.router_id
        router = self.routers.get(router_id) if router_id is not None else None
        ids = [self.place.server.id, *([router_id] if router_id is not None else [])]
        return rules.Seen(
            at=self.at,
            server=self.server,
            route=router.routes.get(standing.name) if router is not None else None,
            route_known=router_id is None or router is not None,
            rejected=router.rejected if router is not None else "",
            answers=router.answers if router is not None else (),
            trouble="; ".join(self.troubles[one] for one in ids if one in self.troubles),
        )


@dataclass(frozen=True)
class Judged:
    """One endpoint, what was seen of it, and what that comes to."""

    standing: Standing
    wanted: rules.Wanted
    seen: rules.Seen
    verdict: rules.Verdict

    def lost(self, endpoint: Endpoint) -> frozenset[tuple[str, int]]:
        """What its server lost when it was started anew. `endpoint` as it was written down at the look before."""
        server = self.seen.server
        return restarts.lost(self.standing.desired, self.wanted, server, endpoint.base) if server is not None else frozenset()


def look(lease: Lease, place: Place, reach: Reach, hash_storage: Sequence[str] = ()) -> Sighting:
    """Asks the server and each router before it. One that fails is a trouble in the sighting, not an error."""
    troubles = dict(reach.troubles)
    server = None
    if reach.target is not None:
        server = _asked(lease, place.server.id, troubles, reach.target.observe, tuple(hash_storage))
    routers: dict[str, SeenRouter] = {}
    for router_id, router in reach.routers.items():
        seen = _asked(lease, router_id, troubles, router.observe)
        if seen is not None:
            routers[router_id] = seen
    return Sighting(lease.now(), place, server, routers, troubles)


def judge(sighting: Sighting, standings: Iterable[Standing], timing: Timing) -> list[Judged]:
    """What the sighting comes to for each endpoint."""
    found = []
    for one in standings:
        wanted, seen = one.wanted(sighting.at), sighting.of(one)
        verdict = rules.judge(wanted, seen, sighting.at, stale_after=timing.stale_after)
        found.append(Judged(one, wanted, seen, verdict))
    return found


def write_down(tx: Unit, judged: Judged, *, tried: bool = False, proofs_failed: str = "") -> Endpoint | None:
    """Writes what was seen: when, and where it differs from the look before, the observation, the base and the state.

    Args:
        tried: an attempt to make the generation true was just made.
        proofs_failed: why a proof of it failed; "" for none.

    Returns the endpoint's row, or None when a newer generation was admitted meanwhile: the look says nothing of that one.
    """
    endpoint = tx.get(Endpoint, judged.standing.endpoint.id, lock=True)
    if endpoint.generation != judged.standing.endpoint.generation:
        return None
    before = endpoint.facts("state", "base_digest")
    remembered = _remembered(tx, judged, endpoint)
    reason = proofs_failed or judged.verdict.reason
    moved = _move(endpoint, _event(judged, endpoint, remembered, tried, bool(proofs_failed)), reason, tx.now)
    observed = _observe(tx, judged, endpoint, remembered)
    if moved or observed:
        endpoint.state_reason = reason
        endpoint.revision += 1
        after = endpoint.facts("state", "state_reason", "base_digest", "generation")
        tx.record("endpoint.observe", endpoint, before=before, after=after)
    return endpoint


def is_quiet(judged: Judged) -> bool:
    """Whether a look says nothing that the one before did not say: most looks, so that they are told apart without a query."""
    standing, seen, remembered = judged.standing, judged.seen, judged.standing.look
    endpoint = standing.endpoint
    if seen.server is None or not seen.route_known or remembered.seen_at is None:
        return False
    if _event(judged, endpoint, remembered, False, False) not in (None, _STANDING.get(endpoint.state)):
        return False
    if _would_be_clean(judged) and remembered.clean_generation != endpoint.generation:
        return False
    found, _ = _found(judged)
    return remembered.digest == found and _is_same_base(endpoint, _fresh_base(judged, endpoint))


def write_quiet(tx: Unit, quiet: Sequence[Judged]) -> None:
    """Notes when all these were seen as before, and that they are configured as they were, in two statements."""
    ids = [one.standing.endpoint.id for one in quiet]
    if not ids:
        return
    at, connection = quiet[0].seen.at, tx.session.connection()
    connection.execute(update(Look).where(col(Look.endpoint_id).in_(ids)).values(seen_at=at))
    in_sync = [one.standing.endpoint.id for one in quiet if one.verdict.state == "in_sync" and one.standing.is_proved]
    configured = (col(Proof.endpoint_id).in_(in_sync), col(Proof.kind) == "configured", col(Proof.verdict) == "ok")
    connection.execute(update(Proof).where(*configured).values(checked_at=at))


def mark_stale(database: Database, timing: Timing) -> int:
    """Marks endpoints that nobody has seen for too long, so that none stays in a passing state (I6). Returns how many."""
    with database.read() as session:
        ids = _unseen(session, database.now(session), timing)
    for endpoint_id in ids:
        with database.unit(SYSTEM) as tx:
            endpoint = tx.get(Endpoint, endpoint_id, lock=True)
            seen_at = look_at(tx.session, endpoint_id)
            if not courses.is_stale(seen_at, tx.now, interval=timing.observe):
                continue
            before = endpoint.facts("state")
            since = seen_at.isoformat(timespec="seconds") if seen_at else "ever"
            if _move(endpoint, "age", f"not seen since {since}; is a worker running?", tx.now):
                endpoint.revision += 1
                tx.record("endpoint.observe", endpoint, before=before, after=endpoint.facts("state", "state_reason"))
    return len(ids)


def look_at(session: Session, endpoint_id: str) -> datetime | None:
    """When an endpoint was last seen."""
    found = session.get(Look, endpoint_id)
    return found.seen_at if found is not None else None


def _unseen(session: Session, now: datetime, timing: Timing) -> list[str]:
    query = (
        select(Endpoint.id)
        .join(Look, col(Look.endpoint_id) == Endpoint.id, isouter=True)
        .where(
            Endpoint.mode == "managed",
            col(Endpoint.state).in_(("in_sync", "pushing", "partial", "out_of_sync")),
            (col(Look.seen_at).is_(None)) | (col(Look.seen_at) < now - timing.stale_after),
            col(Endpoint.state_since) < now - timing.stale_after,
        )
        .limit(1000)
    )
    return list(session.exec(query))


def _asked(lease: Lease, key: str, troubles: dict[str, str], call: Callable[..., T], *arguments: object) -> T | None:
    try:
        return lease.call(call, *arguments)
    except LeaseLost:
        raise
    except CountersignError as error:
        troubles[key] = str(error)[:500]
        return None


def _event(judged: Judged, endpoint: Endpoint, remembered: Look, tried: bool, proofs_failed: bool) -> str | None:
    server = judged.seen.server
    in_part = server is not None and rules.is_part_in_force(judged.wanted, server, judged.seen.route)
    proved = endpoint.proved_generation == endpoint.generation
    restarted = server is not None and restarts.explains(judged.verdict, judged.wanted, server, judged.lost(endpoint))
    event = courses.event_after(
        judged.verdict,
        proved=proved,
        tried=tried or remembered.failures > 0,
        in_part=in_part,
        proofs_failed=proofs_failed,
        restarted=restarted,
    )
    ordered = endpoint.state == "pushing" and proved and not tried and judged.verdict.state != "in_sync"
    return None if ordered and event in ("differ", "fall_short") else event  # somebody ordered a repair: it comes first


def _move(endpoint: Endpoint, event: str | None, reason: str, now: datetime) -> bool:
    """Applies an event if the endpoint's state allows it; what is paused, fought over or only observed stays so."""
    if event is None or not courses.ENDPOINT.allows(endpoint.state, event):
        return False
    after = courses.ENDPOINT.next(endpoint.state, event)
    if after == endpoint.state:
        return False
    endpoint.state, endpoint.state_since, endpoint.state_reason = after, now, reason
    return True


def _remembered(tx: Unit, judged: Judged, endpoint: Endpoint) -> Look:
    """The endpoint's look, with the time of this one where everything answered."""
    found = tx.session.get(Look, endpoint.id, with_for_update=True) or tx.add(Look(endpoint_id=endpoint.id))
    if judged.seen.server is None or not judged.seen.route_known:
        return found
    found.seen_at = judged.seen.at
    if _would_be_clean(judged):
        found.clean_generation = endpoint.generation
    return found


def _would_be_clean(judged: Judged) -> bool:
    verdict = judged.verdict
    return verdict.state == "in_sync" and not verdict.leftovers and judged.standing.may_be_clean(judged.seen.at)


def _found(judged: Judged) -> tuple[str, dict[str, Any]]:
    """What was seen, and its digest; with what the plain facts do not show: other bytes, another configuration."""
    seen, wanted = judged.seen, judged.wanted
    facts = base.seen_facts({wanted.base_name, *wanted.models, *wanted.leaving}, seen.server, seen.route)
    foreign = sorted(each.says for each in judged.verdict.differences if each.foreign)
    if late := _late(judged):
        facts["envoys"] = late
    return digest({**facts, "bytes": foreign}), facts


def _late(judged: Judged) -> dict[str, str]:
    """What those Envoys of several said that are behind, by name, while the endpoint's route is not as wanted everywhere."""
    if judged.seen.route == judged.wanted.route:
        return {}
    late = [one for one in judged.seen.answers if one.state != "taken"]
    return {one.envoy: f"{one.state}: {one.reason}" if one.reason else one.state for one in late[:_MOST_LATE]}


def _fresh_base(judged: Judged, endpoint: Endpoint) -> dict[str, Any]:
    lost = judged.lost(endpoint)
    return base.base_from(endpoint.generation, judged.standing.desired, judged.wanted, judged.seen, lost)


def _is_same_base(endpoint: Endpoint, fresh: dict[str, Any]) -> bool:
    known = endpoint.base or {}
    return endpoint.base_digest == base.base_digest(fresh) and known.get("lost") == fresh.get("lost")


def _observe(tx: Unit, judged: Judged, endpoint: Endpoint, remembered: Look) -> bool:
    """Writes an observation and the new base where what is seen differs from the look before."""
    seen = judged.seen
    if seen.server is None or not seen.route_known:
        return False
    found, facts = _found(judged)
    fresh = _fresh_base(judged, endpoint)
    if remembered.digest == found and _is_same_base(endpoint, fresh):
        return False
    remembered.digest = found
    endpoint.base, endpoint.base_digest = fresh, base.base_digest(fresh)
    tx.add(
        Observation(
            id=tx.new_id("obs"),
            endpoint_id=endpoint.id,
            seen_at=seen.at,
            generation=endpoint.generation,
            state=endpoint.state,
            reason=judged.verdict.reason,
            digest=found,
            seen=facts,
        )
    )
    return True
