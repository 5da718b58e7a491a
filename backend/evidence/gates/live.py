"""What gates read of the endpoint that a plan is for: what is there already was judged when it came."""

from __future__ import annotations

from sqlmodel import Session, select

from backend.core.errors import NotFound
from backend.delivery.plan import Plan
from backend.delivery.rows import Endpoint


def endpoint_of(session: Session, plan: Plan) -> Endpoint:
    """The endpoint that a plan is for. NotFound."""
    row = session.exec(select(Endpoint).where(Endpoint.name == plan.endpoint)).one_or_none()
    if row is None:
        raise NotFound("endpoint", plan.endpoint)
    return row


def live_packages(session: Session, plan: Plan) -> frozenset[str]:
    """Digests of the packages that were seen to run on the plan's endpoint."""
    arms = (endpoint_of(session, plan).base or {}).get("arms", ())
    return frozenset(str(one["package_digest"]) for one in arms)
