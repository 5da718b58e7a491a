"""What messages say of changes, endpoints, models and servers, and who is asked for a vote (the port of `backend.notify`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from sqlmodel import Session

from backend.access import queries as access
from backend.changes import standing
from backend.changes.rows import Change
from backend.changes.voting import refuse_vote
from backend.core.errors import Refusal
from backend.delivery.rows import Authorization, Endpoint, RouterRow, Server
from backend.findings.rows import Finding
from backend.notify.port import About
from backend.registry.rows import Alias, Model
from backend.rollouts.rows import Rollout


class Notices:
    """Reads for messages, each with the state of the moment."""

    def about(self, session: Session, kind: str, identifier: str) -> About | None:
        """What a subject of the ledger is; None for what is gone, or is no subject of messages."""
        read = _READ.get(kind)
        return read(session, identifier) if read is not None else None

    def voters(self, session: Session, change_id: str, now: datetime) -> frozenset[str]:
        """Ids of the people whose approval would count now and who have not voted on the change as it is."""
        change = session.get(Change, change_id)
        if change is None or change.state != "review":
            return frozenset()
        at = standing.read(session, change, now)
        voted = {one.identity_id for one in at.votes}
        where = {"environment": at.endpoint.environment, "model": at.endpoint.model, "endpoint": at.endpoint.name}
        people = access.people(session, now=now, **where)
        return frozenset(one.id for one in people if one.id not in voted and _may_vote(at, one))

    def approvers(self, session: Session, subject_id: str) -> frozenset[str]:
        """Ids of the people whose votes carried an approval."""
        change = _change_of(session, subject_id)
        granted = (
            session.get(Authorization, change.authorization_id) if change is not None and change.authorization_id else None
        )
        votes = granted.votes if granted is not None else []
        return frozenset(str(one["identity_id"]) for one in votes if one["verdict"] == "approve")

    def requesters(self, session: Session, subject_id: str) -> frozenset[str]:
        """Ids of whoever asked for a change or edited it; of a service, its owner."""
        change = _change_of(session, subject_id)
        if change is None:
            return frozenset()
        ids = [change.requester_id, *change.editors]
        people = access.some_people(session, ids, now=change.updated_at)
        return frozenset(one for key in ids for one in (people[key].interests if key in people else {key}))


def _change_of(session: Session, subject_id: str) -> Change | None:
    """A change by its id, or by that of its rollout."""
    rollout = session.get(Rollout, subject_id)
    granted = session.get(Authorization, rollout.authorization_id) if rollout is not None else None
    return session.get(Change, granted.change_id if granted is not None else subject_id)


def _may_vote(at: standing.Standing, person: access.Person) -> bool:
    if person.kind != "person" or not person.active:
        return False
    try:
        refuse_vote(at, person, "approve")
    except Refusal:
        return False
    return True


def _of_endpoint(endpoint: Endpoint, label: str) -> About:
    return About(
        label,
        environment=endpoint.environment,
        model=endpoint.model,
        endpoint=endpoint.name,
        page="endpoint",
        query=("endpoint", endpoint.name),
    )


def _change(session: Session, identifier: str) -> About | None:
    change = session.get(Change, identifier)
    endpoint = session.get(Endpoint, change.endpoint_id) if change is not None else None
    if change is None or endpoint is None:
        return None
    return About(
        f"Change {change.number}",
        title=change.title,
        environment=endpoint.environment,
        model=endpoint.model,
        endpoint=endpoint.name,
        number=change.number,
        state=change.state,
        until=change.decide_by,
        page="change",
        query=("change", str(change.number)),
    )


def _endpoint(session: Session, identifier: str) -> About | None:
    endpoint = session.get(Endpoint, identifier)
    return _of_endpoint(endpoint, "An endpoint") if endpoint is not None else None


def _rollout(session: Session, identifier: str) -> About | None:
    rollout = session.get(Rollout, identifier)
    endpoint = session.get(Endpoint, rollout.endpoint_id) if rollout is not None else None
    if endpoint is None:
        return None
    change, team = _change_of(session, identifier), access.owner(session, endpoint=endpoint.name, model=endpoint.model)
    found = replace(_of_endpoint(endpoint, "A rollout"), owner_team_id=team)
    if change is None:
        return found
    return replace(found, number=change.number, page="change", query=("change", str(change.number)))


def _alias(session: Session, identifier: str) -> About | None:
    alias = session.get(Alias, identifier)
    model = session.get(Model, alias.model_id) if alias is not None else None
    if alias is None or model is None:
        return None
    return About(f"The alias {alias.alias}", model=model.name, page="model", query=("model", model.name))


def _server(session: Session, identifier: str) -> About | None:
    row = session.get(Server, identifier)
    return None if row is None else About("A server", server=row.name, page="server", query=("server", row.name))


def _router(session: Session, identifier: str) -> About | None:
    row = session.get(RouterRow, identifier)
    return None if row is None else About("A router", server=row.name, table="router", page="admin")


def _finding(session: Session, identifier: str) -> About | None:
    row = session.get(Finding, identifier)
    if row is None:
        return None
    return About(
        f"{'A test, finding' if row.test else 'Finding'} {row.number} ({row.severity})",
        title=row.says,
        environment=row.environment,
        model=row.model,
        endpoint=row.endpoint,
        page="finding",
        query=("finding", str(row.number)),
        finding=row.number,
        severity=row.severity,
        owner_id=row.owner_id,
        owner_team_id=row.owner_team_id,
    )


_READ: dict[str, Callable[[Session, str], About | None]] = {
    "change": _change,
    "endpoint": _endpoint,
    "rollout": _rollout,
    "alias": _alias,
    "finding": _finding,
    "server": _server,
    "router": _router,
}
