"""Who hears of an event, and whether somebody may still hear of it at the moment of sending. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from backend.access import queries as access
from backend.access import rules as rights
from backend.access import visible
from backend.access.queries import Person
from backend.access.rows import Identity, Request, Team, TeamMember
from backend.access.rules import Sight
from backend.notify import rules
from backend.notify.port import About, Subjects
from backend.notify.rows import Preference, Route, Subscription
from backend.notify.rules import Audience, Event, Interest

MAIL = "mail"
"""The key of the route that mails people: one server for all of them."""


@dataclass(frozen=True)
class Way:
    """One way that a message goes: a route, and the person that it is for, if it is for one.

    Args:
        is_asked: whether this person is asked for something, and did not only wish to hear of it.
    """

    route_key: str
    identity_id: str | None
    is_asked: bool = False


@dataclass
class Readers:
    """Everybody who may be told, looked up once for a batch of events.

    Args:
        mails: whether mail can be sent at all.
    """

    session: Session
    subjects: Subjects
    now: datetime
    mails: bool
    _people: dict[tuple[str | None, ...], tuple[Person, ...]] = field(default_factory=dict)
    _allowed: dict[tuple[str, str, About], bool] = field(default_factory=dict)
    """Kept for a batch, which is one snapshot: what is told is asked again when it is sent."""

    def __post_init__(self) -> None:
        self._asked = self._subscriptions()
        query = select(Identity).where(Identity.kind == "person", col(Identity.active))
        self._mailable = {one.id for one in self.session.exec(query) if one.email} if self.mails else set()
        self._preferences = {one.id: one for one in self.session.exec(select(Preference))}

    def ways(self, event: Event, about: About, facts: Mapping[str, Any]) -> list[Way]:
        """Every way that this event goes; nobody is told by mail of what he did himself."""
        anyway = self._told_anyway(event, about, facts)
        by_default = [Way(MAIL, one, is_asked=True) for one in sorted(anyway & self._mailable)]
        change = str(about.number) if about.number is not None else None
        known = {"model": about.model, "endpoint": about.endpoint, "environment": about.environment, "change": change}
        by_wish = [way for interest, way in self._asked if interest.meets(event.name, known)]
        found = {(one.route_key, one.identity_id): one for one in [*by_wish, *by_default]}
        return [one for one in found.values() if self._wants(one, event, facts) and self._may(one, event, about)]

    def _wants(self, way: Way, event: Event, facts: Mapping[str, Any]) -> bool:
        if way.identity_id is None or way.route_key != MAIL:
            return True
        preference = self._preferences.get(way.identity_id)
        muted = preference is not None and (not preference.mail or event.name in preference.muted)
        own = way.identity_id == facts.get("actor") and not facts.get("test")
        return way.identity_id in self._mailable and not muted and not own

    def _may(self, way: Way, event: Event, about: About) -> bool:
        if way.identity_id is None:
            return True
        asked = (way.identity_id, event.needs, about)
        if asked not in self._allowed:
            self._allowed[asked] = why_not_person(self.session, way.identity_id, event, about, self.now) is None
        return self._allowed[asked]

    def _told_anyway(self, event: Event, about: About, facts: Mapping[str, Any]) -> set[str]:
        if event.asked_only and facts.get("severity") == rules.LEAST:
            return set()
        return {one for audience in event.audience for one in self._audience(audience, about, facts)}

    def _audience(self, audience: Audience, about: About, facts: Mapping[str, Any]) -> Iterable[str]:
        subject = str(facts.get("subject", ""))
        if audience == "voters":
            return self.subjects.voters(self.session, subject, self.now)
        if audience == "requester":
            return self.subjects.requesters(self.session, subject)
        if audience == "approvers":
            return self.subjects.approvers(self.session, subject)
        if audience == "asker":
            return [row.asked_by] if (row := self.session.get(Request, subject)) is not None else []
        if audience == "owner":
            return self._owners(subject)
        if audience == "responsible":
            return self._responsible(about)
        if audience == "escalation":
            tell = facts.get("tell")
            if tell == "owner":
                return self._responsible(about)
            return self._audience("admins" if tell == "admins" else "operators", about, facts)
        role = {"operators": "operator", "admins": "admin", "auditors": "auditor"}[audience]
        place = (about.environment, about.model, about.endpoint) if audience == "operators" else (None, None, None)
        return [one.id for one in self._at(place) if role in one.roles]

    def _at(self, place: tuple[str | None, str | None, str | None]) -> tuple[Person, ...]:
        if place not in self._people:
            environment, model, endpoint = place
            found = access.people(self.session, now=self.now, environment=environment, model=model, endpoint=endpoint)
            self._people[place] = tuple(one for one in found if one.kind == "person" and one.active)
        return self._people[place]

    def _responsible(self, about: About) -> Iterable[str]:
        """Whose it is; where it is nobody's, or a team's without members, the operators there."""
        if about.owner_id is not None:
            return [about.owner_id]
        members: list[str] = []
        if about.owner_team_id is not None:
            query = select(TeamMember.identity_id).join(Identity, col(Identity.id) == TeamMember.identity_id)
            query = query.where(TeamMember.team_id == about.owner_team_id, Identity.kind == "person", col(Identity.active))
            members = list(self.session.exec(query))
        return members or self._audience("operators", about, {})

    def _owners(self, route_id: str) -> list[str]:
        """Whose a route is: a person's own, else whoever made it."""
        row = self.session.get(Route, route_id)
        return [] if row is None else [row.identity_id or row.created_by]

    def _subscriptions(self) -> list[tuple[Interest, Way]]:
        """Every subscription of a route that is active, or of a person by mail."""
        query = select(Subscription, Route).outerjoin(Route, col(Route.id) == Subscription.route_id)
        return [
            (
                Interest(tuple(one.events), one.object_kind, one.object_name),
                Way(route.id, route.identity_id) if route is not None else Way(MAIL, one.identity_id),
            )
            for one, route in self.session.exec(query.order_by(col(Subscription.created_at), col(Subscription.id)))
            if route is None or route.state == "active"
        ]


def why_not_person(session: Session, identity_id: str, event: Event, about: About, now: datetime) -> str | None:
    """Why a person may not be told of this now; None where it may. Asked when a message is made, and when it is sent."""
    identity = session.get(Identity, identity_id, populate_existing=True)
    if identity is None or not identity.active:
        return "Whoever it was for is not active any more."
    if not access.answers_for(session, identity):
        return "Whoever answers for what it was for is not active any more."
    held = access.grants(session, identity_id)
    if event.needs and not rights.may_read(held, event.needs, now=now):
        return "Whoever it was for may not see this any more."
    return None if _sees(session, rights.sight(held, now=now), about) else "Whoever it was for may not see this any more."


def why_not_route(session: Session, route: Route, event: Event, about: About, now: datetime) -> str | None:
    """The same for a route: of a person as that person, of a team what the team owns, of the installation everything."""
    if route.identity_id is not None:
        return why_not_person(session, route.identity_id, event, about, now)
    if route.team_id is None:
        return None
    team = session.get(Team, route.team_id, populate_existing=True)
    if team is None or team.retired_at is not None:
        return "The team that it was for is retired."
    if event.needs in rights.WHOLE:
        return "This concerns the whole installation, and not a team."
    return None if _sees(session, Sight(teams=frozenset({team.id})), about) else "The team that it was for does not own this."


def _sees(session: Session, sight: Sight, about: About) -> bool:
    if about.endpoint is not None:
        return visible.shows_endpoint(session, sight, about.endpoint)
    if about.model is not None:
        return visible.shows_model(session, sight, about.model)
    if about.server is not None:
        return visible.shows_server(session, sight, about.server, about.table)
    return not sight.is_blind


def event_of(name: str) -> Event:
    """An event by its name; one that a later program knew and this one does not is told without its rights: to nobody."""
    return rules.EVENTS.get(name) or Event(name, name, "audit.verify")
