"""Who had a hand in what an observed endpoint's requests reach, and so does not sign off alone what runs there.

Whatever is pushed to an endpoint runs on its server, beside the others that stand there: one of dev on production's server
takes a second person as production does, who may sign off there too. What is pushed to it afterwards asks for no more than its
own environment does, so that it is this signature which lets dev share the place.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.access import queries as access
from backend.access.rules import Grant, may
from backend.core.ledger import LedgerRow
from backend.delivery.rows import Endpoint
from backend.policy import service as policy
from backend.policy.rules import Policy, is_protected, weaker


def needs_another(session: Session, endpoint_id: str, who: str, *, now: datetime) -> bool:
    """Whether somebody else than this identity has to sign: it takes a second person, and it was theirs."""
    endpoint = session.get(Endpoint, endpoint_id)
    return endpoint is not None and bool(_needing_another(session, (endpoint,), _around(session, (endpoint,)), who, now))


def signable(
    session: Session, endpoint_ids: Collection[str], who: str, held: Collection[Grant], *, now: datetime
) -> frozenset[str]:
    """Those of these endpoints that need nobody else (`needs_another`) and lack no grant (`lacking`), in as many statements for
    many as for one.
    """
    endpoints = session.exec(select(Endpoint).where(col(Endpoint.id).in_(endpoint_ids))).all()
    around = _around(session, endpoints)
    theirs = _needing_another(session, endpoints, around, who, now)
    mine = [one for one in endpoints if one.id not in theirs]
    lacks = _lacking(session, mine, around, held, now)
    return frozenset(one.id for one in mine if not lacks[one.id])


def environments_asking(session: Session, endpoint_id: str) -> tuple[str, ...]:
    """See `asking`; of an endpoint by its id, none where it is not there."""
    endpoint = session.get(Endpoint, endpoint_id)
    return asking(session, endpoint) if endpoint is not None else ()


def beside(session: Session, endpoint_id: str) -> tuple[tuple[str, str], ...]:
    """(name, environment) of the managed endpoints of other environments on an endpoint's server or behind its router, by name:
    what is pushed to them runs beside it.
    """
    endpoint = session.get(Endpoint, endpoint_id)
    found = _Around(_beside(session, (endpoint,)), {}).beside(endpoint) if endpoint is not None else ()
    return tuple((one.name, one.environment) for one in found)


def lacking(session: Session, endpoint_id: str, held: Collection[Grant], *, now: datetime) -> str:
    """A stricter environment beside it where these grants sign off nothing, or not what stands there; "" for none."""
    endpoint = session.get(Endpoint, endpoint_id)
    if endpoint is None:
        return ""
    return _lacking(session, (endpoint,), _around(session, (endpoint,)), held, now)[endpoint.id]


def asking(session: Session, endpoint: Endpoint) -> tuple[str, ...]:
    """Environments by whose policies it takes a second person: its own, and those of the stricter ones beside it."""
    return _around(session, (endpoint,)).asking(endpoint)


def stricter_beside(session: Session, endpoint: Endpoint) -> tuple[Endpoint, ...]:
    """Managed endpoints of other environments on its server, or behind its router, whose policy needs approvals and asks in
    anything for more than its own does. By name.
    """
    return _around(session, (endpoint,)).stricter(endpoint)


@dataclass(frozen=True)
class _Around:
    """What stands beside some endpoints, and the policies of all their environments."""

    managed: Sequence[Endpoint]
    policies: Mapping[str, Policy]

    def beside(self, endpoint: Endpoint) -> Sequence[Endpoint]:
        others = (one for one in self.managed if one.environment != endpoint.environment)
        return tuple(one for one in others if _shares_place(one, endpoint))

    def stricter(self, endpoint: Endpoint) -> tuple[Endpoint, ...]:
        found, own = self.beside(endpoint), self.policies[endpoint.environment]
        theirs = {name: self.policies[name] for name in {one.environment for one in found}}
        stricter = {name for name, one in theirs.items() if is_protected(one) and weaker(one, own)}
        return tuple(one for one in found if one.environment in stricter)

    def asking(self, endpoint: Endpoint) -> tuple[str, ...]:
        first = (endpoint.environment,) if is_protected(self.policies[endpoint.environment]) else ()
        return tuple(dict.fromkeys((*first, *(one.environment for one in self.stricter(endpoint)))))


def _around(session: Session, endpoints: Sequence[Endpoint]) -> _Around:
    managed = _beside(session, endpoints)
    environments = {one.environment for one in (*endpoints, *managed)}
    return _Around(managed, {one: policy.in_force(session, one).policy for one in environments})


def _needing_another(
    session: Session, endpoints: Sequence[Endpoint], around: _Around, who: str, now: datetime
) -> frozenset[str]:
    asked = [one for one in endpoints if around.asking(one)]
    hands = _hands_of(session, asked)
    people = access.some_people(session, {who, *(one for each in hands.values() for one in each)}, now=now) if asked else {}
    if who not in people:
        return frozenset(hands)
    signs = people[who].interests_since(now)  # with whoever may have kept a token of a service
    theirs = {one for one, person in people.items() if person.interests_since(None) & signs}
    return frozenset(key for key, each in hands.items() if each & theirs)


def _lacking(
    session: Session, endpoints: Sequence[Endpoint], around: _Around, held: Collection[Grant], now: datetime
) -> dict[str, str]:
    """By endpoint's id the environment as `lacking` tells it."""
    stricter = {one.id: around.stricter(one) for one in endpoints}
    every = {one.id: one for each in stricter.values() for one in each}
    teams = access.owners_among(session, held, {(one.name, one.model) for one in every.values()})
    refused = {
        key
        for key, one in every.items()
        if not may(
            held,
            "endpoint.sign_off",
            now=now,
            environment=one.environment,
            model=one.model,
            team=teams.get((one.name, one.model)),
        )
    }
    return {key: next((one.environment for one in each if one.id in refused), "") for key, each in stricter.items()}


def _shares_place(one: Endpoint, other: Endpoint) -> bool:
    return one.server_id == other.server_id or (other.router_id is not None and one.router_id == other.router_id)


def _beside(session: Session, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
    """Managed endpoints of another environment on any server, or behind any router, of these; by name."""
    by_environment = dict[str, list[Endpoint]]()
    for one in endpoints:
        by_environment.setdefault(one.environment, []).append(one)
    places = [
        sa.and_(
            col(Endpoint.environment) != name,
            sa.or_(
                col(Endpoint.server_id).in_({one.server_id for one in each}),
                col(Endpoint.router_id).in_({one.router_id for one in each} - {None}),
            ),
        )
        for name, each in by_environment.items()
    ]
    query = select(Endpoint).where(sa.or_(sa.false(), *places), Endpoint.mode == "managed")
    return session.exec(query.order_by(Endpoint.name)).all() if places else ()


def _hands_of(session: Session, endpoints: Sequence[Endpoint]) -> dict[str, set[str]]:
    """By endpoint's id whoever made it, and whoever registered or edited its server or router."""
    places = {one.id: {("server", one.server_id), ("router", one.router_id)} for one in endpoints}
    keys = {key for each in places.values() for _, key in each if key}
    about = sa.and_(col(LedgerRow.subject_kind).in_(("server", "router")), col(LedgerRow.subject_id).in_(keys))
    columns = (LedgerRow.subject_kind, LedgerRow.subject_id, LedgerRow.actor_id)
    by_place: dict[tuple[str, str | None], set[str]] = {}
    for kind, key, actor in session.exec(select(*columns).where(about).distinct()) if keys else ():
        by_place.setdefault((kind, key), set()).add(actor)
    return {one.id: {one.created_by}.union(*(by_place.get(place, ()) for place in places[one.id])) for one in endpoints}
