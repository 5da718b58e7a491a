"""Who had a hand in what an observed endpoint's requests reach, and so does not sign off alone what runs there."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.access import queries as access
from backend.core.ledger import LedgerRow
from backend.delivery.rows import Endpoint
from backend.policy import service as policy


def needs_another(session: Session, endpoint_id: str, who: str, *, now: datetime) -> bool:
    """Whether somebody else than this identity has to sign: a change there needs another's approval, and it was theirs."""
    endpoint = session.get(Endpoint, endpoint_id)
    if endpoint is None or policy.in_force(session, endpoint.environment).policy.approvals_needed == 0:
        return False
    hands = _of(session, endpoint)
    people = access.some_people(session, {who, *hands}, now=now)
    if who not in people:
        return True
    signs = people[who].interests_since(now)  # with whoever may have kept a token of a service
    return any(people[one].interests_since(None) & signs for one in hands if one in people)


def _of(session: Session, endpoint: Endpoint) -> set[str]:
    """Whoever made it, and whoever registered or edited its server or router."""
    places = [("server", endpoint.server_id), ("router", endpoint.router_id)]
    about = sa.or_(
        *(sa.and_(col(LedgerRow.subject_kind) == kind, col(LedgerRow.subject_id) == key) for kind, key in places if key)
    )
    return {endpoint.created_by, *session.exec(select(LedgerRow.actor_id).where(about).distinct())}
