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
from backend.access.binding_rows import Binding
from backend.access.names import beside
from backend.access.rows import Identity, Request, Token
from backend.access.rules import Grant
from backend.access.scim_rows import ProvisionedUser
from backend.access.session_rows import ExternalLogin
from backend.core.canonical import digest
from backend.core.columns import utc
from backend.core.context import Actor, Limits
from backend.core.errors import NotFound, Refusal
from backend.core.unit import Unit

Kind = Literal["role.grant", "policy.set", "owner.set", "binding.make", "identity.hand_over", "group_mapping.make"]
_POLICY = "policy.set"
_KEPT, _BOUND = "kept_by_ids", "binding_ids"
"""Who else gains by what a service is given: people who may have a token of it, and what its bindings let in."""
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


def ways_in(tx: Unit, whose: Identity, role: str, scope: str) -> dict[str, list[str]]:
    """What a request for a role says besides of a service: who may have a good token of it besides its owner, and which
    bindings let jobs or clients act as it, as far as this role counts within their limits. Each of them gains by it.
    """
    if whose.owner_id is None:
        return {}
    given = (Grant(role, scope, None),)
    tokens = [one for one in queries.good_tokens(tx.session, whose.id, now=tx.now) if _counts(given, one)]
    kept = frozenset().union(*(queries.keepers(tx.session, whose, one) for one in tokens)) - {whose.owner_id}
    bound = select(Binding).where(Binding.identity_id == whose.id, col(Binding.ended_at).is_(None))
    bound = bound.where(sa.or_(col(Binding.expires_at).is_(None), col(Binding.expires_at) > tx.now))
    bindings = [one.id for one in tx.session.exec(bound) if _counts(given, one)]
    return {key: sorted(ids) for key, ids in ((_KEPT, kept), (_BOUND, bindings)) if ids}


def refuse_more_ways_in(tx: Unit, row: Request, whose: Identity) -> None:
    """Refusal `stale-request` where more people or jobs can act as a service by now than the request for a role says."""
    now = ways_in(tx, whose, row.what["role"], row.what["scope"])
    if any(set(ids) - set(row.what.get(key, ())) for key, ids in now.items()):
        raise Refusal(
            f"More people or jobs can act as {whose.name} by now than this request says.",
            "Refuse this request; ask for it anew.",
            code="stale-request",
        )


def _counts(given: Sequence[Grant], way: Token | Binding) -> bool:
    return bool(rules.narrowed(given, Limits(way.role, way.scope)))


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


_PEOPLE = ("identity_id", "owner_id", "owned_by_id")
"""What a request says of single people and services."""


@dataclass(frozen=True)
class _Known:
    """What a sentence names by its id."""

    people: Mapping[str, Identity]
    scopes: Mapping[str, str]
    bindings: Mapping[str, Binding]
    announced: Mapping[str, str]
    """Provider by person of whom only its directory told: whom it means is what the directory says until a sign-in."""


def _lines(session: Session, rows: Sequence[Request], now: datetime) -> tuple[RequestLine, ...]:
    ids = {one for row in rows for one in (row.asked_by, row.settled_by, *(row.what.get(key) for key in _PEOPLE)) if one}
    ids |= {one for row in rows for one in row.what.get(_KEPT, ())}
    bound = {one for row in rows for one in row.what.get(_BOUND, ())}
    bindings = session.exec(select(Binding).where(col(Binding.id).in_(bound))).all() if bound else ()
    known = _Known(
        {one.id: one for one in session.exec(select(Identity).where(col(Identity.id).in_(ids)))},
        queries.scope_names(session),
        {one.id: one for one in bindings},
        _announced(session, ids),
    )
    return tuple(_line(row, known, now) for row in rows)


def _announced(session: Session, ids: Collection[str]) -> dict[str, str]:
    signed_in = select(ExternalLogin.identity_id).where(ExternalLogin.identity_id == ProvisionedUser.identity_id).exists()
    query = select(ProvisionedUser.identity_id, ProvisionedUser.provider).where(col(ProvisionedUser.identity_id).in_(ids))
    return dict(session.exec(query.where(~signed_in)).all())


def _line(row: Request, known: _Known, now: datetime) -> RequestLine:
    people = known.people
    settler = people.get(row.settled_by or "")
    return RequestLine(
        id=row.id,
        kind=row.kind,
        says=_says(row, known),
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


def _says(row: Request, known: _Known) -> str:
    """What is asked for, in a sentence."""
    people, shown = known.people, known.scopes
    if row.kind == "policy.set":
        fields = "; ".join(row.what.get("changes", ()))  # requests of old say none
        in_full = f" In full: {fields}." if fields else ""
        return f"Weaken the policy of {row.what['environment']}: {' '.join(row.what['weaker'])}{in_full}"
    if row.kind == "owner.set":
        team = row.what["team_id"]
        whom = shown[f"team:{team}"].replace("team:", "the team ") if team else "no team"
        return f"Give the {row.what['kind']} {row.what['name']} to {whom}; roles in the scopes of teams reach what they own."
    if row.kind == "binding.make":
        asked = _claims(row.what["claims"])
        role = f"the role {row.what['role']}" if row.what["role"] else "whatever it may do"
        whom, where = _gains(row, known), _where(row.what["scope"], shown)
        return f"Give {role} {where}, as {whom}, to tokens of {row.what['profile']} with {asked}."
    if row.kind == "identity.hand_over":
        service, owner = _name(people[row.what["identity_id"]]), _name(people[row.what["owner_id"]])
        new = f" ({said})" if (said := _is_new(row.what["owner_id"], known)) else ""
        return f"Hand {service} to {owner}{new}, who makes its tokens from then on, with the roles and data sets that it holds."
    where = _where(row.what["scope"], shown)
    if row.kind == "group_mapping.make":
        group, provider = (row.what[one] for one in ("value", "provider"))
        return f"Give the role {row.what['role']} {where} to whoever {provider} says is in the group {group}."
    end = row.what["expires_at"]
    until = f" until {datetime.fromisoformat(end).astimezone(UTC):%-d %b %Y %H:%M} UTC" if end else ""
    return f"Give {_gains(row, known)} the role {row.what['role']} {where}{until}."


def _gains(row: Request, known: _Known) -> str:
    """Whom it is for, and of a service who can act as it: whoever owns it makes its tokens, others may have kept one, and jobs
    come by a binding.
    """
    owner, new = row.what.get("owned_by_id"), _is_new(row.what["identity_id"], known)
    can = [new] if new else []
    can += [f"owned by {_name(known.people[owner])}"] if owner is not None else []
    can += [f"{_name(known.people[one])} may have a token of it" for one in row.what.get(_KEPT, ())]
    bindings = [known.bindings[one] for one in row.what.get(_BOUND, ())]
    can += [f"tokens of {one.profile} with {_claims(one.claims)} act as it" for one in bindings]
    return _name(known.people[row.what["identity_id"]]) + (f" ({'; '.join(can)})" if can else "")


def _is_new(identity_id: str, known: _Known) -> str:
    """What is said of somebody who has not signed in yet, and whom a directory announced."""
    provider = known.announced.get(identity_id)
    return f"of whom only the directory of {provider} told, and who has not signed in yet" if provider is not None else ""


def _claims(claims: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(claims.items()))


def _where(scope: str, shown: Mapping[str, str]) -> str:
    return "everywhere" if scope == "*" else f"in {shown.get(scope, scope)}"


def _name(row: Identity) -> str:
    """With the short name, of which there is one only: two people may be shown under the same."""
    return beside(row.name, row.display_name)
