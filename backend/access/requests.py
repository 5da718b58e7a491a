"""What needs a second person: asked for by one, confirmed or refused by another, and void when nobody does it in time.

Joiners take the unit first. What is confirmed is done by the room that was asked, in the same unit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlmodel import Session, col, select

from backend.access import checks, queries, rules
from backend.access.names import beside
from backend.access.rows import Identity, Request
from backend.access.rules import Grant
from backend.core.canonical import digest
from backend.core.columns import utc
from backend.core.context import Actor
from backend.core.errors import NotFound, Refusal
from backend.core.unit import Unit

Kind = Literal["role.grant", "policy.set", "owner.set", "binding.make", "identity.hand_over", "group_mapping.make"]
_POLICY = "policy.set"
GOOD_FOR = timedelta(days=7)
MAX_REASON = 2_000


@dataclass(frozen=True)
class RequestLine:
    """One request as people read it. `state`: waiting, confirmed, refused or expired."""

    id: str
    kind: str
    says: str
    what: Mapping[str, Any]
    state: str
    asked_by: str
    asked_by_name: str
    asked_at: datetime
    expires_at: datetime
    settled_by_name: str | None
    settled_at: datetime | None
    reason: str


def shown_to(held: Collection[Grant], *, now: datetime) -> frozenset[str] | None:
    """Whose requests these grants show: everybody's (None), or those for weaker policies of these environments, which an admin
    of one may confirm there. Nobody else sees any.
    """
    return None if rules.may(held, "request.list", now=now) else rules.environments_of(held, "policy.set", now=now)


def demand_sight(session: Session, actor: Actor, *, now: datetime) -> frozenset[str] | None:
    """The same for whoever looks. Refusal where that is nothing."""
    who = checks.standing(session, actor)
    where = shown_to(who.held, now=now)
    if where is not None and not where:
        raise rules.refusal(who.shown, "request.list", None, None)
    return where


def ask(tx: Unit, kind: Kind, what: Mapping[str, Any]) -> Request:
    """The request that now waits for a second person; the one that waits already for the very same.

    One that nobody can confirm, as whoever asked may not ask any more, is refused by this and asked for anew.
    """
    mark = digest({"kind": kind, "what": dict(what)})
    tx.alone(f"request {mark}")
    query = select(Request).where(Request.digest == mark, Request.state == "waiting", col(Request.expires_at) > tx.now)
    for waiting in tx.session.exec(query.with_for_update()).all():
        if _may_still(tx, waiting, kind):
            return waiting
        _settle(tx, waiting, "refused", "Whoever asked for this may not do so any more; it was asked for anew.")
    row = Request(
        id=tx.new_id("ask"),
        kind=kind,
        what=dict(what),
        digest=mark,
        asked_by=tx.actor.id,
        interests=sorted(tx.actor.interests),
        asked_at=tx.now,
        expires_at=tx.now + GOOD_FOR,
    )
    tx.record("request.ask", tx.add(row), after=row.facts("kind", "what", "expires_at"))
    return row


def waiting(tx: Unit, identifier: str, kind: Kind | None = None) -> Request:
    """A request that can still be settled, locked. NotFound; Refusal `settled` or `expired`."""
    row = tx.session.get(Request, identifier, with_for_update=True)
    if row is None or (kind is not None and row.kind != kind):
        raise NotFound("request", identifier[:60], "Look at what waits for a second person.")
    if row.state != "waiting":
        raise Refusal(f"This was {row.state} already.", "Look at it as it is now.", code="settled")
    if tx.now >= row.expires_at:
        raise Refusal("Nobody confirmed this in time.", "Ask for it again.", code="expired")
    return row


def confirm(tx: Unit, row: Request, action: str, reason: str = "", *, whose: Identity | None = None) -> None:
    """Settles it as confirmed, by a person who is somebody else than whoever asked, who must still be allowed to ask. The room
    does it then.

    Args:
        whose: who gains by it. A service may belong to whoever asked by now, who would get what he asked for; or to somebody
            else than when it was asked for, whom nobody asked to be given anything.
    """
    refuse_program(tx.actor)
    theirs = askers(tx.session, row)
    if tx.actor.interests & theirs:
        raise Refusal(
            "You asked for this, or whoever owns you or is owned by you did.",
            "Ask another admin to confirm it.",
            code="own-request",
        )
    if whose is not None and queries.interests_since(tx.session, [whose.id], tx.now) & theirs:
        raise Refusal(
            "Whoever asked for this owns by now what would gain by it, or has a token of it.",
            "Refuse this request; an admin who does not own it asks anew.",
            code="own-request",
        )
    if whose is not None and whose.owner_id != row.what.get("owned_by_id"):
        raise Refusal(f"{whose.name} has another owner by now.", "Refuse this request; ask for it anew.", code="stale-request")
    if not _may_still(tx, row, action):
        raise Refusal("Whoever asked for this may not do so any more.", "Ask for it yourself.", code="stale-request")
    _settle(tx, row, "confirmed", reason.strip()[:MAX_REASON])


def refuse_program(actor: Actor) -> None:
    """Refusal for a service where a second person has to look: whoever has a token of it may be the first one."""
    if actor.kind != "person":
        raise Refusal(
            f"{actor.name} is a program, and this takes a second person.",
            "Confirm it as yourself, on the pages or with a token of your own.",
            code="not-a-person",
        )


def askers(session: Session, row: Request) -> frozenset[str]:
    """Ids of whoever counts as having asked for it: as it was then, and as it is now."""
    return frozenset(row.interests) | queries.interests_since(session, [row.asked_by], row.asked_at)


def gainer(whose: Identity) -> dict[str, str]:
    """What a request says besides of who gains by it: whoever owns a service gains by whatever it is given."""
    return {"owned_by_id": whose.owner_id} if whose.owner_id is not None else {}


def refuse(tx: Unit, row: Request, reason: str) -> None:
    """Settles it as refused; whoever asked takes it back by this."""
    said = reason.strip()
    if not said or len(said) > MAX_REASON:
        raise Refusal("This needs a reason of at most 2,000 characters.", "Say in a sentence why.", code="no-reason")
    _settle(tx, row, "refused", said)


def lines(
    session: Session,
    *,
    now: datetime,
    all_of_them: bool = False,
    after: tuple[datetime, str] | None = None,
    limit: int | None = None,
    environments: frozenset[str] | None = None,
) -> tuple[RequestLine, ...]:
    """What waits, the oldest first; on request what was settled or expired too, the newest first.

    Args:
        after: when the last one of the page before was asked for, and its id.
        limit: how many at most; without it all.
        environments: only weaker policies of these; None for everything (`shown_to`).
    """
    key = sa.tuple_(col(Request.asked_at), col(Request.id))
    last = sa.tuple_(sa.literal(after[0], utc().type), sa.literal(after[1])) if after is not None else None
    query = select(Request).where(*_only(environments)).limit(limit)
    if all_of_them:
        query = query.where(key < last) if last is not None else query
        query = query.order_by(col(Request.asked_at).desc(), col(Request.id).desc())
    else:
        query = query.where(Request.state == "waiting", col(Request.expires_at) > now)
        query = query.where(key > last) if last is not None else query
        query = query.order_by(col(Request.asked_at), col(Request.id))
    return _lines(session, session.exec(query).all(), now)


def _only(environments: frozenset[str] | None) -> tuple[sa.ColumnElement[bool], ...]:
    if environments is None:
        return ()
    return col(Request.kind) == _POLICY, col(Request.what)["environment"].as_string().in_(environments)


def line(session: Session, identifier: str, *, now: datetime, environments: frozenset[str] | None = None) -> RequestLine:
    """One request. NotFound, also for one that is not shown (`shown_to`)."""
    row = session.get(Request, identifier)
    if row is not None and environments is not None:
        row = row if row.kind == _POLICY and row.what["environment"] in environments else None
    if row is None:
        raise NotFound("request", identifier[:60], "Look at what waits for a second person.")
    return _lines(session, [row], now)[0]


def _may_still(tx: Unit, row: Request, action: str) -> bool:
    """Whether whoever asked may still do so."""
    asked = tx.session.get_one(Identity, row.asked_by)
    held = queries.grants(tx.session, asked.id)
    answers = asked.active and queries.answers_for(tx.session, asked)
    return answers and rules.may(held, action, now=tx.now, environment=row.what.get("environment"))


def _settle(tx: Unit, row: Request, state: str, reason: str) -> None:
    row.state, row.settled_by, row.settled_at, row.reason = state, tx.actor.id, tx.now, reason
    verb = "confirm" if state == "confirmed" else "refuse"
    tx.record(f"request.{verb}", row, before={"state": "waiting"}, after=row.facts("kind", "state", "reason"))


def _lines(session: Session, rows: Sequence[Request], now: datetime) -> tuple[RequestLine, ...]:
    ids = {
        one
        for row in rows
        for one in (row.asked_by, row.settled_by, *(row.what.get(key) for key in ("identity_id", "owner_id", "owned_by_id")))
        if one
    }
    people = {one.id: one for one in session.exec(select(Identity).where(col(Identity.id).in_(ids)))}
    shown = queries.scope_names(session)
    return tuple(_line(row, people, shown, now) for row in rows)


def _line(row: Request, people: Mapping[str, Identity], shown: Mapping[str, str], now: datetime) -> RequestLine:
    settler = people.get(row.settled_by or "")
    return RequestLine(
        id=row.id,
        kind=row.kind,
        says=_says(row, people, shown),
        what=row.what,
        state="expired" if row.state == "waiting" and now >= row.expires_at else row.state,
        asked_by=row.asked_by,
        asked_by_name=_name(people[row.asked_by]),
        asked_at=row.asked_at,
        expires_at=row.expires_at,
        settled_by_name=_name(settler) if settler is not None else None,
        settled_at=row.settled_at,
        reason=row.reason,
    )


def _says(row: Request, people: Mapping[str, Identity], shown: Mapping[str, str]) -> str:
    """What is asked for, in a sentence."""
    if row.kind == "policy.set":
        fields = "; ".join(row.what.get("changes", ()))  # requests of old say none
        in_full = f" In full: {fields}." if fields else ""
        return f"Weaken the policy of {row.what['environment']}: {' '.join(row.what['weaker'])}{in_full}"
    if row.kind == "owner.set":
        team = row.what["team_id"]
        whom = shown[f"team:{team}"].replace("team:", "the team ") if team else "no team"
        return f"Give the {row.what['kind']} {row.what['name']} to {whom}; roles in the scopes of teams reach what they own."
    if row.kind == "binding.make":
        asked = ", ".join(f"{name}={value}" for name, value in sorted(row.what["claims"].items()))
        role = f"the role {row.what['role']}" if row.what["role"] else "whatever it may do"
        whom, where = _gains(row, people), _where(row.what["scope"], shown)
        return f"Give {role} {where}, as {whom}, to tokens of {row.what['profile']} with {asked}."
    if row.kind == "identity.hand_over":
        service, owner = (_name(people[row.what[one]]) for one in ("identity_id", "owner_id"))
        return f"Hand {service} to {owner}, who makes its tokens from then on, with the roles that it holds."
    where = _where(row.what["scope"], shown)
    if row.kind == "group_mapping.make":
        group, provider = (row.what[one] for one in ("value", "provider"))
        return f"Give the role {row.what['role']} {where} to whoever {provider} says is in the group {group}."
    end = row.what["expires_at"]
    until = f" until {datetime.fromisoformat(end).astimezone(UTC):%-d %b %Y %H:%M} UTC" if end else ""
    return f"Give {_gains(row, people)} the role {row.what['role']} {where}{until}."


def _gains(row: Request, people: Mapping[str, Identity]) -> str:
    """Whom it is for, and of a service who owns it: whoever does makes its tokens."""
    owner = row.what.get("owned_by_id")
    owned = f" (owned by {_name(people[owner])})" if owner is not None else ""
    return _name(people[row.what["identity_id"]]) + owned


def _where(scope: str, shown: Mapping[str, str]) -> str:
    return "everywhere" if scope == "*" else f"in {shown.get(scope, scope)}"


def _name(row: Identity) -> str:
    """With the short name, of which there is one only: two people may be shown under the same."""
    return beside(row.name, row.display_name)
