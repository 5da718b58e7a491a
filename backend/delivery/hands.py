"""Who had a hand in what an observed endpoint's requests reach, and so does not sign off alone what runs there.

Whatever is pushed to an endpoint runs on its server, beside the others that stand there: one of dev on production's server
takes a second person as production does, who may sign off there too. What is pushed to it afterwards asks for no more than its
own environment does, so that it is this signature which lets dev share the place.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.access import queries as access
from backend.access.rules import Grant, may
from backend.core.ledger import LedgerRow
from backend.delivery.rows import Endpoint
from backend.policy import service as policy
from backend.policy.rules import is_protected, weaker


def needs_another(session: Session, endpoint_id: str, who: str, *, now: datetime) -> bool:
    """Whether somebody else than this identity has to sign: it takes a second person, and it was theirs."""
    endpoint = session.get(Endpoint, endpoint_id)
    if endpoint is None or not asking(session, endpoint):
        return False
    hands = _of(session, endpoint)
    people = access.some_people(session, {who, *hands}, now=now)
    if who not in people:
        return True
    signs = people[who].interests_since(now)  # with whoever may have kept a token of a service
    return any(people[one].interests_since(None) & signs for one in hands if one in people)


def environments_asking(session: Session, endpoint_id: str) -> tuple[str, ...]:
    """See `asking`; of an endpoint by its id, none where it is not there."""
    endpoint = session.get(Endpoint, endpoint_id)
    return asking(session, endpoint) if endpoint is not None else ()


def beside(session: Session, endpoint_id: str) -> tuple[tuple[str, str], ...]:
    """(name, environment) of the managed endpoints of other environments on an endpoint's server or behind its router, by name:
    what is pushed to them runs beside it.
    """
    endpoint = session.get(Endpoint, endpoint_id)
    return tuple((one.name, one.environment) for one in _beside(session, endpoint)) if endpoint is not None else ()


def lacking(session: Session, endpoint_id: str, held: Collection[Grant], *, now: datetime) -> str:
    """A stricter environment beside it where these grants sign off nothing, or not what stands there; "" for none."""
    endpoint = session.get(Endpoint, endpoint_id)
    for one in stricter_beside(session, endpoint) if endpoint is not None else ():
        team = access.owner_among(session, held, endpoint=one.name, model=one.model)
        if not may(held, "endpoint.sign_off", now=now, environment=one.environment, model=one.model, team=team):
            return one.environment
    return ""


def asking(session: Session, endpoint: Endpoint) -> tuple[str, ...]:
    """Environments by whose policies it takes a second person: its own, and those of the stricter ones beside it."""
    own = policy.in_force(session, endpoint.environment).policy
    first = (endpoint.environment,) if is_protected(own) else ()
    return tuple(dict.fromkeys((*first, *(one.environment for one in stricter_beside(session, endpoint)))))


def stricter_beside(session: Session, endpoint: Endpoint) -> tuple[Endpoint, ...]:
    """Managed endpoints of other environments on its server, or behind its router, whose policy needs approvals and asks in
    anything for more than its own does. By name.
    """
    found = _beside(session, endpoint)
    own = policy.in_force(session, endpoint.environment).policy
    theirs = {one: policy.in_force(session, one).policy for one in {one.environment for one in found}}
    stricter = {name for name, one in theirs.items() if is_protected(one) and weaker(one, own)}
    return tuple(one for one in found if one.environment in stricter)


def _beside(session: Session, endpoint: Endpoint) -> Sequence[Endpoint]:
    places = [col(Endpoint.server_id) == endpoint.server_id]
    places += [col(Endpoint.router_id) == endpoint.router_id] if endpoint.router_id is not None else []
    query = select(Endpoint).where(sa.or_(*places), Endpoint.mode == "managed", Endpoint.environment != endpoint.environment)
    return session.exec(query.order_by(Endpoint.name)).all()


def _of(session: Session, endpoint: Endpoint) -> set[str]:
    """Whoever made it, and whoever registered or edited its server or router."""
    places = [("server", endpoint.server_id), ("router", endpoint.router_id)]
    about = sa.or_(
        *(sa.and_(col(LedgerRow.subject_kind) == kind, col(LedgerRow.subject_id) == key) for kind, key in places if key)
    )
    return {endpoint.created_by, *session.exec(select(LedgerRow.actor_id).where(about).distinct())}
